"""Many streams, many sessions, calls beside a stream, and the memory that a long stream takes."""

import statistics

from sideband.bench.machine import percentile
from sideband.bench.measuring import Aim, Settings, SuiteResult, Table
from sideband.bench.stream_path import Path, our_path

__all__ = ["TITLE", "run"]

TITLE = "Under load"

COUNTS = (1, 8, 64, 512)
LONG_STREAM = 10
"""So many times the size of one stream, for the memory."""
_DIRECTIONS = {"client to daemon": True, "daemon to client": False}
_LEAST_BYTES = 64 * 1024
_MIB = 1 << 20


def run(settings: Settings) -> SuiteResult:
    """Measure everything; a quick run does the same with little of each."""
    result = SuiteResult(tables=[])
    quick = settings.sample_seconds < Settings.sample_seconds / 3
    counts = COUNTS[:2] if quick else COUNTS
    with our_path(sessions=max(counts)) as path:
        for what in ("streams", "sessions"):
            _goodput(result, path, what, counts, settings.stream_bytes, settings.rounds)
    with our_path() as path:
        _calls(result, path, settings.stream_bytes, idle=200 if quick else 2000)
    with our_path() as path:
        _memory(result, path, settings.stream_bytes)
    return result


def _goodput(result: SuiteResult, path: Path, what: str, counts: tuple[int, ...], size: int, rounds: int) -> None:
    rows = []
    for direction, up in _DIRECTIONS.items():
        rates: dict[int, list[float]] = {count: [] for count in counts}
        path.move(size // 4, up=up)
        for _ in range(rounds):
            for count in counts:
                each = max(_LEAST_BYTES, size // count)
                rates[count].append(each * count / path.move(each, up=up, **{what: count}).seconds)
        result.samples[f"{what}, {direction}, bytes a second"] = {str(count): rates[count] for count in counts}
        shares = {
            count: statistics.median(many / one for many, one in zip(rates[count], rates[1], strict=True))
            for count in counts
        }
        rows.append([direction, *(f"{statistics.median(rates[n]) / 1e6:,.0f} MB/s ({shares[n]:.2f})" for n in counts)])
        result.aims += [
            Aim(f"Goodput of {count} {what}, {direction}, against 1", shares[count], 0.8) for count in counts[1:]
        ]
    title = f"{size / _MIB:,.0f} MiB over several {what}{' of one session' if what == 'streams' else ' of one client'}"
    note = "All together, and in brackets against one."
    result.tables.append(Table(title, ["direction", *map(str, counts)], rows, note))


def _calls(result: SuiteResult, path: Path, size: int, idle: int) -> None:
    client = path.processes["client"]
    client.ask("call", calls=idle // 4)
    samples = {"idle": client.ask("call", calls=idle)["calls"]}
    for direction, up in _DIRECTIONS.items():
        samples[f"stream {direction}"] = client.ask("call", beside=size, up=up)["calls"]
    result.samples["calls of 256 B, seconds"] = samples
    p99 = {name: percentile(seconds, 0.99) * 1e3 for name, seconds in samples.items()}
    rows = [
        [name, f"{len(seconds):,}", f"{statistics.median(seconds) * 1e3:.2f} ms", f"{p99[name]:.2f} ms"]
        for name, seconds in samples.items()
    ]
    note = "One call after the other, on the session whose stream is as fast as it can be."
    result.tables.append(Table("Calls beside a stream", ["session", "calls", "p50", "p99"], rows, note))
    for name in p99:
        if name != "idle":
            measure = f"p99 of a call beside a {name}, more than idle"
            result.aims.append(Aim(measure, p99[name] - p99["idle"], 10.0, at_least=False, unit=" ms"))


def _memory(result: SuiteResult, path: Path, size: int) -> None:
    rows = []
    for direction, up in _DIRECTIONS.items():
        path.move(size // 4, up=up)
        path.forget_peaks()
        path.move(size, up=up)
        begun = path.peaks()
        path.move(size * (LONG_STREAM - 1), up=up)
        peaks = path.peaks()
        result.samples[f"{direction}, peak bytes"] = {f"{size} bytes": begun, f"{size * LONG_STREAM} bytes": peaks}
        rows += [[direction, name, f"{begun[name] / _MIB:.0f} MiB", f"{peaks[name] / _MIB:.0f} MiB"] for name in peaks]
        largest, growth = max(peaks.values()) / _MIB, max(peaks[name] / begun[name] for name in peaks)
        long = f"{size * LONG_STREAM / _MIB:,.0f} MiB {direction}"
        result.aims += [
            Aim(f"Peak memory of a process for {long}", largest, 150.0, at_least=False, unit=" MiB"),
            Aim(f"Peak memory for {long}, against the first tenth", growth, 1.1, at_least=False),
        ]
    columns = ["direction", "process", f"peak of {size / _MIB:,.0f} MiB", f"peak of {LONG_STREAM} times that"]
    note = "Resident memory of the whole process, Python and libraries included."
    result.tables.append(Table("Memory of a long stream", columns, rows, note))
