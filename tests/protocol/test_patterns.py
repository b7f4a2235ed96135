"""Event names and patterns."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.errors import PeerError
from sideband.protocol.patterns import EventPattern, SubscriptionTable, check_event_name, is_event_name


@pytest.mark.parametrize("name", ["a", "user.joined", "A-b_9.x", "a" * 255, "-", "a.b.c.d"])
def test_names(name: str) -> None:
    check_event_name(name)
    assert is_event_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "a.", ".a", "a..b", "a b", "ü", "a*", "*", ">", "a" * 256, "a\n", "a/b", "$x"]
)
def test_not_names(name: str) -> None:
    assert not is_event_name(name)
    with pytest.raises(PeerError) as caught:
        check_event_name(name)
    assert caught.value.code == "invalid_pattern"


def test_platform_names_are_valid_on_the_wire_and_closed_to_applications() -> None:
    assert is_event_name("$sideband/cancel")
    with pytest.raises(PeerError, match="platform"):
        check_event_name("$sideband/cancel")
    assert not EventPattern(">").matches("$sideband/cancel")
    assert not EventPattern("*").matches("$sideband/cancel")
    assert EventPattern("$sideband/cancel").matches("$sideband/cancel")


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("a.b", ["a.b"], ["a", "a.b.c", "A.b", "a.B"]),
        ("*", ["a", "b"], ["a.b"]),
        (">", ["a", "a.b", "a.b.c"], []),
        ("a.*", ["a.b", "a.c"], ["a", "a.b.c", "b.a"]),
        ("a.>", ["a.b", "a.b.c"], ["a", "ab.c", "b.a"]),
        ("*.b", ["a.b"], ["b", "a.b.c", "a.c"]),
        ("a.*.c.>", ["a.x.c.d", "a.y.c.d.e"], ["a.x.c", "a.c.d", "a.x.y.c.d"]),
        ("*.*.>", ["a.b.c", "a.b.c.d"], ["a.b", "a"]),
    ],
)
def test_matching(pattern: str, matching: list[str], others: list[str]) -> None:
    compiled = EventPattern(pattern)
    assert all(compiled.matches(name) for name in matching)
    assert not any(compiled.matches(name) for name in others)


@pytest.mark.parametrize(
    "pattern", ["", "**", "a.**", "**.a", ">.a", "a.>.b", "a*", "*a.b", "a>", "a..b", ".", "a.", "a b", "é", "x" * 256]
)
def test_refused_patterns(pattern: str) -> None:
    with pytest.raises(PeerError) as caught:
        EventPattern(pattern)
    assert caught.value.code == "invalid_pattern"


SEGMENT = st.sampled_from(["a", "b", "c-1", "_"])
NAME = st.lists(SEGMENT, min_size=1, max_size=5).map(".".join)
PATTERN = st.tuples(st.lists(SEGMENT | st.just("*"), max_size=4), st.sampled_from(["a", "*", ">"])).map(
    lambda parts: ".".join([*parts[0], parts[1]])
)


@given(pattern=PATTERN, name=NAME)
def test_matching_agrees_with_a_regular_expression(pattern: str, name: str) -> None:
    as_regex = ".".join({"*": "[^.]+", ">": ".+"}.get(part, part) for part in pattern.split(".")).replace(".", r"\.")
    as_regex = as_regex.replace(r"[^\.]+", "[^.]+").replace(r"\.+", ".+")
    assert EventPattern(pattern).matches(name) == (re.fullmatch(as_regex, name) is not None)


@given(patterns=st.lists(PATTERN, max_size=8), names=st.lists(NAME, max_size=8), gone=st.sets(st.integers(0, 7)))
def test_table_finds_what_single_patterns_find_in_order(patterns: list[str], names: list[str], gone: set[int]) -> None:
    table: SubscriptionTable[int] = SubscriptionTable(cached_names=2)
    handles = [table.add(pattern, index) for index, pattern in enumerate(patterns)]
    for name in names:
        assert table.match(name) == tuple(i for i, p in enumerate(patterns) if EventPattern(p).matches(name))
    for index in gone:
        if index < len(handles):
            table.remove(handles[index])
            table.remove(handles[index])
    for name in names * 2:
        assert table.match(name) == tuple(
            i for i, p in enumerate(patterns) if i not in gone and EventPattern(p).matches(name)
        )
    assert len(table) == len([i for i in range(len(patterns)) if i not in gone])
