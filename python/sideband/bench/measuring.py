"""Interleaved measurement.

All contestants of a comparison are measured in turns, round after round, and each is judged by the median of its
rounds. Whatever else the machine does then falls on all of them alike, so ratios hold where absolute figures do not.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Aim", "Contestant", "Settings", "SuiteResult", "Table", "measure", "median", "spread"]

Prepare = Callable[[int], Callable[[], object]]
"""Given a number of operations, set up what they need and return the call that does them; only that call is timed."""


@dataclass(frozen=True)
class Settings:
    """How long and how often to measure.

    Attributes:
        rounds: samples of each contestant, at least 7.
        sample_seconds: what one sample should take; the number of operations in it is chosen accordingly.
        stream_bytes: size of a stream or file that is sent once a sample.
        pypi: whether to install rivals from PyPI and measure them too.
    """

    rounds: int = 9
    sample_seconds: float = 0.03
    stream_bytes: int = 1 << 30
    pypi: bool = True

    def __post_init__(self) -> None:
        if self.rounds < 7:
            raise ValueError(f"a median needs at least 7 rounds, not {self.rounds}")


@dataclass(frozen=True)
class Contestant:
    """One way of doing the work that a comparison is about.

    Attributes:
        name: as the report shows it.
        prepare: see `Prepare`.
        per_call: operations that are done at least and in multiples of, such as the size of a batch.
        max_operations: most operations in one sample, to bound the memory that preparing takes.
    """

    name: str
    prepare: Prepare
    per_call: int = 1
    max_operations: int = 1_000_000


@dataclass(frozen=True)
class Table:
    """One table of a report; cells are formatted already."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


@dataclass(frozen=True)
class Aim:
    """What was expected of a figure, and what came.

    Attributes:
        measure: what the figure is, such as "Seal 64 B one at a time, rate against Python over `cryptography`".
        found: the figure.
        limit: what it should be.
        at_least: or more; else or less.
        unit: of both, as it follows a number: " ms"; nothing for a ratio.
    """

    measure: str
    found: float
    limit: float
    at_least: bool = True
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure is as good as it should be."""
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    def __str__(self) -> str:
        bound = "at least" if self.at_least else "at most"
        verdict = "met" if self.met else "not met"
        return f"{self.measure}: {bound} {self.limit:g}{self.unit}, found {self.figure}{self.unit} ({verdict})"

    @property
    def figure(self) -> str:
        """The figure as it is shown, without its unit."""
        digits = 2 if self.limit < 10 else 0 if self.limit > 100 else 1
        return f"{self.found:,.{digits}f}"


@dataclass
class SuiteResult:
    """What a suite found.

    Attributes:
        tables: for people.
        samples: for programs: every sample of every contestant, in seconds an operation, or whatever the suite says.
        aims: what was expected and what came.
    """

    tables: list[Table]
    samples: dict[str, Any] = field(default_factory=dict)
    aims: list[Aim] = field(default_factory=list)


def measure(
    contestants: list[Contestant], settings: Settings, clock: Callable[[], float] = time.thread_time
) -> Mapping[str, list[float]]:
    """Return seconds an operation for each contestant, one number a round.

    Args:
        contestants: measured in turns, in this order.
        settings: rounds and length of a sample.
        clock: `time.thread_time` for work of one thread, which other processes then disturb least;
            `time.perf_counter` for anything that waits or has helpers.
    """
    samples: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    with _without_garbage_collection():
        counts = {contestant.name: _calibrate(contestant, settings, clock) for contestant in contestants}
        for _ in range(settings.rounds):
            for contestant in contestants:
                count = counts[contestant.name]
                samples[contestant.name].append(_time(contestant, count, clock) / count)
    return samples


def median(samples: Mapping[str, list[float]], name: str) -> float:
    """Return the median of a contestant's samples."""
    return statistics.median(samples[name])


def spread(samples: Mapping[str, list[float]], name: str) -> float:
    """Return how far the middle half of the samples lies apart, as a share of the median."""
    low, _, high = statistics.quantiles(samples[name], n=4)
    return (high - low) / median(samples, name)


def _calibrate(contestant: Contestant, settings: Settings, clock: Callable[[], float]) -> int:
    count = contestant.per_call
    while True:
        elapsed = _time(contestant, count, clock)
        if elapsed >= settings.sample_seconds or count * 2 > contestant.max_operations:
            return count
        wanted = count * settings.sample_seconds / max(elapsed, 1e-6) * 1.1
        # The first calls are slow ones, so trust an estimate only so far.
        count = min(int(wanted), count * 20, contestant.max_operations)
        count = max(contestant.per_call, count // contestant.per_call * contestant.per_call)


def _time(contestant: Contestant, count: int, clock: Callable[[], float]) -> float:
    call = contestant.prepare(count)
    started = clock()
    call()
    return clock() - started


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Whose sample a collection would fall into is chance."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
