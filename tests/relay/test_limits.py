from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.relay.config import ConnectionRates
from sideband.relay.limits import AddressLimits, Meter, TokenBucket, address_key, client_address


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(2.0, 3.0, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert bucket.take(0.49) > 0
    assert bucket.take(0.5) == 0.0
    assert not bucket.is_full(1.0)
    assert bucket.is_full(2.0)


def test_a_debt_is_paid_in_time() -> None:
    bucket = TokenBucket(100.0, 100.0, now=0.0)
    assert bucket.charge(0.0, 100) == 0.0
    assert bucket.charge(0.0, 50) == 0.5
    assert bucket.charge(0.5, 0) == 0.0


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=50))
def test_never_more_than_rate_and_burst(steps: list[tuple[float, int]]) -> None:
    bucket = TokenBucket(5.0, 20.0, now=0.0)
    now, taken = 0.0, 0
    for seconds, amount in steps:
        now += seconds
        if bucket.take(now, amount) == 0.0:
            taken += amount
        assert taken <= 20.0 + 5.0 * now + 1e-6


def test_a_meter_counts_messages_and_bytes() -> None:
    rates = ConnectionRates(messages_per_second=10, bytes_per_second=1000, burst_seconds=1)
    meter = Meter(rates, now=0.0)
    assert meter.charge(0.0, 1000) == 0.0
    assert meter.charge(0.0, 500) == 0.5
    meter = Meter(rates, now=0.0)
    assert [meter.charge(0.0, 1) for _ in range(11)] == [0.0] * 10 + [0.1]


def limits(**changes: float) -> AddressLimits:
    base = {"upgrades_per_second": 1.0, "upgrade_burst": 2, "max_connections": 2, "max_addresses": 3}
    return AddressLimits(**{**base, **changes})  # type: ignore[arg-type]


def test_upgrades_of_one_address_do_not_cost_another() -> None:
    table = limits()
    assert [table.upgrade("a", 0.0) for _ in range(3)] == [0.0, 0.0, 1.0]
    assert table.upgrade("b", 0.0) == 0.0
    assert table.upgrade("a", 1.0) == 0.0


def test_connections_of_one_address() -> None:
    table = limits()
    first, second = table.opened("a", 0.0), table.opened("a", 0.0)
    assert first is not None
    assert second is not None
    assert table.opened("a", 0.0) is None
    table.closed(first)
    assert table.opened("a", 0.0) is not None


def test_the_table_is_bounded_and_strangers_share_what_is_left() -> None:
    table = limits()
    for name in "abc":
        assert table.opened(name, 0.0) is not None
    assert table.upgrade("d", 0.0) == 0.0
    assert table.upgrade("e", 0.0) == 0.0
    assert table.upgrade("f", 0.0) > 0
    lease = table.opened("g", 0.0)
    assert lease is not None
    assert len(table) == 3
    table.closed(lease)


def test_an_address_that_was_quiet_makes_room() -> None:
    table = limits()
    for name in "abc":
        table.upgrade(name, 0.0)
    assert table.upgrade("d", 0.5) == 0.0
    assert len(table) == 3
    table.upgrade("d", 2.0)
    assert len(table) == 3
    assert [table.upgrade("d", 2.0) for _ in range(2)] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("local", "local"),
    ],
)
def test_what_counts_as_one_address(address: str, key: str) -> None:
    assert address_key(address) == key


TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("fd00::1", ["2001:db8::5"], "2001:db8::5"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
    ],
)
def test_forwarded_addresses_are_believed_from_trusted_proxies_only(
    peer: str, forwarded: list[str], expected: str
) -> None:
    assert client_address(peer, forwarded, TRUSTED) == expected
