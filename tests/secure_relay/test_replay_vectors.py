"""Every case of sbrp-replay.json, and a model of the window that it is compared with."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.errors import ConfigError
from sideband.secure_relay import ReplayWindow

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "sbrp-replay.json").read_text())
SCENARIOS = VECTORS["scenarios"]


def allowed(size: int) -> bool:
    return 64 <= size <= 65536 and size % 64 == 0


@pytest.mark.parametrize(
    "scenario", [s for s in SCENARIOS if allowed(s["windowSize"])], ids=lambda scenario: scenario["name"]
)
def test_scenario(scenario: dict) -> None:
    window = ReplayWindow() if scenario["isDefault"] else ReplayWindow(scenario["windowSize"])
    assert window.size == scenario["windowSize"]
    for step in scenario["steps"]:
        sequence = int(step["seq"])
        assert window.check(sequence) is step["accept"]
        assert window.mark(sequence) is step["accept"]
        assert window.highest == int(step["maxSeen"])
        assert f"{window.bitmap:x}" == step["window"]


@pytest.mark.parametrize(
    "size", sorted({s["windowSize"] for s in SCENARIOS if not allowed(s["windowSize"])} | {63, 127, 65537, 65600})
)
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="multiple of 64"):
        ReplayWindow(size)


def test_check_changes_nothing_and_reset_empties() -> None:
    window = ReplayWindow()
    window.mark(10)
    for answer in VECTORS["checkWithoutUpdate"]["answers"]:
        assert window.check(int(answer["seq"])) is answer["valid"]
    assert window.highest == 10
    window.reset()
    assert window.mark(10) is VECTORS["reset"]["accepted"]
    assert window.size == VECTORS["reset"]["windowSize"]


@pytest.mark.parametrize("sequence", [-1, 2**64])
def test_numbers_out_of_range_are_refused(sequence: int) -> None:
    window = ReplayWindow()
    with pytest.raises(OverflowError):
        window.mark(sequence)


MODEL_SIZES = st.sampled_from([64, 128, 192, 1024, 65536])
NUMBERS = st.one_of(
    st.integers(0, 400),
    st.integers(0, 2**64 - 1),
    st.integers(2**64 - 300, 2**64 - 1),
    st.integers(65400, 66000),
    st.integers(2**63 - 200, 2**63 + 200),
)


@given(size=MODEL_SIZES, numbers=st.lists(NUMBERS, max_size=60))
def test_window_behaves_like_a_set(size: int, numbers: list[int]) -> None:
    window, seen = ReplayWindow(size), set[int]()
    for number in numbers:
        fresh = number not in seen and (not seen or number > max(seen) - size)
        assert window.check(number) is fresh
        assert window.mark(number) is fresh
        if fresh:
            seen.add(number)
        assert window.highest == max(seen)
        assert window.bitmap == sum(1 << (max(seen) - old) for old in seen if max(seen) - old < size)


@given(start=st.integers(0, 2**64 - 1), jumps=st.lists(st.integers(-200, 300), max_size=200))
def test_window_behaves_like_a_set_on_walks(start: int, jumps: list[int]) -> None:
    window, seen, at = ReplayWindow(64), set[int](), start
    for jump in jumps:
        at = min(max(at + jump, 0), 2**64 - 1)
        fresh = at not in seen and (not seen or at > max(seen) - 64)
        assert window.mark(at) is fresh
        if fresh:
            seen.add(at)
