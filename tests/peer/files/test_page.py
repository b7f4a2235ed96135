"""What the pages say of errors is what the code says."""

from __future__ import annotations

import re
from typing import get_args

from sideband.errors import FileErrorCode
from sideband.peer.files import RESET_CODES
from tests.support.served_platform import ROOT


def test_every_code_is_in_both_tables() -> None:
    protocol = (ROOT / "docs/protocol/streams.md").read_text("utf-8")
    rows = re.findall(r"\b(11\d\d) \| (\w+) \|", protocol)
    assert {name: int(number) for number, name in rows} == RESET_CODES
    guide = (ROOT / "docs/guide/files.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \| [a-z]", guide, re.MULTILINE)) >= set(get_args(FileErrorCode))
    assert set(get_args(FileErrorCode)) == set(RESET_CODES)
