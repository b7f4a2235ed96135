"""What was written and the other side has not consumed: how much more fits, and who waits for room."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import TYPE_CHECKING

from sideband.protocol.streams.limits import StreamBudget, StreamLimits

if TYPE_CHECKING:
    from sideband.protocol.streams.stream import ByteStream

__all__ = ["Backlog"]


class Backlog:
    """The bytes that the streams of one session hold.

    Args:
        limits: of them those of what may be held.
        budget: bounds it in all sessions that share it.
        chunk: the most bytes of one data message.
        live: the streams of the session.
        on_room: told of each stream that waited and has room.
        wake: called when streams were told that nothing in this session brought about.

    Attributes:
        held: bytes of this session.
    """

    __slots__ = ("_budget", "_chunk", "_grew", "_limits", "_live", "_on_room", "_waiting", "_wake", "held")

    def __init__(
        self,
        limits: StreamLimits,
        budget: StreamBudget,
        chunk: int,
        live: Sized,
        on_room: Callable[[ByteStream], None],
        wake: Callable[[], None],
    ) -> None:
        self.held = 0
        self._limits = limits
        self._budget = budget
        self._chunk = chunk
        self._live = live
        self._on_room = on_room
        self._wake = wake
        self._waiting: dict[ByteStream, None] = {}
        self._grew = False

    def room(self, stream: ByteStream) -> int:
        """How many bytes may be written to the stream now."""
        limits, outgoing, held = self._limits, stream._outgoing, self.held
        ahead = outgoing.limit - outgoing.base
        cap = limits.ahead_bytes + ahead if ahead > 0 else limits.ahead_bytes
        if cap > limits.stream_bytes:
            cap = limits.stream_bytes
        half = limits.session_bytes // 2
        if held > half:
            # The second half is for those with less than their share, so that streams nobody reads stop no others.
            # It is whole chunks, as the rest of one would leave as a message of its own.
            chunk = self._chunk
            share = half // max(1, len(self._live))
            cap = min(cap, max(chunk, share - share % chunk))
        room = min(cap - outgoing.held, limits.session_bytes - held, self._budget.room)
        return room if room > 0 else 0

    def take(self, stream: ByteStream, size: int) -> None:
        """So many bytes were written, for which there was room; after a short write the stream waits for more."""
        self.held += size
        self._budget.held += size
        if stream._short:
            self._waiting[stream] = None
            if not self._budget.room:
                self._budget.wait(self._freed_elsewhere)

    def release(self, size: int) -> None:
        """So many bytes were consumed by the other side."""
        if size:
            self.held -= size
            self._budget.release(size)
            # The room of all, which `settle` looks at once for many windows that came together.
            self._grew = True

    def settle(self) -> None:
        """Tell those who wait and have room, if there is more than before."""
        if self._grew:
            self._grew = False
            self.tell_all()

    def tell_all(self) -> None:
        """Tell those who wait and have room."""
        for stream in list(self._waiting):
            self.tell(stream)

    def tell(self, stream: ByteStream) -> None:
        """Tell the stream, if it waits and has room."""
        if stream in self._waiting and self.room(stream) > 0:
            del self._waiting[stream]
            stream._short = False
            self._on_room(stream)

    def add(self, stream: ByteStream) -> None:
        """A stream of an earlier session has become one of this session's, with what it holds."""
        self.held += stream._outgoing.held
        if stream._short:
            self._waiting[stream] = None

    def remove(self, stream: ByteStream) -> None:
        """A stream leaves the session, and takes along what it holds."""
        self.held -= stream._outgoing.held
        self._waiting.pop(stream, None)

    def ended(self, stream: ByteStream) -> None:
        """Nothing more will be written to the stream."""
        self._waiting.pop(stream, None)

    def _freed_elsewhere(self) -> None:
        before = len(self._waiting)
        self.tell_all()
        if len(self._waiting) < before:
            self._wake()
