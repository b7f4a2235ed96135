"""frag/1: frames larger than one payload of the transport, in pieces (docs/protocol/sbp.md, "frag/1")."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from sideband.errors import SbpError
from sideband.protocol.limits import MIN_PIECE_BYTES, SbpLimits

__all__ = [
    "FRAG_SUBJECT",
    "GIVE_UP",
    "PIECE_HEADER",
    "PROCESS_FRAGMENTS",
    "FragmentBudget",
    "Fragmented",
    "Reassembler",
    "abandon_piece",
    "piece_header",
]

FRAG_SUBJECT: Final = "app/sb.frag.v1"
GIVE_UP: Final = 0xFFFFFFFF
"""The index that says: this frame will not be finished."""

PIECE_HEADER: Final = struct.Struct("<QII")
"""id, index, count."""


class FragmentBudget:
    """Bytes of unfinished frames that all connections sharing this object may hold together.

    Args:
        limit: bytes; 256 MiB by default.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int = 256 * 1024 * 1024) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """Account for `size` more bytes, or return False when they do not fit."""
        if self.held + size > self.limit:
            return False
        self.held += size
        return True

    def release(self, size: int) -> None:
        """Give `size` bytes back."""
        self.held -= size


PROCESS_FRAGMENTS: Final = FragmentBudget()
"""The budget of connections that are given no other."""


class Fragmented:
    """A frame on its way out in pieces.

    Attributes:
        frame: the whole frame.
        number: its resume/1 number, or None while it has none.
        count: how many pieces it takes.
        sent: pieces that have left since `frag_id` was given.
        frag_id: names the frame to the receiver; None until the first piece leaves.
    """

    __slots__ = ("_piece", "count", "frag_id", "frame", "number", "sent")

    def __init__(self, frame: bytes, piece: int, number: int | None = None) -> None:
        self.frame = frame
        self.number = number
        self._piece = piece
        self.count = -(-len(frame) // piece)
        self.sent = 0
        self.frag_id: int | None = None

    @property
    def at_last(self) -> bool:
        """Whether only the last piece is left."""
        return self.sent == self.count - 1

    def next_piece(self) -> memoryview:
        """The bytes of the piece that leaves next, without a copy."""
        start = self.sent * self._piece
        return memoryview(self.frame)[start : start + self._piece]

    @property
    def next_size(self) -> int:
        """Bytes of the frame in the piece that leaves next."""
        return min(self._piece, len(self.frame) - self.sent * self._piece)

    def restart(self) -> int:
        """Forget what was sent; return how many bytes that was."""
        done = min(self.sent * self._piece, len(self.frame))
        self.sent = 0
        self.frag_id = None
        return done


def piece_header(frag_id: int, index: int, count: int) -> bytes:
    """The 16 bytes ahead of a piece."""
    return PIECE_HEADER.pack(frag_id, index, count)


def abandon_piece(frag_id: int, count: int) -> bytes:
    """The data of the message that gives a frame up."""
    return PIECE_HEADER.pack(frag_id, GIVE_UP, count) + b"\0"


class _Unfinished:
    __slots__ = ("count", "pieces", "size", "step")

    def __init__(self, count: int, step: int) -> None:
        self.count = count
        self.step = step
        self.size = 0
        self.pieces: list[bytes] = []


class Reassembler:
    """Puts frames together again, inside every bound of frag/1.

    Args:
        limits: `max_frame`, `unfinished_frames` and `unfinished_bytes` count.
        budget: shared with other connections.
    """

    __slots__ = ("_budget", "_frames", "_held", "_limits", "max_frame", "refused")

    def __init__(self, limits: SbpLimits, budget: FragmentBudget) -> None:
        self._limits = limits
        self._budget = budget
        self._frames: dict[int, _Unfinished] = {}
        self._held = 0
        self.max_frame = limits.max_frame
        self.refused = False
        """Set when the budget had no room and a frame was dropped for it; for the owner to look at and reset."""

    @property
    def unfinished(self) -> int:
        """Frames begun and not finished."""
        return len(self._frames)

    @property
    def held(self) -> int:
        """Bytes held for them."""
        return self._held

    def add(self, data: bytes) -> bytes | None:
        """Take one piece; return the whole frame with its last.

        A piece of an unknown id with an index above 0 is dropped. When the shared budget has no room the frame is
        dropped and `refused` set.

        Raises:
            SbpError: 1000, fatal, when the piece is malformed, out of order, or over a bound of this connection.
        """
        if len(data) < PIECE_HEADER.size:
            raise _violation(f"a piece needs {PIECE_HEADER.size} bytes of header, {len(data)} came")
        frag_id, index, count = PIECE_HEADER.unpack_from(data)
        if index == GIVE_UP:
            self._drop(frag_id)
            return None
        size = len(data) - PIECE_HEADER.size
        if not size:
            raise _violation("an empty piece")
        entry = self._frames.get(frag_id)
        if entry is None:
            if index:
                return None
            entry = self._begin(frag_id, count, size)
        elif index != len(entry.pieces) or count != entry.count:
            raise _violation(f"piece {index} of {count} came where {len(entry.pieces)} of {entry.count} was due")
        last = index == count - 1
        if size != entry.step and (not last or size > entry.step):
            raise _violation(f"a piece of {size} bytes in a frame of pieces of {entry.step}")
        if entry.size + size > self.max_frame:
            raise _violation(f"a frame over {self.max_frame} bytes")
        if self._held + size > self._limits.unfinished_bytes:
            raise _violation(f"unfinished frames over {self._limits.unfinished_bytes} bytes")
        if not self._budget.take(size):
            self._drop(frag_id)
            self.refused = True
            return None
        self._held += size
        entry.size += size
        entry.pieces.append(data)
        if not last:
            return None
        frame = b"".join(_bodies(entry.pieces))
        self._drop(frag_id)
        return frame

    def clear(self) -> None:
        """Drop every unfinished frame and give the budget back."""
        self._budget.release(self._held)
        self._held = 0
        self._frames.clear()

    def _begin(self, frag_id: int, count: int, size: int) -> _Unfinished:
        if not count:
            raise _violation("a frame of no pieces")
        if count > 1 and size < MIN_PIECE_BYTES:
            raise _violation(f"a piece of {size} bytes, at least {MIN_PIECE_BYTES} are needed before the last")
        if (count - 1) * size + 1 > self.max_frame:
            raise _violation(f"a frame over {self.max_frame} bytes")
        if len(self._frames) >= self._limits.unfinished_frames:
            raise _violation(f"more than {self._limits.unfinished_frames} unfinished frames")
        entry = self._frames[frag_id] = _Unfinished(count, size)
        return entry

    def _drop(self, frag_id: int) -> None:
        entry = self._frames.pop(frag_id, None)
        if entry is not None:
            self._held -= entry.size
            self._budget.release(entry.size)


def _bodies(pieces: list[bytes]) -> Iterator[memoryview]:
    return (memoryview(piece)[PIECE_HEADER.size :] for piece in pieces)


def _violation(message: str) -> SbpError:
    return SbpError(1000, f"frag/1: {message}")
