"""What servers limit clients by: token buckets, and the address a request came from. No I/O; time is passed in."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated

from pydantic import BeforeValidator

__all__ = ["Network", "TokenBucket", "address_key", "client_address"]

Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(lambda value: ip_network(value, strict=False))]
"""A network in a setting, such as `10.0.0.0/8`."""


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
