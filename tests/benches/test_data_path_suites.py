"""The suites of whole processes run at tiny sizes, with the rivals that need nothing from PyPI."""

import json
from pathlib import Path
from typing import Any

import pytest

from benches.__main__ import main
from benches.stream_paths import AIOHTTP, WSS, ZMQ
from benches.suites import load
from sideband.bench.stream_path import OURS

DIRECTIONS = ("client to daemon", "daemon to client")
TINY = ("--rounds", "7", "--seconds", "0.001", "--size", "1MiB")


def run(out: Path, suite: str, *words: str) -> dict[str, Any]:
    assert main([suite, *TINY, *words, "--out", str(out)]) == 0
    return json.loads((out / f"{suite}.json").read_text("utf-8"))


def test_streams_are_compared_both_ways_and_drawn(tmp_path: Path) -> None:
    data = run(tmp_path, "streams", "--local")
    for direction in DIRECTIONS:
        for path in (OURS, AIOHTTP, WSS):
            assert len(data["samples"][f"{direction}, {path}, seconds"]) == 7
            for process in ("client", "relay", "daemon"):
                assert min(data["samples"][f"{direction}, {path}, processor seconds of the {process}"]) > 0
                assert data["samples"][f"{direction}, {path}, peak bytes"][process] > 1 << 20
    assert [aim["measure"] for aim in data["aims"]] == [
        f"One stream, {direction}, rate against {rival}" for direction in DIRECTIONS for rival in (AIOHTTP, WSS)
    ]
    assert (tmp_path / "streams.svg").read_text("utf-8").startswith("<svg ")
    assert "One stream, client to daemon" in (tmp_path / "README.md").read_text("utf-8")


def test_load_is_compared_with_one_stream_and_an_idle_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "COUNTS", (1, 3))
    data = run(tmp_path, "load")
    assert [aim["measure"] for aim in data["aims"]] == [
        *(f"Goodput of 3 {what}, {way}, against 1" for what in ("streams", "sessions") for way in DIRECTIONS),
        *(f"p99 of a call beside a stream {way}, more than idle" for way in DIRECTIONS),
        *(
            aim
            for way in DIRECTIONS
            for aim in (
                f"Peak memory of a process for 10 MiB {way}",
                f"Peak memory for 10 MiB {way}, against the first tenth",
            )
        ),
    ]
    for way in DIRECTIONS:
        assert {len(rates) for rates in data["samples"][f"streams, {way}, bytes a second"].values()} == {7}


def test_direct_ways_are_compared_and_switches_watched(tmp_path: Path) -> None:
    data = run(tmp_path, "direct", "--local")
    gaps = data["samples"].pop("longest gap of a stream that moves, ms")
    assert len(gaps) == 7
    assert min(gaps) > 0
    assert {len(seconds) for seconds in data["samples"].values()} == {7}
    assert min(min(seconds) for seconds in data["samples"].values()) > 0
    assert {row[0] for row in data["tables"][0]["rows"]} == {key.removesuffix(", seconds") for key in data["samples"]}
    assert [aim["measure"] for aim in data["aims"]] == [
        *(f"One direct stream over TCP, rate against {rival}" for rival in ("plain asyncio TCP", "asyncio TLS 1.3")),
        "One direct stream over TCP, rate against through our relay",
        "One direct stream over QUIC, rate against bare aioquic",
        "One direct stream over WebRTC, rate against bare aiortc",
        "Longest gap of a stream whose session leaves the relay",
    ]


def test_files_are_sent_and_looked_at(tmp_path: Path) -> None:
    data = run(tmp_path, "files", "--local")
    assert [len(seconds) for seconds in data["samples"].values()] == [7]


def test_every_aim_of_the_relay_is_judged(tmp_path: Path) -> None:
    data = run(tmp_path, "relay")
    assert len(data["aims"]) == 10
    assert {type(aim["met"]) for aim in data["aims"]} == {bool}


@pytest.mark.servers
def test_rivals_from_pypi_run_as_their_users_run_them(tmp_path: Path) -> None:
    streams = run(tmp_path, "streams")
    for direction in DIRECTIONS:
        assert min(streams["samples"][f"{direction}, {ZMQ}, seconds"]) > 0
        assert min(streams["samples"][f"{direction}, {OURS}, uvloop, seconds"]) > 0
    files = run(tmp_path, "files")
    assert [aim["measure"] for aim in files["aims"]] == [
        "A file through the relay, rate against magic-wormhole through its own"
    ]
