"""One stream from process to process: ours through our relay against the same bytes by the ways of others."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack

from benches.rivals_environment import rivals_environment
from benches.stream_paths import AIOHTTP, WSS, ZMQ, bare_path, zmq_path
from sideband.bench.measuring import Aim, Settings, SuiteResult, Table
from sideband.bench.stream_path import OURS, Moved, Path, our_path

__all__ = ["TITLE", "run"]

TITLE = "Streams through a relay"

UNIT = 65_536
"""Processor time is told for so many bytes."""
_NOTE = (
    "Two endpoints and the relay between them are three processes on the same machine, connected over loopback; each "
    "writes and reads pieces of 64 KiB. Processor time and peak memory are those of each process."
)
_AIMS = {AIOHTTP: 0.85, WSS: 2.2, ZMQ: 1.0}
_WARM_UP_BYTES = 32 << 20


def run(settings: Settings) -> SuiteResult:
    """Measure both directions, the paths in turns."""
    result = SuiteResult(tables=[])
    with ExitStack() as stack:
        paths = [stack.enter_context(path) for path in _paths(settings)]
        for up in (True, False):
            _direction(result, paths, settings, up=up)
    return result


def _paths(settings: Settings) -> Iterator[AbstractContextManager[Path]]:
    yield our_path()
    yield bare_path()
    yield bare_path(WSS, tls=True)
    yield bare_path(f"{AIOHTTP}, allocator as ours", tuned=True)
    if settings.pypi:
        rivals = rivals_environment()
        yield zmq_path(rivals)
        site = rivals.site()
        yield our_path(f"{OURS}, uvloop", event_loop="uvloop", site=site)
        yield bare_path(f"{AIOHTTP}, uvloop", event_loop="uvloop", site=site)


def _direction(result: SuiteResult, paths: Sequence[Path], settings: Settings, *, up: bool) -> None:
    direction = "client to daemon" if up else "daemon to client"
    moved: dict[str, list[Moved]] = {path.name: [] for path in paths}
    for path in paths:
        path.move(min(settings.stream_bytes, _WARM_UP_BYTES), up=up)
        path.forget_peaks()
    for _ in range(settings.rounds):
        for path in paths:
            moved[path.name].append(path.move(settings.stream_bytes, up=up))
    rows = []
    for path in paths:
        samples = moved[path.name]
        result.samples[f"{direction}, {path.name}, seconds"] = [one.seconds for one in samples]
        cost = {
            name: statistics.median(one.cpu[name] for one in samples) / settings.stream_bytes * UNIT
            for name in path.processes
        }
        peaks = path.peaks()
        for name in path.processes:
            result.samples[f"{direction}, {path.name}, processor seconds of the {name}"] = [
                one.cpu[name] for one in samples
            ]
        result.samples[f"{direction}, {path.name}, peak bytes"] = peaks
        sender, receiver = ("client", "daemon") if up else ("daemon", "client")
        rates = [settings.stream_bytes / one.seconds for one in samples]
        low, middle, high = statistics.quantiles(rates, n=4)
        rows.append(
            [
                path.name,
                f"{middle / 1e9:.2f} GB/s",
                f"{(high - low) / middle:.0%}",
                f"{statistics.median(_ratios(moved[OURS], samples)):.2f}",
                *(f"{cost[name] * 1e6:.1f}" if name in cost else "" for name in (sender, "relay", receiver)),
                f"{sum(cost.values()) * 1e6:.1f}",
                *(f"{peaks[name] / 2**20:.0f}" if name in peaks else "" for name in (sender, "relay", receiver)),
            ]
        )
    columns = ["path", "rate", "spread", "ours is so many times as fast"]
    columns += [f"{who}, µs of CPU for 64 KiB" for who in ("sender", "relay", "receiver", "all")]
    columns += [f"{who}, peak MiB" for who in ("sender", "relay", "receiver")]
    title = f"One stream of {settings.stream_bytes / 2**20:,.0f} MiB, {direction}"
    result.tables.append(Table(title, columns, rows, _NOTE))
    for name, limit in _AIMS.items():
        if name in moved:
            ratio = statistics.median(_ratios(moved[OURS], moved[name]))
            result.aims.append(Aim(f"One stream, {direction}, rate against {name}", ratio, limit))


def _ratios(ours: Sequence[Moved], theirs: Sequence[Moved]) -> list[float]:
    """How many times as fast ours is, pair by pair: what disturbs the machine disturbs both of a pair."""
    return [their.seconds / our.seconds for our, their in zip(ours, theirs, strict=True)]
