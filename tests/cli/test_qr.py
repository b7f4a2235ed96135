"""QR codes: drawn on a terminal, and read again from what is on it."""

from __future__ import annotations

import io

import pytest
import zxingcpp
from rich.console import Console

from sideband.cli.qr import print_qr, qr_lines

URL = "https://sideband.example/connect#qc=abcd-efgh-jkmn"
SCALE = 4


def read_qr(lines: list[str], *, dark_text: bool = False) -> str:
    """Return what a QR reader sees where these lines are drawn in light on dark."""
    light, dark = (0, 255) if dark_text else (255, 0)
    upper = {"▀": light, "█": light, " ": dark, "▄": dark}
    lower = {"▀": dark, "█": light, " ": dark, "▄": light}
    rows = [[half[letter] for letter in line] for line in lines for half in (upper, lower)]
    pixels = bytes(value for row in rows for _ in range(SCALE) for value in row for _ in range(SCALE))
    image = memoryview(pixels).cast("B", shape=[len(rows) * SCALE, len(rows[0]) * SCALE])
    (found,) = zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormat.QRCode, try_invert=False)
    text: str = found.text
    return text


def terminal(width: int = 80, height: int = 40, **more: object) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width, height=height, force_terminal=True, color_system="truecolor", **more), out  # type: ignore[arg-type]  # options of the console


@pytest.mark.parametrize("content", [URL, "http://127.0.0.1:8080/connect#qc=abcd-efgh-jkmn", "a", "x" * 400])
def test_it_is_read_again(content: str) -> None:
    assert read_qr(qr_lines(content)) == content


def test_it_sets_its_own_colours() -> None:
    console, out = terminal()
    assert print_qr(URL, console)
    lines = out.getvalue().splitlines()
    assert all(line.startswith("\x1b[38;2;255;255;255;48;2;0;0;0m") for line in lines)


def test_a_terminal_that_is_just_wide_and_high_enough() -> None:
    width, height = len(qr_lines(URL)[0]), len(qr_lines(URL)) + 2
    assert print_qr(URL, terminal(width, height)[0])
    for narrow in (terminal(width - 1, height), terminal(width, height - 1)):
        assert not print_qr(URL, narrow[0])
        assert narrow[1].getvalue() == ""


def test_what_is_no_terminal_gets_none() -> None:
    out = io.StringIO()
    assert not print_qr(URL, Console(file=out, width=200))
    assert out.getvalue() == ""
