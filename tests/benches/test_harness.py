import itertools

import pytest

from benches.report import to_markdown
from sideband.bench.measuring import Aim, Contestant, Settings, SuiteResult, Table, measure, median


class StepClock:
    """A clock that stands still unless the work moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def contestant(name: str, clock: StepClock, seconds: float, log: list[str], **options: int) -> Contestant:
    def prepare(count: int):
        def call() -> None:
            log.append(name)
            clock.now += seconds * count

        return call

    return Contestant(name, prepare, **options)


def test_each_is_judged_by_the_time_of_one_operation() -> None:
    clock = StepClock()
    samples = measure([contestant("a", clock, 0.002, []), contestant("b", clock, 0.0005, [])], Settings(), clock)
    assert median(samples, "a") == pytest.approx(0.002)
    assert median(samples, "b") == pytest.approx(0.0005)
    assert len(samples["a"]) == Settings().rounds


def test_contestants_take_turns() -> None:
    clock, log = StepClock(), []
    measure([contestant(name, clock, 1.0, log) for name in "ab"], Settings(rounds=7), clock)
    measured = log[-14:]
    assert measured == list(itertools.islice(itertools.cycle("ab"), 14))


def test_a_sample_never_needs_more_than_it_may_prepare() -> None:
    clock, counts = StepClock(), []

    def prepare(count: int):
        counts.append(count)
        return lambda: None

    measure([Contestant("fast", prepare, per_call=32, max_operations=100)], Settings(), clock)
    assert max(counts) <= 100
    assert all(count % 32 == 0 for count in counts)


def test_fewer_than_seven_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 7 rounds"):
        Settings(rounds=6)


def test_a_report_names_what_it_was_measured_on() -> None:
    result = SuiteResult(
        [Table("T", ["a", "b"], [["1", "2"]], "note")],
        aims=[Aim("rate", 2.5, 3.0), Aim("delay", 4, 10, at_least=False, unit=" ms")],
    )
    page = to_markdown("crypto", "Title", result, Settings(), {"commit": "abc", "processor": "one"})
    assert page.startswith("# Title\n")
    assert "| a | b |\n|---:|---:|\n| 1 | 2 |\n" in page
    assert "- rate: at least 3, found 2.50 (not met)\n- delay: at most 10 ms, found 4.0 ms (met)\n" in page
    assert "- commit: abc\n- processor: one\n" in page
