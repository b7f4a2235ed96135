"""Sealing and opening Data frames: ours, one at a time and in batches, against the same session in Python."""

import statistics
import time

from sideband.allocator import tune_allocator
from sideband.bench.measuring import Aim, Settings, SuiteResult, Table, measure, median, spread
from sideband.bench.sealing import (
    BATCH,
    ONE_THREAD,
    OPENSSL,
    OURS,
    OURS_BATCH,
    PURE,
    SIZES,
    TWO_THREADS,
    Action,
    check_agreement,
    contestants,
    threads,
)

__all__ = ["TITLE", "run"]

TITLE = "Seal and open Data frames"

_ACTIONS: tuple[Action, ...] = ("seal", "open")
_SMALL, _LARGE = (64,), (16_384, 65_508)
_NOTE = (
    "Time a message and plaintext rate; ratios above 1 mean that ours is faster. Processor time of one thread. The "
    "process keeps memory that it has freed (`sideband.tune_allocator`), for all contestants alike."
)


def run(settings: Settings) -> SuiteResult:
    """Measure every size in both directions and return the two tables."""
    tune_allocator()
    check_agreement()
    result = SuiteResult(tables=[])
    pure_ratios: list[float] = []
    for action in _ACTIONS:
        rows = []
        for size in SIZES:
            samples = measure(contestants(action, size), settings)
            result.samples[f"{action} {size}"] = dict(samples)
            ours, batch, openssl, pure = (median(samples, name) for name in (OURS, OURS_BATCH, OPENSSL, PURE))
            against = f"{action.capitalize()} {size:,} B{{}}, rate against Python over `cryptography`"
            if size in _SMALL:
                result.aims.append(Aim(against.format(" one at a time"), openssl / ours, 3.0))
                result.aims.append(Aim(against.format(f", {BATCH} at a time"), openssl / batch, 4.0))
            elif size in _LARGE:
                result.aims.append(Aim(against.format(" one at a time"), openssl / ours, 1.0))
            pure_ratios.append(pure / ours)
            rows.append(
                [
                    f"{size:,}",
                    *(_rate(seconds, size) for seconds in (ours, batch, openssl, pure)),
                    f"{openssl / ours:.2f}",
                    f"{openssl / batch:.2f}",
                    f"{pure / ours:,.0f}",
                    f"{max(spread(samples, name) for name in samples):.0%}",
                ]
            )
        columns = ["bytes", OURS, OURS_BATCH, OPENSSL, PURE, "ours / cryptography", "batch / cryptography"]
        columns += ["ours / pure Python", "widest spread"]
        result.tables.append(
            Table(
                f"{action.capitalize()}: header, nonce, {'sequence' if action == 'seal' else 'replay check'}, cipher",
                columns,
                rows,
                _NOTE if action == "seal" else "As above.",
            )
        )
    _threads(result, settings)
    result.aims.append(Aim("Any size either way, rate against pure Python, the least", min(pure_ratios), 300.0))
    return result


def _threads(result: SuiteResult, settings: Settings) -> None:
    """By the clock: whether a second core helps is the question."""
    size = SIZES[-1]
    rows = []
    for action in _ACTIONS:
        samples = measure(threads(action, size), settings, time.perf_counter)
        result.samples[f"{action} {size}, threads"] = dict(samples)
        one, two = (median(samples, name) for name in (ONE_THREAD, TWO_THREADS))
        pairs = zip(samples[ONE_THREAD], samples[TWO_THREADS], strict=True)
        ratio = statistics.median(alone / both for alone, both in pairs)
        widest = max(spread(samples, name) for name in samples)
        rows.append([action, _rate(one, size), _rate(two, size), f"{ratio:.2f}", f"{widest:.0%}"])
        what = f"{action.capitalize()} {BATCH} x {size:,} B, rate of two threads against one"
        result.aims.append(Aim(what, ratio, 1.7))
    title = f"Batches of {BATCH} x {size:,} B by a second thread"
    note = "By the clock. Sealed into the memory that goes to the socket, and masked; opened to objects of Python."
    result.tables.append(Table(title, ["", ONE_THREAD, TWO_THREADS, "ratio", "widest spread"], rows, note))


def _rate(seconds: float, size: int) -> str:
    time = f"{seconds * 1e9:,.0f} ns" if seconds < 1e-5 else f"{seconds * 1e6:,.0f} µs"
    rate = size / seconds / 1e6
    return f"{time}, {rate:,.0f} MB/s" if rate >= 10 else f"{time}, {rate:.2f} MB/s"
