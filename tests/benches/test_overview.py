import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benches.chart import Bar, Group, bar_chart
from benches.overview import write_overview
from benches.stream_paths import AIOHTTP, ZMQ
from sideband.bench.measuring import Aim
from sideband.bench.stream_path import OURS

SVG = "{http://www.w3.org/2000/svg}"


def report(folder: Path, suite: str, aims: list[Aim], **samples: Any) -> None:
    told = [aim.__dict__ | {"met": aim.met} for aim in aims]
    facts = {"date": "2026-01-02", "processor": "one"}
    data = {"suite": suite, "title": f"About {suite}", "facts": facts, "stream_bytes": 1 << 30, "aims": told}
    (folder / f"{suite}.json").write_text(json.dumps({**data, "samples": samples}), "utf-8")


def texts(chart: str) -> list[str]:
    return [one.text or "" for one in ET.fromstring(chart).iter(f"{SVG}text")]


def bars(chart: str, kind: str) -> list[float]:
    return [float(one.get("width", "")) for one in ET.fromstring(chart).iter(f"{SVG}rect") if one.get("class") == kind]


def test_what_falls_short_is_named_on_the_page_and_in_the_chart(tmp_path: Path) -> None:
    report(tmp_path, "a", [Aim("speed", 2.0, 1.0), Aim("delay", 30.0, 10.0, at_least=False, unit=" ms")])
    report(tmp_path, "b", [Aim("size", 5.0, 10.0, at_least=False, unit=" KiB")])
    write_overview(tmp_path)
    page = (tmp_path / "README.md").read_text("utf-8")
    assert "2 of 3 aims are met" in page
    assert "- delay: at most 10 ms, found 30.0 ms (not met)" in page
    assert "| delay | at most 10 ms | 30.0 ms, short of it |" in page
    assert "| size | at most 10 KiB | 5.0 KiB |" in page
    chart = (tmp_path / "aims.svg").read_text("utf-8")
    assert {"About a", "About b", "speed", "delay", "size"} <= set(texts(chart))
    # Twice as good is as far right of the mark whichever way the aim points.
    assert len(set(bars(chart, "ours"))) == 1
    assert bars(chart, "short")[0] < bars(chart, "ours")[0]


def test_the_chart_of_streams_says_how_far_ours_is_from_each_rival(tmp_path: Path) -> None:
    way = "client to daemon"
    other = "daemon to client"
    aims = [
        Aim(f"One stream, {way}, rate against {AIOHTTP}", 0.5, 0.85),
        Aim(f"One stream, {way}, rate against {ZMQ}", 2.0, 1.0),
        Aim(f"One stream, {other}, rate against {AIOHTTP}", 1.0, 0.85),
    ]
    seconds = {(way, OURS): 2.0, (way, AIOHTTP): 1.0, (way, ZMQ): 4.0, (other, OURS): 1.0, (other, AIOHTTP): 1.0}
    report(
        tmp_path, "streams", aims, **{f"{way}, {name}, seconds": [took] * 7 for (way, name), took in seconds.items()}
    )
    write_overview(tmp_path)
    chart = (tmp_path / "streams.svg").read_text("utf-8")
    assert "Short of the aim: 0.50 instead of 0.85 times plain." in texts(chart)
    (short,), (ours,), rivals = bars(chart, "short"), bars(chart, "ours"), bars(chart, "rival")
    assert ours == pytest.approx(2 * short, abs=0.2)
    assert sorted(rivals) == pytest.approx([short / 2, ours, ours], abs=0.2)
    assert len([one for one in ET.fromstring(chart).iter(f"{SVG}path") if one.get("class") == "aim"]) == 2


def test_without_streams_there_is_no_chart_of_them(tmp_path: Path) -> None:
    report(tmp_path, "a", [])
    write_overview(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["README.md", "a.json", "aims.svg"]


def test_text_is_escaped_and_bars_stay_inside() -> None:
    bar = Bar("a < b & c", 7.0, '"', "ours", spread=(-3.0, 9.0), aim=12.0)
    chart = bar_chart("<t>", ["&"], [Group("<g>", [bar], "<n>")], scale=lambda value: value, label_width=100)
    assert texts(chart) == ["<t>", "&", "<g>", "<n>", "a < b & c", '"']
    assert bars(chart, "ours") == bars(chart, "track")
