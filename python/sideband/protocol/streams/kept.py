"""The streams of one identity over its sessions, so that a new session can go on with those of a lost one."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from sideband.protocol.streams.events import StreamEvent, StreamFailed
from sideband.protocol.streams.limits import (
    DEFAULT_STREAM_LIMITS,
    PROCESS_STREAMS,
    PROCESS_UNREAD,
    ResetCode,
    StreamBudget,
    StreamLimits,
)

if TYPE_CHECKING:
    from sideband.protocol.streams.stream import ByteStream

__all__ = ["KeptStreams"]


class KeptStreams:
    """Finds streams by their tokens, and gives up those whose session did not come back in time.

    A client has one for each daemon, and makes it forget everything when the daemon's identity key changes. A daemon
    has one for all its clients: whoever has a token has the stream.

    Args:
        limits: of them `kept_seconds` and `finished_streams` count here.
        budget: what streams give back when they end while no session has them.
        random: returns so many random bytes.
        unread_budget: what they give back of what was not read.
    """

    __slots__ = ("_budget", "_by_key", "_deadlines", "_finished", "_limits", "_secret", "_unread_budget", "events")

    def __init__(
        self,
        limits: StreamLimits = DEFAULT_STREAM_LIMITS,
        budget: StreamBudget = PROCESS_STREAMS,
        random: Callable[[int], bytes] = os.urandom,
        unread_budget: StreamBudget = PROCESS_UNREAD,
    ) -> None:
        self.events: list[StreamEvent] = []
        """What happened to streams that no session has; take and clear it after each call here or on such a stream."""
        self._limits = limits
        self._budget = budget
        self._unread_budget = unread_budget
        self._secret = random(16)
        self._by_key: dict[bytes, ByteStream] = {}
        self._deadlines: dict[ByteStream, float] = {}
        self._finished: OrderedDict[bytes, tuple[ByteStream, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many streams wait for a session."""
        return len(self._deadlines)

    def next_deadline(self) -> float | None:
        """When `expire` has to be called, or None."""
        return min(self._deadlines.values(), default=None)

    def expire(self, now: float) -> None:
        """Give up what has waited for a session long enough."""
        for stream in [stream for stream, deadline in self._deadlines.items() if deadline <= now]:
            if stream.closed:
                self._remove(stream)
                continue
            self._fail(stream, ResetCode.UNKNOWN, f"no session came back within {self._limits.kept_seconds:g} s")

    def clear(self, reason: str) -> None:
        """Give up every stream that waits for a session, as after a change of the other side's identity key."""
        self._finished.clear()
        for stream in list(self._deadlines):
            if stream.closed:
                self._remove(stream)
            else:
                self._fail(stream, ResetCode.UNKNOWN, reason)

    def _add(self, stream: ByteStream) -> None:
        self._by_key[self._key(stream._token)] = stream

    def _find(self, token: bytes) -> ByteStream | None:
        # The lookup goes by a keyed hash, so that its timing says nothing about tokens; then the token itself counts.
        key = self._key(token)
        stream = self._by_key.get(key)
        if stream is None and key in self._finished:
            stream = self._finished[key][0]
        return stream if stream is not None and hmac.compare_digest(stream._token, token) else None

    def _keep(self, stream: ByteStream, now: float) -> None:
        self._add(stream)
        self._deadlines[stream] = now + self._limits.kept_seconds

    def _taken_up(self, stream: ByteStream) -> None:
        self._deadlines.pop(stream, None)

    def _to_revive(self, now: float) -> list[ByteStream]:
        """Those that this side opened; also finished ones of late, whose last word may have been lost."""
        late = [stream for stream, until in self._finished.values() if until > now]
        return [stream for stream in (*self._deadlines, *late) if stream.ours and stream._streams is None]

    def _remove(self, stream: ByteStream) -> None:
        self._by_key.pop(self._key(stream._token), None)
        self._deadlines.pop(stream, None)

    def _finish(self, stream: ByteStream, now: float) -> None:
        """The stream is over here, but the other side may not have heard our last word."""
        key = self._key(stream._token)
        self._by_key.pop(key, None)
        self._deadlines.pop(stream, None)
        self._finished[key] = stream, now + self._limits.kept_seconds
        while len(self._finished) > self._limits.finished_streams:
            self._finished.popitem(last=False)

    def _fail(self, stream: ByteStream, code: int, reason: str) -> None:
        """A stream that no session has is given up on this side."""
        self._remove(stream)
        self._budget.release(stream._outgoing.drop())
        self._unread_budget.release(stream._incoming.drop())
        stream.failure = StreamFailed(stream, code, reason, remote=False)
        self.events.append(stream.failure)

    def _key(self, token: bytes) -> bytes:
        return hashlib.blake2b(token, digest_size=16, key=self._secret).digest()
