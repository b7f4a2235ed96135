"""Terminal recordings (asciicast v2) as one animated SVG, a pane for each, which ends on the last screen.

The panes' films run side by side on one clock. Whoever shows pictures without motion shows the last screens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pyte

FRAMES_A_SECOND = 8
IDLE_SECONDS = 1.0
"""Longer rests are cut to this."""
LAST_SECONDS = 6.0
"""How long the last screens stand before it begins again."""

_CELL, _LINE, _FONT = 8.0, 17.0, 13.3
_PAD, _TITLE, _GAP = 12.0, 26.0, 12.0
_BACKGROUND, _FOREGROUND, _BORDER, _MUTED = "#161b22", "#d1d7e0", "#444c56", "#8b949e"
_COLOURS = {
    "black": "#484f58",
    "red": "#ff7b72",
    "green": "#56d364",
    "brown": "#e3b341",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#56d4dd",
    "white": "#f0f6fc",
}
# Drawn as shapes, so that no font leaves gaps between them: top and height as parts of the line.
_SHAPES = {"█": (0.0, 1.0), "▀": (0.0, 0.5), "▄": (0.5, 0.5), "━": (0.45, 0.14), "╸": (0.45, 0.14), "╺": (0.45, 0.14)}


@dataclass
class Cast:
    """One terminal's recording: what was written, and when in seconds."""

    title: str
    columns: int
    rows: int
    events: list[tuple[float, str]] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write it as asciicast v2, which `asciinema play` shows."""
        head = {"version": 2, "width": self.columns, "height": self.rows, "title": self.title}
        lines = [head, *([round(at, 3), "o", text] for at, text in self.events)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def render(casts: list[Cast]) -> str:
    """Return the picture of terminals that were recorded together."""
    moments, seconds = _clock(casts)
    parts, styles = [], []
    width = max(cast.columns for cast in casts) * _CELL + 2 * _PAD
    top = 0.0
    for number, cast in enumerate(casts):
        frames = list(_frames(cast, moments))
        height = cast.rows * _LINE + _PAD
        parts.append(_pane(number, cast, frames, top, width, height))
        styles.append(_film(number, frames, height, seconds))
        top += _TITLE + height + _GAP
    size = f'width="{width:g}" height="{top - _GAP:g}" viewBox="0 0 {width:g} {top - _GAP:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={quoteattr(_told(casts))}>\n'
        "<style>\n"
        "text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; "
        f"font-size: {_FONT:g}px; fill: {_FOREGROUND}; white-space: pre; }}\n"
        + "".join(styles)
        + "@media (prefers-reduced-motion: reduce) { g { animation: none !important; } }\n"
        "</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _told(casts: list[Cast]) -> str:
    return "A terminal session: " + ", ".join(cast.title for cast in casts)


def _clock(casts: list[Cast]) -> tuple[dict[float, float], float]:
    """Return when in the film each recorded moment comes, and how long it runs."""
    moments, now, last = {}, 0.0, 0.0
    for at in sorted({at for cast in casts for at, _ in cast.events}):
        now += min(at - last, IDLE_SECONDS)
        last = at
        moments[at] = now
    return moments, now + LAST_SECONDS


@dataclass(frozen=True)
class _Frame:
    at: float
    lines: tuple[str, ...]


def _frames(cast: Cast, moments: dict[float, float]) -> Iterator[_Frame]:
    """Yield the screens that differ, at most so many a second."""
    screen = pyte.Screen(cast.columns, cast.rows)
    stream = pyte.Stream(screen)
    shown: tuple[str, ...] | None = None
    for _, events in groupby(cast.events, key=lambda event: int(moments[event[0]] * FRAMES_A_SECOND)):
        moment = 0.0
        for at, text in events:
            stream.feed(text)
            moment = moments[at]
        lines = tuple(_line(screen, row) for row in range(cast.rows))
        if lines != shown:
            shown = lines
            yield _Frame(moment, lines)


def _line(screen: pyte.Screen, row: int) -> str:
    """Return one line of the screen as SVG: runs of the same look, each as wide as its cells."""
    cells = screen.buffer[row]
    drawn = []
    for look, run in groupby(range(screen.columns), key=lambda column: _look(cells[column])):
        columns = list(run)
        text = "".join(cells[column].data for column in columns)
        drawn.append(_run(columns[0] * _CELL, text, *look))
    return "".join(drawn)


def _look(cell: Any) -> tuple[str, str, bool, str]:
    front, back = _colour(cell.fg, _FOREGROUND), _colour(cell.bg, "")
    if cell.reverse:
        front, back = back or _BACKGROUND, front
    return front, back, cell.bold, cell.data if cell.data in _SHAPES else ""


def _colour(name: str, default: str) -> str:
    if name == "default":
        return default
    return _COLOURS.get(name) or _COLOURS.get(name.removeprefix("bright")) or f"#{name}"


def _run(x: float, text: str, front: str, back: str, bold: bool, shape: str) -> str:
    width = len(text) * _CELL
    drawn = _box(x, 0, width, _LINE, back) if back else ""
    if shape:
        top, height = _SHAPES[shape]
        return drawn + _box(x, top * _LINE, width, height * _LINE, front)
    visible = text.strip()
    if not visible:
        return drawn
    left = x + (len(text) - len(text.lstrip())) * _CELL
    # Several spaces would become one.
    kept = re.sub(" {2,}", lambda found: "\N{NO-BREAK SPACE}" * len(found[0]), visible)
    look = (f"fill:{front};" if front != _FOREGROUND else "") + ("font-weight:bold" if bold else "")
    style = f' style="{look}"' if look else ""
    # The length keeps the columns where they are whichever font there is.
    return drawn + f'<text x="{left:g}" y="13" textLength="{len(visible) * _CELL:g}"{style}>{escape(kept)}</text>'


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<path fill="{colour}" shape-rendering="crispEdges" d="M{x:g} {y:g}h{width:g}v{height:g}h{-width:g}z"/>'


def _pane(number: int, cast: Cast, frames: list[_Frame], top: float, width: float, height: float) -> str:
    """Return a window with its film: the screens under one another, each line of text held once."""
    kept = dict.fromkeys(line for frame in frames for line in frame.lines if line)
    names = {line: f"p{number}l{index}" for index, line in enumerate(kept)}
    held = "".join(f'<g id="{name}">{line}</g>' for line, name in names.items())
    screens = "".join(
        f'<g transform="translate(0 {place * height:g})">'
        + "".join(f'<use href="#{names[line]}" y="{row * _LINE:g}"/>' for row, line in enumerate(frame.lines) if line)
        + "</g>"
        for place, frame in enumerate(frames)
    )
    return (
        f'<g transform="translate(0 {top:g})">\n<defs>{held}</defs>\n'
        f'<rect x="0.5" y="0.5" width="{width - 1:g}" height="{_TITLE + height - 1:g}" rx="8" '
        f'fill="{_BACKGROUND}" stroke="{_BORDER}"/>\n'
        f'<text x="{_PAD:g}" y="18" style="fill:{_MUTED};font-weight:bold">{escape(cast.title)}</text>\n'
        f'<svg x="{_PAD:g}" y="{_TITLE:g}" width="{width - 2 * _PAD:g}" height="{height:g}">'
        f'<g class="film{number}" transform="translate(0 {-(len(frames) - 1) * height:g})">{screens}</g></svg>\n</g>'
    )


def _film(number: int, frames: list[_Frame], height: float, seconds: float) -> str:
    """Return the style that shows one screen after the other; without motion it shows the last."""
    steps = [
        f"{100 * (0.0 if place == 0 else frame.at / seconds):.3f}% {{ transform: translateY({-place * height:g}px); }}"
        for place, frame in enumerate(frames)
    ]
    last = f"translateY({-(len(frames) - 1) * height:g}px)"
    return (
        f".film{number} {{ animation: film{number} {seconds:.2f}s step-end infinite; }}\n"
        f"@keyframes film{number} {{ {' '.join(steps)} 100% {{ transform: {last}; }} }}\n"
    )
