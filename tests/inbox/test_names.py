"""The public names of the package."""

import subprocess
import sys

import pytest

from sideband import inbox


def test_every_public_name_is_there_and_no_other() -> None:
    assert {name for name in inbox.__all__ if getattr(inbox, name, None) is None} == set()
    assert set(inbox._HOME_OF) == set(inbox.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Outbox'"):
        inbox.Outbox  # noqa: B018  (asking is the test)


def test_a_client_loads_no_database() -> None:
    words = "import sys; from sideband.inbox import InboxClient, WsBridge; print('sqlalchemy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", words], text=True).strip() == "False"
