"""What this side lets the other send: of each stream, of the session, and of the process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from sideband._native import StreamFramer, StreamWindow, stream_encode_window
from sideband.protocol.streams.limits import StreamBudget, StreamLimits
from sideband.protocol.streams.schedule import Frame

if TYPE_CHECKING:
    from sideband.protocol.streams.stream import ByteStream

__all__ = ["Credit"]


class Credit:
    """The windows that one session gives, and the bytes that came and wait to be read.

    Args:
        limits: of them the windows' sizes, and how much may wait.
        clock: seconds, monotonic.
        unread_budget: bounds what waits to be read in all sessions that share it.
        wake: called when there is credit to tell that nothing in this session brought about.

    Attributes:
        unread: bytes of this session that wait to be read.
        granted: the windows of all its streams together.
        due: credit of streams that is to be told.
        round_trip: the smallest of the latest round trips in seconds; None before the first.
    """

    __slots__ = (
        "_clock",
        "_limits",
        "_owed",
        "_round_trips",
        "_session",
        "_told",
        "_unread_budget",
        "_wake",
        "due",
        "granted",
        "round_trip",
        "unread",
    )

    def __init__(
        self,
        limits: StreamLimits,
        clock: Callable[[], float],
        unread_budget: StreamBudget,
        wake: Callable[[], None],
    ) -> None:
        self.unread = 0
        self.granted = 0
        self.due: dict[ByteStream, int] = {}
        self.round_trip: float | None = None
        self._round_trips: deque[float] = deque(maxlen=_ROUND_TRIPS)
        self._limits = limits
        self._clock = clock
        self._unread_budget = unread_budget
        self._wake = wake
        self._session = StreamWindow(limits.session_window, limits.max_session_window, clock())
        self._owed = 0
        self._told: int | None = None

    def __bool__(self) -> bool:
        """Whether there is credit to tell."""
        return self._told is not None or bool(self.due)

    def new_window(self) -> StreamWindow:
        """Return the first window of a stream, which counts as granted."""
        self.granted += self._limits.window
        return StreamWindow(self._limits.window, self._limits.max_window, self._clock())

    def observe_round_trip(self, seconds: float) -> None:
        """Note a round trip that was measured."""
        self._round_trips.append(seconds)
        self.round_trip = min(self._round_trips)

    def arrived(self, size: int, now: float) -> bool:
        """Bytes came, on whatever stream; False when they are past the session's window."""
        inside, round_trip = self._session.count(size, now)
        if round_trip is not None:
            self.observe_round_trip(round_trip)
        if inside:
            self._owed += size
        return inside

    def keep(self, size: int) -> None:
        """Of what arrived, so much waits to be read."""
        self.unread += size
        self._unread_budget.take(size)

    def read(self, stream: ByteStream, size: int) -> bool:
        """The application has read bytes; True when there is something to tell the other side."""
        now = self._clock()
        self.unread -= size
        self._unread_budget.release(size)
        incoming = stream._incoming
        window = incoming.window
        before = window.size
        # What is left of a short stream may come already: more credit for it would be a message for nothing.
        enough = incoming.end is not None and before == self._limits.window and incoming.end <= window.limit
        limit = window.consume(size, now, self.round_trip, may_grow=self.granted < self._limits.session_bytes)
        if limit is not None:
            self.granted += window.size - before
            if not enough and not incoming.complete:
                self.due[stream] = limit
        if self._owed:
            self.settle(now)
        return self._told is not None or bool(self.due)

    def settle(self, now: float) -> None:
        """Give the session's credit back for what came, unless too much waits to be read, here or in the process."""
        if not self._owed or self.unread > self._limits.session_bytes:
            return
        if self.unread > self._limits.session_window and not self._unread_budget.room:
            # What a session has at first is its own, so that those whose readers are quick go on.
            self._unread_budget.wait(self._read_elsewhere)
            return
        limit = self._session.consume(self._owed, now, self.round_trip)
        self._owed = 0
        if limit is not None:
            self._told = limit

    def take(self, out: list[Frame], framer: StreamFramer) -> None:
        """Append what is to be told now."""
        if self._told is not None:
            out.append(framer.frame(stream_encode_window(0, self._session.received, self._told)))
            self._told = None
        for stream, limit in self.due.items():
            out.append(framer.frame(stream_encode_window(stream.id, stream._incoming.window.consumed, limit)))
        self.due.clear()

    def pause(self) -> None:
        """Nothing can be told: the resumes will say it all."""
        self.due.clear()
        self._told = None
        self._owed = 0

    def restart(self) -> None:
        """The session counts anew, after a resume."""
        self._session.restart(self._clock())

    def add(self, stream: ByteStream) -> None:
        """A stream of an earlier session has become one of this session's, with what of it was not read."""
        self.unread += stream._incoming.buffered
        self.granted += stream._incoming.window.size

    def remove(self, stream: ByteStream) -> None:
        """A stream leaves the session, and takes along what of it was not read."""
        self.due.pop(stream, None)
        self.unread -= stream._incoming.buffered
        self.granted -= stream._incoming.window.size

    def _read_elsewhere(self) -> None:
        self.settle(self._clock())
        if self._told is not None:
            self._wake()


_ROUND_TRIPS = 8
"""A path that is used to the full has longer round trips than an idle one, and needs the windows for them."""
