"""How often one address may try: a token bucket per address, in a table of bounded size."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["AttemptLimiter", "address_group"]

_SECONDS_PER_MINUTE = 60.0


class AttemptLimiter:
    """Allows `per_minute` attempts per address and minute.

    An IPv6 address counts as its /64. When `max_addresses` are known, the one that tried least recently is forgotten.
    """

    def __init__(self, *, per_minute: int, max_addresses: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._max_addresses = max_addresses
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def attempt(self, address: str) -> float:
        """Count an attempt; return 0 when it is allowed, else the seconds until the next one would be."""
        now = self._clock()
        group = address_group(address)
        tokens, at = self._buckets.pop(group, (float(self._per_minute), now))
        rate = self._per_minute / _SECONDS_PER_MINUTE
        tokens = min(float(self._per_minute), tokens + max(0.0, now - at) * rate)
        allowed = tokens >= 1.0
        self._buckets[group] = (tokens - 1.0 if allowed else tokens, now)
        if len(self._buckets) > self._max_addresses:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / rate


def address_group(address: str) -> str:
    """Return what counts as one client: an IPv4 address, the /64 of an IPv6 one, or the text of anything else."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
