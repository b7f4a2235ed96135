"""resume/1: what survives a pause, and how both sides find out what did not (docs/protocol/sbp.md, "resume/1").

`SentWindow` is the sender's half: covered frames that have left and are not yet acknowledged. `ReceiveOrder` is the
receiver's: which number comes next, and when to say so.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable
from typing import Final

from sideband.errors import SbpError
from sideband.protocol.fragments import Fragmented
from sideband.protocol.limits import SbpLimits

__all__ = ["ACK", "GAP", "RESUME_SUBJECT", "STATE", "ReceiveOrder", "SentWindow", "decode_resume", "encode_resume"]

RESUME_SUBJECT: Final = "app/sb.resume.v1"
ACK: Final = 0
STATE: Final = 1
GAP: Final = 2


def encode_resume(kind: int, number: int) -> bytes:
    """The 9 bytes of an ack, a state or a gap."""
    return _MESSAGE.pack(kind, number)


def decode_resume(data: bytes) -> tuple[int, int]:
    """Return kind and number.

    Raises:
        SbpError: 1000, fatal, for another length or kind.
    """
    if len(data) != _MESSAGE.size or data[0] > GAP:
        raise SbpError(1000, "resume/1: not an ack, a state or a gap")
    kind, number = _MESSAGE.unpack(data)
    return kind, number


class SentWindow:
    """Covered frames that have left, oldest first, numbered without a hole.

    Bounded by `window_frames` and `window_bytes`; one frame larger than `window_bytes` may be held besides.

    Attributes:
        base: the number of the oldest frame held, and of the next to leave when none is.
    """

    __slots__ = ("_dropped", "_frames", "_large", "_limits", "_size", "base")

    def __init__(self, limits: SbpLimits) -> None:
        self._limits = limits
        self._frames: deque[bytes | Fragmented] = deque()
        self._size = 0
        self._large = 0
        self.base = 0
        self._dropped: deque[tuple[int, bytes]] | None = None

    @property
    def left(self) -> int:
        """How many covered frames have left: the highest number the other side may name."""
        return self.base + len(self._frames)

    @property
    def held_bytes(self) -> int:
        """Bytes held for repeating."""
        return self._size + self._large

    def has_room(self, size: int) -> bool:
        """Whether a frame of `size` bytes may leave without another being dropped."""
        if size > self._limits.window_bytes:
            return not self._large
        return len(self._frames) < self._limits.window_frames and self._size + size <= self._limits.window_bytes

    def push(self, frame: bytes | Fragmented, size: int) -> None:
        """Hold a frame that leaves now under the number `left`; drop the oldest ones where there is no room."""
        while self._frames and not self.has_room(size):
            oldest = self._frames[0]
            if self._dropped is None:
                self._dropped = deque(maxlen=_DROPPED_REMEMBERED)
            self._dropped.append((self.base, _whole(oldest)[:_IDENTIFYING]))
            self._pop()
        self._frames.append(frame)
        if size > self._limits.window_bytes:
            self._large = size
        else:
            self._size += size

    def acknowledge(self, number: int) -> None:
        """Forget every frame below `number`; a number acknowledged before changes nothing.

        Raises:
            SbpError: 1000, fatal, when the other side names a frame that has not left.
        """
        if number > self.left:
            raise SbpError(1000, f"resume/1: {number} was named, {self.left} frames have left")
        while self.base < number:
            self._pop()
        while self._dropped and self._dropped[0][0] < number:
            self._dropped.popleft()

    def dropped_from(self, number: int) -> list[bytes]:
        """Of frames from `number` on that were pushed out unacknowledged: enough bytes to tell id and subject.

        At most the latest 65,536 are remembered.
        """
        return [begin for at, begin in self._dropped or () if at >= number]

    def frames(self) -> Iterable[bytes | Fragmented]:
        """What is held, oldest first."""
        return self._frames

    def __len__(self) -> int:
        return len(self._frames)

    def _pop(self) -> None:
        frame = self._frames.popleft()
        size = len(_whole(frame))
        if size > self._limits.window_bytes:
            self._large = 0
        else:
            self._size -= size
        self.base += 1


class ReceiveOrder:
    """Takes each number once and in order, and knows when an ack or a state is due.

    Attributes:
        expected: the next number to be taken.
        ack_due: an ack has to be sent.
        state_due: a state has to be sent.
        deadline: when `on_deadline` has something to do, or None.
    """

    __slots__ = ("_ack_at", "_behind", "_limits", "_new", "_new_bytes", "_state_at", "ack_due", "expected", "state_due")

    def __init__(self, limits: SbpLimits) -> None:
        self._limits = limits
        self._new = 0
        self._new_bytes = 0
        self._ack_at: float | None = None
        self._state_at = float("-inf")
        self._behind = False
        self.expected = 0
        self.ack_due = False
        self.state_due = False

    @property
    def fresh(self) -> bool:
        """Whether the next frame taken is the first since the last ack, so that `take` needs the time."""
        return not self._new

    @property
    def deadline(self) -> float | None:
        """When something becomes due by time alone, or None."""
        if self._behind and not self.state_due:
            at = self._state_at + self._limits.state_interval
            return at if self._ack_at is None else min(at, self._ack_at)
        return self._ack_at

    def advance(self, size: int, now: float) -> None:
        """Take the frame numbered `expected`. `now` counts only when `fresh`."""
        self.expected += 1
        self._behind = False
        if not self._new:
            self._ack_at = now + self._limits.ack_delay
        self._new += 1
        self._new_bytes += size
        if self._new >= self._limits.ack_frames or self._new_bytes >= self._limits.ack_bytes:
            self.ack_due = True

    def count_piece(self, size: int) -> None:
        """Count bytes of a frame that is not whole yet, so that what came before it is acknowledged in time."""
        self._new_bytes += size
        if self._new and self._new_bytes >= self._limits.ack_bytes:
            self.ack_due = True

    def missed(self, now: float) -> None:
        """A number above `expected` came: ask for what is missing, at most once in `state_interval`."""
        self._behind = True
        if now - self._state_at >= self._limits.state_interval:
            self.state_due = True

    def skip_to(self, number: int) -> int:
        """The other side holds nothing below `number`: go on from there; return how many are gone."""
        gone = max(0, number - self.expected)
        self.expected += gone
        return gone

    def said(self, now: float, *, state: bool) -> None:
        """An ack or a state with `expected` leaves now."""
        self.ack_due = False
        self._new = self._new_bytes = 0
        self._ack_at = None
        if state:
            self.state_due = False
            self._behind = False
            self._state_at = now

    def on_deadline(self, now: float) -> None:
        """Mark what is due at `now`."""
        if self._ack_at is not None and now >= self._ack_at:
            self.ack_due = True
            self._ack_at = None
        if self._behind and now - self._state_at >= self._limits.state_interval:
            self.state_due = True


_MESSAGE = struct.Struct("<BQ")
_DROPPED_REMEMBERED = 65_536
_IDENTIFYING = 32
"""Enough of a frame to tell its id and its subject."""


def _whole(frame: bytes | Fragmented) -> bytes:
    return frame if isinstance(frame, bytes) else frame.frame
