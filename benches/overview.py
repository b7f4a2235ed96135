"""What all suites together have found: a page with every aim, and charts."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benches.chart import Bar, Group, bar_chart
from benches.stream_paths import AIOHTTP, WSS, ZMQ
from sideband.bench.measuring import Aim
from sideband.bench.stream_path import OURS

__all__ = ["write_overview"]

_SHOWN = {OURS: "sideband", AIOHTTP: AIOHTTP, WSS: "bare aiohttp, TLS on each hop", ZMQ: "pyzmq, CURVE, no relay"}
_BRIEF = {AIOHTTP: "plain", WSS: "TLS", ZMQ: "pyzmq"}
_TITLE = "One stream through a relay, gigabytes a second"
_LEAST, _MOST = 1 / 8, 8.0


def write_overview(folder: Path) -> None:
    """Write `README.md`, `aims.svg` and, once streams were measured, `streams.svg` from the reports in `folder`."""
    reports = [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]
    aims = {report["suite"]: [_aim(told) for told in report["aims"]] for report in reports}
    titles = {report["suite"]: report["title"] for report in reports}
    (folder / "README.md").write_text(_page(reports, aims), "utf-8")
    (folder / "aims.svg").write_text(_aims_chart(titles, aims), "utf-8")
    for report in reports:
        if report["suite"] == "streams":
            (folder / "streams.svg").write_text(_streams_chart(report, aims["streams"]), "utf-8")


def _aim(told: Mapping[str, Any]) -> Aim:
    return Aim(**{key: value for key, value in told.items() if key != "met"})


def _page(reports: Sequence[Mapping[str, Any]], aims: Mapping[str, Sequence[Aim]]) -> str:
    every = [aim for of_suite in aims.values() for aim in of_suite]
    short = [aim for aim in every if not aim.met]
    lines = [
        "# Figures",
        "",
        "Made by `make bench`. How to read and repeat them: [performance](../../docs/performance.md).",
    ]
    lines += ["", f"{len(every) - len(short)} of {len(every)} aims are met.", "", "![Every aim](aims.svg)"]
    if short:
        lines += ["", "## Short of the aim", "", *(f"- {aim}" for aim in short)]
    for report in reports:
        lines += ["", f"## {report['title']}", "", f"[Report]({report['suite']}.md), {report['facts']['date']}"]
        if aims[report["suite"]]:
            lines += ["", "| measure | aim | found |", "|---|---:|---:|"]
        for aim in aims[report["suite"]]:
            bound = "at least" if aim.at_least else "at most"
            verdict = "" if aim.met else ", short of it"
            lines.append(f"| {aim.measure} | {bound} {aim.limit:g}{aim.unit} | {aim.figure}{aim.unit}{verdict} |")
    return "\n".join(lines) + "\n"


def _aims_chart(titles: Mapping[str, str], aims: Mapping[str, Sequence[Aim]]) -> str:
    groups = [Group(titles[suite], [_aim_bar(aim) for aim in of_suite]) for suite, of_suite in aims.items() if of_suite]
    every = [aim for of_suite in aims.values() for aim in of_suite]
    short = sum(not aim.met for aim in every)
    notes = [f"The mark is the aim; bars from {_LEAST:g} to {_MOST:g} times as good, logarithmic."]
    notes.append(f"{short} of {len(every)} fall short; they are orange." if short else f"All {len(every)} are met.")
    return bar_chart("Every figure against its aim", notes, groups, scale=_logarithmic, label_width=500)


def _aim_bar(aim: Aim) -> Bar:
    better = aim.found / aim.limit if aim.at_least else aim.limit / aim.found if aim.found > 0 else _MOST
    text = f"{aim.figure}{aim.unit} ({'≥' if aim.at_least else '≤'} {aim.limit:g})"
    return Bar(aim.measure.replace("`", ""), better, text, "ours" if aim.met else "short", aim=1.0)


def _logarithmic(value: float) -> float:
    return math.log(max(value, _LEAST) / _LEAST) / math.log(_MOST / _LEAST)


def _streams_chart(report: Mapping[str, Any], aims: Sequence[Aim]) -> str:
    rates = {
        key.removesuffix(", seconds"): [report["stream_bytes"] / one / 1e9 for one in seconds]
        for key, seconds in report["samples"].items()
        if key.endswith(", seconds")
    }
    groups = []
    for direction in ("client to daemon", "daemon to client"):
        found = {name: rates[f"{direction}, {name}"] for name in _SHOWN if f"{direction}, {name}" in rates}
        own = [aim for aim in aims if direction in aim.measure]
        # An aim is a ratio, so its mark is where ours would just meet it.
        marks = [statistics.median(found[OURS]) / aim.found * aim.limit for aim in own if aim.found]
        bars = []
        for name, samples in found.items():
            low, middle, high = statistics.quantiles(samples, n=4)
            ours = name == OURS
            kind = "rival" if not ours else "ours" if all(aim.met for aim in own) else "short"
            aim = max(marks, default=None) if ours else None
            bars.append(Bar(_SHOWN[name], middle, f"{middle:.2f} GB/s", kind, (low, high), aim))  # type: ignore[arg-type]
        missed = [
            f"{aim.figure} instead of {aim.limit:g} times {brief}"
            for aim in own
            for name, brief in _BRIEF.items()
            if not aim.met and aim.measure.endswith(name)
        ]
        note = f"Short of the aim: {'; '.join(missed)}." if missed else ""
        groups.append(Group(direction.capitalize(), bars, note))
    most = max(max(samples) for samples in rates.values())
    size = f"{report['stream_bytes'] / 2**20:,.0f} MiB"
    notes = [
        f"{size} between three processes on one machine, {report['facts']['processor']}; sideband encrypts end to end.",
        "Median and middle half of the samples. At the mark all aims are met; a bar short of one is orange.",
    ]
    return bar_chart(_TITLE, notes, groups, scale=lambda value: value / most, label_width=215, text_width=105)
