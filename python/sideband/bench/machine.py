"""What this machine makes of sideband: sealing, a stream and calls through a relay, each end a process of its own."""

import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sideband.bench.measuring import Settings, measure, median, spread
from sideband.bench.sealing import Action, check_agreement, contestants
from sideband.bench.stream_path import Path, our_path

__all__ = ["Sealing", "Stream", "measure_calls", "measure_sealing", "measure_stream", "percentile", "through_relay"]

WARM_UP_BYTES = 16 << 20
"""Moved before a stream is measured: windows grow to what the path takes."""


@dataclass(frozen=True)
class Sealing:
    """Seconds for a message, by contestant (see `sideband.bench.sealing`).

    Attributes:
        action: "seal" or "open".
        size: bytes of a message.
        seconds: medians.
        spread: how far the middle half of the samples lies apart, as a share of the median; the widest.
    """

    action: Action
    size: int
    seconds: dict[str, float]
    spread: float


@dataclass(frozen=True)
class Stream:
    """One stream through a relay.

    Attributes:
        direction: "client to daemon" or "daemon to client".
        size: its bytes.
        rates: bytes a second of each sample.
        cpu: processor seconds for 64 KiB of each process, by its name; empty where the system does not tell.
    """

    direction: str
    size: int
    rates: Sequence[float]
    cpu: dict[str, float]


def measure_sealing(settings: Settings, sizes: Sequence[int]) -> Iterator[Sealing]:
    """Measure every size both ways, by processor time of one thread."""
    check_agreement()
    actions: tuple[Action, ...] = ("seal", "open")
    for action in actions:
        for size in sizes:
            samples = measure(contestants(action, size), settings)
            seconds = {name: median(samples, name) for name in samples}
            yield Sealing(action, size, seconds, max(spread(samples, name) for name in samples))


@contextmanager
def through_relay() -> Iterator[Path]:
    """Start a relay, a daemon and a client as processes on loopback, for `measure_stream` and `measure_calls`.

    Raises:
        ProcessError: one of them did not start.
    """
    with our_path() as path:
        yield path


def measure_stream(path: Path, settings: Settings) -> Iterator[Stream]:
    """Measure both directions, a stream of `settings.stream_bytes` for each sample."""
    size = settings.stream_bytes
    for direction, up in (("client to daemon", True), ("daemon to client", False)):
        path.move(min(size, WARM_UP_BYTES), up=up)
        moved = [path.move(size, up=up) for _ in range(settings.rounds)]
        cpu = {name: statistics.median(one.cpu[name] for one in moved) / size * 65_536 for name in moved[0].cpu}
        yield Stream(direction, size, [size / one.seconds for one in moved], cpu)


def measure_calls(path: Path, calls: int = 1000) -> Sequence[float]:
    """Return the seconds of so many calls of 256 bytes, echoed one after the other; a few go before."""
    client = path.processes["client"]
    client.ask("call", calls=max(1, calls // 10))
    seconds: list[float] = client.ask("call", calls=calls)["calls"]
    return seconds


def percentile(values: Sequence[float], share: float) -> float:
    """Return the least value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
