"""Token buckets, and limits by client address (docs/protocol/relay.md, "Flow"). No I/O; time is passed in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from sideband.relay.config import ConnectionRates, Network

__all__ = ["AddressEntry", "AddressLimits", "Meter", "TokenBucket", "address_key", "client_address"]


class TokenBucket:
    """Tokens that come at a rate up to a burst. What was done already can be charged: the bucket goes below zero."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate_per_second: float, burst: float, now: float) -> None:
        self._rate = rate_per_second
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float, amount: float = 1.0) -> float:
        """Take `amount` if it is there and return 0.0, else take nothing and return the seconds until it is."""
        self._fill(now)
        if self._tokens < amount:
            return (amount - self._tokens) / self._rate
        self._tokens -= amount
        return 0.0

    def charge(self, now: float, amount: float) -> float:
        """Take `amount` in any case; return the seconds until the debt is paid, 0.0 when there is none."""
        self._fill(now)
        self._tokens -= amount
        return -self._tokens / self._rate if self._tokens < 0 else 0.0

    def available(self, now: float) -> float:
        """Return how much can be taken before the bucket is in debt."""
        self._fill(now)
        return max(0.0, self._tokens)

    def is_full(self, now: float) -> bool:
        """Tell whether nothing was taken lately."""
        self._fill(now)
        return self._tokens >= self._burst

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now


class Meter:
    """What one connection sends, in messages and bytes."""

    __slots__ = ("_bytes", "_messages")

    def __init__(self, rates: ConnectionRates, now: float) -> None:
        seconds = rates.burst_seconds
        self._messages = TokenBucket(rates.messages_per_second, rates.messages_per_second * seconds, now)
        self._bytes = TokenBucket(rates.bytes_per_second, rates.bytes_per_second * seconds, now)

    def allowance(self, now: float) -> tuple[int, int]:
        """Return how many messages, and how many bytes, may come until reading stops; the last may go beyond."""
        return int(self._messages.available(now)) + 1, int(self._bytes.available(now))

    def charge(self, now: float, size: int, messages: int = 1) -> float:
        """Count messages of `size` bytes in all; return how many seconds not to read on, 0.0 within the limits."""
        return max(self._messages.charge(now, messages), self._bytes.charge(now, size))


class AddressEntry:
    """One address: its upgrades and its open connections."""

    __slots__ = ("bucket", "connections")

    def __init__(self, bucket: TokenBucket) -> None:
        self.bucket = bucket
        self.connections = 0


class AddressLimits:
    """Upgrades per second and open connections of each address, in a table of bounded size.

    Args:
        upgrades_per_second: default rate of each address.
        upgrade_burst: how many at once.
        max_connections: open at once from one address.
        max_addresses: size of the table. When all of it is in use, addresses that are not in it share one entry.
    """

    def __init__(
        self, *, upgrades_per_second: float, upgrade_burst: int, max_connections: int, max_addresses: int
    ) -> None:
        self._rate = upgrades_per_second
        self._burst = upgrade_burst
        self._max_connections = max_connections
        self._max_addresses = max_addresses
        self._entries: OrderedDict[str, AddressEntry] = OrderedDict()
        self._strangers: AddressEntry | None = None

    def upgrade(self, key: str, now: float) -> float:
        """Count an attempt; return 0.0 when it may go on, else the seconds to wait."""
        return self._entry(key, now).bucket.take(now)

    def opened(self, key: str, now: float) -> AddressEntry | None:
        """Count a connection and return what to give back to `closed`; None when the address has as many as it may."""
        entry = self._entry(key, now)
        if entry.connections >= self._max_connections:
            return None
        entry.connections += 1
        return entry

    def closed(self, entry: AddressEntry) -> None:
        """Take back one `opened`."""
        entry.connections -= 1

    def __len__(self) -> int:
        return len(self._entries)

    def _entry(self, key: str, now: float) -> AddressEntry:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            return entry
        if len(self._entries) >= self._max_addresses and not self._make_room(now):
            if self._strangers is None:
                self._strangers = self._new_entry(now)
            return self._strangers
        entry = self._entries[key] = self._new_entry(now)
        return entry

    def _new_entry(self, now: float) -> AddressEntry:
        return AddressEntry(TokenBucket(self._rate, self._burst, now))

    def _make_room(self, now: float) -> bool:
        # The longest unused come first; looking at a few keeps a flood of new addresses from costing a scan each.
        for key, entry in list(_first(self._entries, 8)):
            if entry.connections == 0 and entry.bucket.is_full(now):
                del self._entries[key]
                return True
        return False


def address_key(address: str) -> str:
    """Return what limits count by: an IPv4 address, an IPv6 /64, or the text itself when it is neither."""
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed) if parsed is not None else address


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the address a request came from.

    X-Forwarded-For is read from its end as long as the address that reported it is a trusted proxy; whatever stands
    before the first address that is not trusted was written by the client and is ignored.

    Args:
        peer: the address of the connection.
        forwarded_for: values of the X-Forwarded-For headers, in order.
        trusted: networks of trusted proxies.
    """
    chain = [part.strip() for value in forwarded_for for part in value.split(",")]
    address = peer
    while chain and _is_trusted(address, trusted):
        candidate = _parse(chain.pop())
        if candidate is None:
            break
        address = str(candidate)
    return address


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in trusted)


def _first(entries: OrderedDict[str, AddressEntry], count: int) -> list[tuple[str, AddressEntry]]:
    return [item for item, _ in zip(entries.items(), range(count), strict=False)]
