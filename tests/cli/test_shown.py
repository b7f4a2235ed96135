"""Nothing that comes from elsewhere steers a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sideband.cli.output import event_line, print_error
from sideband.cli.shown import shown, shown_lines
from sideband.errors import SidebandError

# Colours, the title of the window, C1 controls, a change of direction, a lone surrogate, a line of its own.
HOSTILE = "\x1b[31m \x1b]0;x\x07 \x9b2J \u202egpj.exe \udc80 a\nb\r\x00\x7f \u2066 \ufeff"
TEXT = st.text(st.characters())


@given(TEXT)
@example(HOSTILE)
def test_what_is_shown_is_printable(text: str) -> None:
    assert shown(text).isprintable()


@given(TEXT, TEXT)
@example("\\x1b", "\x1b")
@example("\\u202e", "\u202e")
def test_nothing_looks_like_another_thing(first: str, second: str) -> None:
    assert (shown(first) == shown(second)) == (first == second)


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("report.pdf", "Überblick 2026.txt", "日本語", "🎉"):
        assert shown(name) == name
    assert shown_lines("one\ntwo\x1b[2J") == "one\ntwo\\x1b[2J"


@given(TEXT)
@example(HOSTILE)
def test_events_are_printable_lines_that_lose_nothing(text: str) -> None:
    line = event_line("x", text=text)
    assert line.isprintable()
    line.encode("utf-8")
    assert json.loads(line) == {"v": 1, "event": "x", "text": text}


def test_errors_are_not_shown_raw(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(SidebandError(f"a file is named {HOSTILE}"), json_output=False)
    told = capsys.readouterr().err
    assert told.startswith("error: a file is named \\x1b[31m ")
    assert all(line.isprintable() for line in told.splitlines())
