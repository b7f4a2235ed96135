"""Whose bytes go next: the streams of a session take turns, a chunk each (deficit round robin)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from sideband._native import STREAM_DATA_PREFIX_SIZE, StreamFramer

if TYPE_CHECKING:
    from sideband.protocol.streams.stream import ByteStream

__all__ = ["Frame", "Schedule"]

Frame: TypeAlias = "bytes | tuple[bytes | memoryview, ...]"
"""A whole SBP frame, or one in parts that are sent one after the other."""


class Schedule:
    """The streams that have bytes to send and credit of their own, and the session's credit.

    Args:
        framer: makes the frames.
        chunk: the most bytes of one data message.
        window: what the other side takes over all streams at first, and again after each resume.

    Attributes:
        sent: data bytes of the session so far.
    """

    __slots__ = ("_blocked", "_framer", "_initial", "_limit", "_ready", "_span", "chunk", "sent")

    def __init__(self, framer: StreamFramer, chunk: int, window: int) -> None:
        self.chunk = chunk
        self._framer = framer
        self._ready: deque[ByteStream] = deque()
        self._initial = window
        self.restart()

    def __bool__(self) -> bool:
        """Whether something could be sent now."""
        return bool(self._ready) and not self._blocked

    def restart(self) -> None:
        """The session counts anew, after a resume; no stream is ready."""
        self.clear()
        self._limit = self._span = self._initial
        self.sent = 0
        self._blocked = False

    def clear(self) -> None:
        """No stream is ready."""
        for stream in self._ready:
            stream._scheduled = False
        self._ready.clear()

    def allow(self, offset: int, limit: int) -> None:
        """The other side takes bytes up to `limit` over all streams, and has taken care of `offset`."""
        if offset <= self.sent and limit > self._limit:
            self._limit = limit
            self._span = limit - offset
            self._blocked = False

    def add(self, stream: ByteStream) -> bool:
        """Let the stream take turns, if it can send and does not already. True when that is new."""
        if stream._scheduled or not stream.id or not stream._outgoing.next_size(self.chunk):
            return False
        stream._scheduled = True
        stream._deficit = 0
        self._ready.append(stream)
        return True

    def remove(self, stream: ByteStream) -> None:
        """The stream leaves the session."""
        if stream._scheduled:
            self._ready.remove(stream)
            stream._scheduled = False

    def take(self, out: list[Frame], room: int) -> None:
        """Append data messages of together at most `room` bytes to `out`; one may be more."""
        chunk, ready, prefix = self.chunk, self._ready, self._framer.data_prefix
        while ready and room > 0 and not self._blocked:
            stream = ready[0]
            outgoing = stream._outgoing
            deficit = stream._deficit + chunk
            size = outgoing.next_size(chunk)
            while size and room > 0 and size <= deficit:
                if size > self._limit - self.sent and not (size := self._within_credit()):
                    # The turn is this stream's again when credit has come.
                    stream._deficit = 0
                    return
                out.append((prefix(stream.id, outgoing.sent), *outgoing.take(size)))
                self.sent += size
                deficit -= size
                room -= size + STREAM_DATA_PREFIX_SIZE
                size = outgoing.next_size(chunk)
            stream._deficit = deficit
            if not size:
                ready.popleft()
                stream._scheduled = False
            elif deficit < chunk:
                ready.rotate(-1)

    def _within_credit(self) -> int:
        """The size of a message that is smaller than it could be; 0 while it is worth waiting for credit."""
        credit = self._limit - self.sent
        # As for a single stream: a small remainder is not worth a message, since more is told every quarter.
        if 2 * credit >= self._span:
            return credit
        self._blocked = True
        return 0
