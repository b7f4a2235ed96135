"""Attempts per address, in bounded memory."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.control.attempts import AttemptLimiter, address_group


def limiter(clock: Any, **settings: int) -> AttemptLimiter:
    return AttemptLimiter(**{"per_minute": 10, "max_addresses": 100, **settings}, clock=clock)


def test_ten_in_a_minute_and_one_more_each_six_seconds(clock: Any) -> None:
    attempts = limiter(clock)
    assert [attempts.attempt("192.0.2.1") for _ in range(10)] == [0.0] * 10
    assert attempts.attempt("192.0.2.1") == pytest.approx(6.0)
    clock.advance(5.99)
    assert attempts.attempt("192.0.2.1") > 0
    clock.advance(0.02)
    assert attempts.attempt("192.0.2.1") == 0.0
    assert attempts.attempt("192.0.2.1") > 0


def test_refused_attempts_do_not_put_the_next_one_off(clock: Any) -> None:
    attempts = limiter(clock)
    for _ in range(1000):
        attempts.attempt("192.0.2.1")
    clock.advance(6.01)
    assert attempts.attempt("192.0.2.1") == 0.0


def test_a_clock_that_goes_back_gives_nothing(clock: Any) -> None:
    attempts = limiter(clock)
    for _ in range(10):
        attempts.attempt("192.0.2.1")
    clock.advance(-3600)
    assert attempts.attempt("192.0.2.1") > 0


def test_a_rest_fills_up_to_the_limit_and_no_further(clock: Any) -> None:
    attempts = limiter(clock)
    attempts.attempt("192.0.2.1")
    clock.advance(3600)
    assert sum(attempts.attempt("192.0.2.1") == 0 for _ in range(20)) == 10


def test_the_table_is_bounded_and_forgets_who_was_quiet_longest(clock: Any) -> None:
    attempts = limiter(clock, max_addresses=3, per_minute=1)
    for number in range(3):
        attempts.attempt(f"192.0.2.{number}")
    attempts.attempt("192.0.2.0")
    attempts.attempt("192.0.2.9")
    assert len(attempts) == 3
    assert attempts.attempt("192.0.2.0") > 0
    assert attempts.attempt("192.0.2.1") == 0


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("local", "local"),
    ],
)
def test_what_counts_as_one_address(address: str, group: str) -> None:
    assert address_group(address) == group


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_64_is_one_address(prefix: int, one: int, other: int) -> None:
    import ipaddress

    addresses = [str(ipaddress.IPv6Address((prefix << 64) | host)) for host in (one, other)]
    groups = {address_group(address) for address in addresses}
    assert len(groups) == 1 or any("." in group for group in groups)
