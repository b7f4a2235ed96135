"""How many streams of a session are open, and how many of them wait to be accepted."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sideband.protocol.streams.limits import StreamLimits

if TYPE_CHECKING:
    from sideband.protocol.streams.stream import ByteStream

__all__ = ["Admission"]


class Admission:
    """Counts the streams of one session.

    Args:
        limits: of them `streams` and `unaccepted`.
        live: those that have an id.

    Attributes:
        unopened: those of this side that wait until fewer wait to be accepted, in order.
    """

    __slots__ = ("_limits", "_live", "_ours", "_theirs", "unopened")

    def __init__(self, limits: StreamLimits, live: Mapping[int, ByteStream]) -> None:
        self.unopened: deque[ByteStream] = deque()
        self._limits = limits
        self._live = live
        self._ours = 0
        self._theirs = 0

    @property
    def unaccepted(self) -> int:
        """How many wait to be accepted, of both sides."""
        return self._ours + self._theirs

    @property
    def takes_ours(self) -> bool:
        """Whether this side may have one more."""
        return not self._is_full(len(self.unopened))

    @property
    def takes_theirs(self) -> bool:
        """Whether the other side may open one more."""
        return self._theirs < self._limits.unaccepted and not self._is_full(0)

    def next_to_open(self) -> ByteStream | None:
        """Return the stream of this side that is opened next, if one may be now."""
        return self.unopened.popleft() if self.unopened and self._ours < self._limits.unaccepted else None

    def waits(self, stream: ByteStream) -> None:
        """The stream waits to be accepted."""
        stream._unaccepted = True
        if stream.ours:
            self._ours += 1
        else:
            self._theirs += 1

    def settled(self, stream: ByteStream) -> bool:
        """The stream no longer waits to be accepted; True when it did and one of this side may be next."""
        if not stream._unaccepted:
            return False
        stream._unaccepted = False
        if stream.ours:
            self._ours -= 1
        else:
            self._theirs -= 1
        return stream.ours

    def _is_full(self, unopened: int) -> bool:
        limit = self._limits.streams
        if len(self._live) + unopened < limit:
            return False
        # Finished ones whose last word is said again do not count.
        return unopened + sum(not stream.closed for stream in self._live.values()) >= limit
