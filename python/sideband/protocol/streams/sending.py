"""The sending direction of a byte stream: bytes are held until the other side has consumed them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from sideband._native import Blake3

if TYPE_CHECKING:
    pass

__all__ = ["Outgoing"]


class Outgoing:
    """Offsets and bytes of what this side sends on one stream.

    Attributes:
        base: everything before it was consumed by the other side and is forgotten here.
        sent: up to where bytes have left; a resume may set it back.
        furthest: up to where bytes have ever left, and so may have arrived.
        written: up to where the application has written.
        limit: up to where the other side takes bytes.
        ended: the application has written all.
        delivered: the other side has confirmed all.
        window: how many bytes the other side takes at a time, as it last told.
        suspended: after a pause, until the other side has said from where to go on.
    """

    __slots__ = (
        "_given_digest",
        "_hasher",
        "_small",
        "_unconsumed",
        "_unsent",
        "base",
        "delivered",
        "ended",
        "furthest",
        "limit",
        "sent",
        "suspended",
        "window",
        "written",
    )

    def __init__(self, *, limit: int, digest: bool) -> None:
        self.base = 0
        self.sent = 0
        self.furthest = 0
        self.written = 0
        self.limit = self.window = limit
        self.ended = False
        self.delivered = False
        self.suspended = False
        self._unconsumed: deque[memoryview] = deque()
        self._unsent: deque[memoryview] = deque()
        self._small = bytearray()
        self._hasher = Blake3() if digest else None
        self._given_digest: bytes | None = None

    @property
    def held(self) -> int:
        """Bytes written and not yet known to be consumed."""
        return self.written - self.base

    @property
    def pending(self) -> int:
        """Bytes written that have not left."""
        return self.written - self.sent

    def allow(self, limit: int, offset: int) -> None:
        """The other side takes bytes up to `limit`, of which it has taken care up to `offset`."""
        self.limit = max(self.limit, limit)
        self.window = max(1, limit - offset)

    @property
    def digest(self) -> bytes | None:
        """What `give_digest` gave, else that of everything written so far; None when none was asked for."""
        return self._given_digest if self._hasher is None else self._hasher.digest()

    def give_digest(self, digest: bytes) -> None:
        """End with this digest, which the application has made; nothing is hashed here any more."""
        self._given_digest = digest
        self._hasher = None

    def write(self, view: memoryview, room: int) -> int:
        """Take up to `room` bytes and return how many. `bytes` are kept as they are, anything mutable is copied."""
        size = view.nbytes
        if size > room:
            size = room
            view = view[:size]
        if not size:
            return 0
        if size < _SMALL:
            self._small += view
            view = memoryview(bytes(view)) if self._hasher is not None else view
        else:
            self._flush_small()
            if type(view.obj) is not bytes:
                view = memoryview(bytes(view))
            self._unsent.append(view)
        if self._hasher is not None:
            self._hasher.update(view)
        self.written += size
        return size

    def next_size(self, chunk: int) -> int:
        """How many bytes go into the next data message: all that fits, or 0 while it is worth waiting for credit."""
        pending = self.written - self.sent
        credit = self.limit - self.sent
        if self.suspended or pending <= 0 or credit <= 0:
            return 0
        size = min(pending, chunk)
        if size <= credit:
            return size
        # A small remainder of credit is not worth a message: a receiver that has consumed all else gives more, as it
        # tells every quarter of its window.
        return credit if 2 * credit >= self.window else 0

    def take(self, size: int) -> list[memoryview]:
        """Return the next `size` bytes to send, at offset `sent`, in parts."""
        parts = []
        unsent = self._unsent
        left = size
        while left:
            if not unsent:
                self._flush_small()
            part = unsent[0]
            if part.nbytes <= left:
                unsent.popleft()
            else:
                unsent[0] = part[left:]
                part = part[:left]
            parts.append(part)
            left -= part.nbytes
        self._unconsumed.extend(parts)
        self.sent += size
        self.furthest = max(self.furthest, self.sent)
        return parts

    def consumed(self, offset: int) -> int:
        """Forget what the other side has consumed, up to `offset`; returns the bytes freed."""
        freed = offset - self.base
        if freed <= 0:
            return 0
        if offset > self.sent:
            self.go_on_from(offset)
        left = freed
        held = self._unconsumed
        while left:
            part = held[0]
            if part.nbytes > left:
                held[0] = part[left:]
                break
            left -= part.nbytes
            held.popleft()
        self.base = offset
        return freed

    def go_on_from(self, offset: int) -> None:
        """Send next what follows `offset`, from `base` to `furthest`: so much has the other side received."""
        if offset > self.sent:
            self.take(offset - self.sent)
            return
        back = self.sent - offset
        self.sent = offset
        while back:
            part = self._unconsumed.pop()
            if part.nbytes > back:
                self._unconsumed.append(part[:-back])
                part = part[-back:]
            self._unsent.appendleft(part)
            back -= part.nbytes

    def drop(self) -> int:
        """Forget everything held; returns the bytes freed."""
        freed = self.held
        self._unconsumed.clear()
        self._unsent.clear()
        self._small.clear()
        self.base = self.sent = self.furthest = self.written
        return freed

    def _flush_small(self) -> None:
        if self._small:
            self._unsent.append(memoryview(bytes(self._small)))
            self._small.clear()


_SMALL = 4096
"""Writes below this size are joined, so that a message is not made of hundreds of parts."""
