"""Charts of horizontal bars as SVG: small, no dependency, readable on light and on dark pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

__all__ = ["Bar", "Group", "bar_chart"]

_WIDTH = 940
_MARGIN = 28
_ROW, _BAR = 27, 16
_STYLE = """\
.panel { fill: #ffffff; stroke: #d0d7de }
text { font: 13px -apple-system, "Segoe UI", "DejaVu Sans", Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-size: 17px; font-weight: 600 }
.faint, .value { fill: #59636e }
.group { font-weight: 600 }
.strong { font-weight: 600; fill: #1f2328 }
.ours { fill: #1a7f64 }
.rival { fill: #afb8c1 }
.short { fill: #bf5b04 }
.track { fill: #eff2f5 }
.spread { stroke: #1f2328; stroke-opacity: .55; stroke-width: 1.5 }
.aim { stroke: #8250df; stroke-width: 2 }
.aimtext { fill: #8250df }
@media (prefers-color-scheme: dark) {
  .panel { fill: #0d1117; stroke: #3d444d }
  text, .strong { fill: #f0f6fc }
  .faint, .value { fill: #9198a1 }
  .ours { fill: #2fb58f }
  .rival { fill: #59636e }
  .short { fill: #e0823d }
  .track { fill: #1a2028 }
  .spread { stroke: #f0f6fc }
  .aim { stroke: #ab7df8 }
  .aimtext { fill: #ab7df8 }
}
"""


@dataclass(frozen=True)
class Bar:
    """One row.

    Attributes:
        label: at its left.
        value: how long it is, by the scale of the chart.
        text: at its right.
        kind: its colour: ours, a rival's, or short of its aim.
        spread: from where to where the middle half of the samples lies; None for none.
        aim: where a mark is drawn; None for none.
    """

    label: str
    value: float
    text: str
    kind: Literal["ours", "rival", "short"]
    spread: tuple[float, float] | None = None
    aim: float | None = None


@dataclass(frozen=True)
class Group:
    """Rows under a heading, and what there is to say about them."""

    title: str
    bars: Sequence[Bar]
    note: str = ""


def bar_chart(
    title: str,
    notes: Sequence[str],
    groups: Sequence[Group],
    *,
    scale: Callable[[float], float],
    label_width: int,
    text_width: int = 150,
) -> str:
    """Return the chart as an SVG document.

    Args:
        title: the first line.
        notes: lines under it.
        groups: rows with their headings.
        scale: from a value to a share of the width, 0 to 1.
        label_width: pixels that the labels take.
        text_width: pixels that the texts at the right take.
    """
    left = _MARGIN + label_width
    length = _WIDTH - left - text_width - _MARGIN
    body = [f'<text class="title" x="{_MARGIN}" y="40">{escape(title)}</text>']
    y = 62
    for note in notes:
        body.append(f'<text class="faint" x="{_MARGIN}" y="{y}">{escape(note)}</text>')
        y += 20
    for group in groups:
        y += 22
        body.append(f'<text class="group" x="{_MARGIN}" y="{y}">{escape(group.title)}</text>')
        if group.note:
            y += 19
            body.append(f'<text class="faint" x="{_MARGIN}" y="{y}">{escape(group.note)}</text>')
        y += 10
        for bar in group.bars:
            body += _row(bar, y, left, length, scale)
            y += _ROW
    height = y + 18
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'role="img" aria-label="{escape(title)}">\n<style>\n{_STYLE}</style>\n'
        f'<rect class="panel" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _row(bar: Bar, y: int, left: int, length: int, scale: Callable[[float], float]) -> list[str]:
    def x(value: float) -> float:
        return left + length * min(1.0, max(0.0, scale(value)))

    middle = y + _ROW / 2
    top = middle - _BAR / 2
    text = middle + 4.5
    strong = "value" if bar.kind == "rival" else "strong"
    parts = [
        f'<text x="{left - 12}" y="{text}" text-anchor="end">{escape(bar.label)}</text>',
        f'<rect class="track" x="{left}" y="{top}" width="{length}" height="{_BAR}" rx="3"/>',
        f'<rect class="{bar.kind}" x="{left}" y="{top}" width="{x(bar.value) - left:.1f}" height="{_BAR}" rx="3"/>',
        f'<text class="{strong}" x="{left + length + 12}" y="{text}">{escape(bar.text)}</text>',
    ]
    if bar.spread is not None:
        low, high = bar.spread
        parts.append(f'<path class="spread" d="M{x(low):.1f} {middle}H{x(high):.1f}"/>')
    if bar.aim is not None:
        parts.append(f'<path class="aim" d="M{x(bar.aim):.1f} {top - 4}v{_BAR + 8}"/>')
    return parts
