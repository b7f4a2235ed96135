"""QR codes on a terminal, two modules in each character."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_qr", "qr_lines"]

_BORDER = 2
"""Modules around the code: half of what ISO/IEC 18004 asks for, which every reader is content with on a screen."""


def qr_lines(content: str) -> list[str]:
    """Return a QR code as lines of block characters, whose foreground is the light part of the code."""
    import segno

    out = io.StringIO()
    # The letters of a URL decide the size; the weakest correction that keeps it is raised as far as there is room.
    segno.make(content, error="l", micro=False).terminal(out, border=_BORDER, compact=True)
    return out.getvalue().splitlines()


def print_qr(content: str, console: Console) -> bool:
    """Print a QR code, and tell whether there was room for it: not on what is no terminal, nor on one too narrow.

    Black and white are set whatever the terminal's own colours are, so a reader sees dark on light.
    """
    if not console.is_terminal:
        return False
    lines = qr_lines(content)
    if max(len(line) for line in lines) > console.width or len(lines) + 2 > console.height:
        return False
    for line in lines:
        console.print(line, style="#ffffff on #000000", no_wrap=True, crop=False)
    return True
