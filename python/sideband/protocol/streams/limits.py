"""Every bound of byte streams in one place, and the reasons to give one up (docs/protocol/streams.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

__all__ = [
    "DEFAULT_STREAM_LIMITS",
    "DIRECT_SESSION_WINDOW",
    "PROCESS_STREAMS",
    "PROCESS_UNREAD",
    "ResetCode",
    "StreamBudget",
    "StreamLimits",
]


class ResetCode(IntEnum):
    """Why a stream was given up. From 1000 on the codes are the application's."""

    CANCELLED = 1
    REFUSED = 2
    LIMIT = 3
    PROTOCOL = 4
    UNKNOWN = 5
    INTEGRITY = 6


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bounds of the streams of one session. Sizes are bytes, times seconds.

    Attributes:
        window: what a receiver takes at first on each stream.
        session_window: what a receiver takes at first over all streams, known to both sides.
        max_session_window: up to where that grows; 4 MiB suits a relay, `DIRECT_SESSION_WINDOW` a direct path.
        max_window: up to where the window of one stream grows.
        stream_bytes: written and not yet consumed by the other side, one stream.
        session_bytes: the same over all streams; also what may wait here to be read before credit is held back.
        ahead_bytes: how much may be written on a stream beyond what the other side takes now.
        chunk_bytes: the largest data message, so that none holds others up.
        batch_bytes: data messages that are sealed and sent together while the session has had nothing to send for
            `quiet_seconds` but what belongs to streams; otherwise it is one at a time.
        quiet_seconds: see `batch_bytes`.
        streams: live at once.
        unaccepted: of them, opened by one side and not yet accepted by the other.
        kept_seconds: how long streams outlive their session.
        finished_streams: finished ones remembered, for an other side that did not hear of it.
        refusals: resets of unknown streams waiting to be sent; more are dropped.
    """

    window: int = 256 * 1024
    session_window: int = 1024 * 1024
    max_session_window: int = 4 * 1024 * 1024
    max_window: int = 16 * 1024 * 1024
    stream_bytes: int = 16 * 1024 * 1024
    session_bytes: int = 64 * 1024 * 1024
    ahead_bytes: int = 1024 * 1024
    chunk_bytes: int = 64 * 1024
    batch_bytes: int = 512 * 1024
    quiet_seconds: float = 0.01
    streams: int = 1024
    unaccepted: int = 64
    kept_seconds: float = 120.0
    finished_streams: int = 256
    refusals: int = 64


DEFAULT_STREAM_LIMITS: Final = StreamLimits()

DIRECT_SESSION_WINDOW: Final = 16 * 1024 * 1024
"""The largest session window without a relay in between."""


class StreamBudget:
    """Bytes that streams hold, over all sessions that share this object.

    There are two in a process: of what was written and the other side has not consumed, and of what came and the
    application has not read.

    Args:
        limit: bytes; 256 MiB by default.
    """

    __slots__ = ("_waiting", "held", "limit")

    def __init__(self, limit: int = 256 * 1024 * 1024) -> None:
        self.limit = limit
        self.held = 0
        self._waiting: dict[Callable[[], None], None] = {}

    @property
    def room(self) -> int:
        """Bytes that still fit."""
        return max(0, self.limit - self.held)

    def take(self, size: int) -> None:
        """Account for `size` more bytes; the caller asked for `room` before."""
        self.held += size

    def release(self, size: int) -> None:
        """Give `size` bytes back and tell those who waited for room."""
        self.held -= size
        if self._waiting and self.held < self.limit:
            waiting, self._waiting = self._waiting, {}
            for told in waiting:
                told()

    def wait(self, told: Callable[[], None]) -> None:
        """Call `told` once when there may be room again."""
        self._waiting[told] = None


PROCESS_STREAMS: Final = StreamBudget()
"""The budget of sessions that are given no other, for what was written."""

PROCESS_UNREAD: Final = StreamBudget()
"""The same, for what waits to be read. Beyond it, sessions of which more than `session_window` waits get no credit."""
