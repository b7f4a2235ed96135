"""Buckets by key: their edges, and a table that no flood of keys makes larger."""

import pytest

from sideband.errors import InboxError
from sideband.inbox.config import RateLimit
from sideband.inbox.rates import Rates


def refused(rates: Rates, key: str, now: float) -> float | None:
    try:
        rates.take(key, now)
    except InboxError as error:
        return error.retry_after
    return None


def test_a_burst_and_then_a_rate() -> None:
    rates = Rates(RateLimit(burst=3, per_second=0.5), 10)
    assert [refused(rates, "a", 0.0) for _ in range(4)] == [None, None, None, 2.0]
    assert refused(rates, "a", 1.9) == pytest.approx(0.1)
    assert refused(rates, "a", 2.0) is None
    assert refused(rates, "b", 2.0) is None


def test_the_table_is_bounded_and_those_beyond_share_one_bucket() -> None:
    rates = Rates(RateLimit(burst=1, per_second=0.001), 4)
    assert [refused(rates, str(number), 0.0) for number in range(4)] == [None] * 4
    assert refused(rates, "stranger", 0.0) is None
    assert refused(rates, "another", 0.0) is not None
    assert len(rates) == 4
    assert refused(rates, "0", 0.0) is not None


def test_keys_that_have_rested_make_room() -> None:
    rates = Rates(RateLimit(burst=1, per_second=1), 4)
    for number in range(100):
        assert refused(rates, str(number), float(number * 2)) is None
    assert len(rates) <= 4
