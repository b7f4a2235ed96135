"""The policies of a peer: what it does when the connection goes, how long calls wait, when it tries again.

Implements docs/protocol/peer.md, "Policies". Every field has the page's default, so `RetryPolicy(mode="on-error")` says
only what differs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sideband.errors import ConfigError

__all__ = ["ConnectionPolicy", "EventPolicy", "RetryPolicy", "RpcPolicy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPolicy:
    """What a lost connection or a paused session does to calls (docs/protocol/peer.md, "Policies").

    Attributes:
        on_disconnect: "fail" (default): calls fail with `not_connected`, those already sent at once, also on a pause;
            new ones fail as long as the peer is not active. "pause": calls not yet sent wait for the next active
            session; those already sent survive a pause and fail with `not_connected` when the connection is lost.

    Raises:
        ConfigError: `on_disconnect` is none of the two.
    """

    on_disconnect: Literal["fail", "pause"] = "fail"

    def __post_init__(self) -> None:
        _expect_choice("on_disconnect", self.on_disconnect, ("fail", "pause"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcPolicy:
    """Limits of calls, on both ends (docs/protocol/peer.md, "RPC").

    Attributes:
        default_timeout: seconds a call waits for its answer while the session is active; 10 s. None waits for ever.
        disconnect_buffer_limit: bytes of encoded requests that may wait for a session; 64 KiB. The call that would go
            over it fails with `buffer_overflow`.
        max_running_handlers: handlers of this peer that run at once; 1,024.
        max_waiting_requests: requests that wait for a free handler; 16,384. The next is answered E 2001.
        max_waiting_bytes: bytes those requests may hold together; 16 MiB.

    Raises:
        ConfigError: a limit is negative, no handler may run, or the timeout is not more than 0.
    """

    default_timeout: float | None = 10.0
    disconnect_buffer_limit: int = 64 * 1024
    max_running_handlers: int = 1_024
    max_waiting_requests: int = 16_384
    max_waiting_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.default_timeout is not None:
            _expect_at_least("default_timeout", self.default_timeout, 0.0, exclusive=True)
        _expect_at_least("disconnect_buffer_limit", self.disconnect_buffer_limit, 0)
        _expect_at_least("max_running_handlers", self.max_running_handlers, 1)
        _expect_at_least("max_waiting_requests", self.max_waiting_requests, 0)
        _expect_at_least("max_waiting_bytes", self.max_waiting_bytes, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPolicy:
    """Limits of events, on both ends (docs/protocol/peer.md, "Events").

    Attributes:
        max_buffered_events: events kept while no session is active; 128. The oldest is dropped first.
        max_outgoing_bytes: bytes of the session's unsent frames above which new events go to that same buffer; 4 MiB.
            So an application that emits faster than the network carries loses its oldest events, never its memory.
        max_buffered_bytes: bytes that the buffered events hold together; 16 MiB. One larger event may be alone.
        subscriber_queue: events that wait for one subscriber; 1,024. The oldest is dropped first.
        subscriber_queue_bytes: bytes of their frames; 16 MiB. One larger event may wait alone.

    Raises:
        ConfigError: a limit is negative, or leaves no room at all.
    """

    max_buffered_events: int = 128
    max_outgoing_bytes: int = 4 * 1024 * 1024
    max_buffered_bytes: int = 16 * 1024 * 1024
    subscriber_queue: int = 1_024
    subscriber_queue_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        _expect_at_least("max_buffered_events", self.max_buffered_events, 0)
        _expect_at_least("max_outgoing_bytes", self.max_outgoing_bytes, 1)
        _expect_at_least("max_buffered_bytes", self.max_buffered_bytes, 1)
        _expect_at_least("subscriber_queue", self.subscriber_queue, 1)
        _expect_at_least("subscriber_queue_bytes", self.subscriber_queue_bytes, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a peer tries again after a retryable error (docs/protocol/peer.md, "Policies").

    Attributes:
        mode: "never" (default): any error closes the peer. "on-error": a retryable one starts another attempt.
        initial: seconds before the first retry; 1 s.
        max: the longest delay in seconds, before jitter; 30 s.
        max_attempts: retries in a row, the first try not counted; 0 (default) sets no limit.
        jitter: share of the delay by which it varies at random, both ways; 0.2.

    Raises:
        ConfigError: `mode` is unknown, a number is negative, `max` is less than `initial`, or `jitter` more than 1.
    """

    mode: Literal["never", "on-error"] = "never"
    initial: float = 1.0
    max: float = 30.0
    max_attempts: int = 0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        _expect_choice("mode", self.mode, ("never", "on-error"))
        _expect_at_least("initial", self.initial, 0.0)
        _expect_at_least("max", self.max, self.initial)
        _expect_at_least("max_attempts", self.max_attempts, 0)
        _expect_at_least("jitter", self.jitter, 0.0)
        if self.jitter > 1:
            raise ConfigError(f"jitter is a share between 0 and 1, got {self.jitter!r}")

    def allows(self, retries: int) -> bool:
        """Tell whether one more retry may follow after `retries` of them in a row."""
        return self.mode == "on-error" and (self.max_attempts == 0 or retries < self.max_attempts)

    def delay(self, retries: int, fraction: float) -> float:
        """Return the seconds to wait before the next retry.

        Args:
            retries: retries in a row so far; 0 before the first.
            fraction: a random number from 0 up to 1, which decides the jitter: 0.5 is none.

        Returns:
            min(initial * 2^retries, max) * (1 + jitter * (2 * fraction - 1)).
        """
        # 2.0**1024 overflows; the limit is reached long before for every initial delay a float can hold.
        plain = min(self.initial * 2.0 ** min(retries, 1_000), self.max)
        return plain * (1.0 + self.jitter * (2.0 * fraction - 1.0))


def _expect_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} is one of {', '.join(choices)}, got {value!r}")


def _expect_at_least(name: str, value: float, least: float, *, exclusive: bool = False) -> None:
    if math.isnan(value) or value < least or (exclusive and value == least):
        raise ConfigError(f"{name} is {'more than' if exclusive else 'at least'} {least}, got {value!r}")
