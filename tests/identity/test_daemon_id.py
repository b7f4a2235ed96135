from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.daemon_id import MAX_DAEMON_ID_BYTES, check_daemon_id, is_daemon_id
from sideband.errors import ConfigError


@pytest.mark.parametrize("daemon_id", ["d", "d_" + "a" * 253, "é" * 127, "机" * 85, "../..", "a b", "CON", "😀"])
def test_accepts_one_to_255_bytes_of_any_text(daemon_id: str) -> None:
    assert check_daemon_id(daemon_id) == daemon_id
    assert is_daemon_id(daemon_id)


@pytest.mark.parametrize(
    ("daemon_id", "flaw"),
    [
        ("", "empty"),
        ("a" * 256, "has 256"),
        ("é" * 128, "has 256"),
        ("a\nb", "control character"),
        ("a\x00", "control character"),
        ("a\x7f", "control character"),
        ("a\x85", "control character"),
        ("\ud800", "surrogate"),
        (b"abc", "bytes"),
        (7, "int"),
    ],
)
def test_refuses_everything_else_and_says_why(daemon_id: object, flaw: str) -> None:
    assert not is_daemon_id(daemon_id)
    with pytest.raises(ConfigError, match=flaw):
        check_daemon_id(daemon_id)


@given(st.text())
def test_the_two_forms_of_the_check_agree(text: str) -> None:
    try:
        check_daemon_id(text)
    except ConfigError:
        assert not is_daemon_id(text)
    else:
        assert is_daemon_id(text)
        assert 1 <= len(text.encode()) <= MAX_DAEMON_ID_BYTES
