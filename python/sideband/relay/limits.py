"""Token buckets, and limits by client address (docs/protocol/relay.md, "Flow"). No I/O; time is passed in."""

from __future__ import annotations

from collections import OrderedDict

from sideband.client_limits import TokenBucket, address_key, client_address
from sideband.relay.config import ConnectionRates

__all__ = ["AddressEntry", "AddressLimits", "Meter", "TokenBucket", "address_key", "client_address"]


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


def _first(entries: OrderedDict[str, AddressEntry], count: int) -> list[tuple[str, AddressEntry]]:
    return [item for item, _ in zip(entries.items(), range(count), strict=False)]
