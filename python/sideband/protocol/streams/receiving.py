"""The receiving direction of a byte stream: bytes wait here until the application reads them."""

from __future__ import annotations

from collections import deque

from sideband._native import Blake3, StreamWindow

__all__ = ["Incoming"]


class Incoming:
    """Offsets and bytes of what this side receives on one stream.

    Attributes:
        window: the credit given to the other side.
        buffered: bytes that wait to be read.
        end: the offset at which the other side has ended, or None.
        finished: everything was read, and the other side was told.
        withheld: the application checks the digest itself, and until it has, the other side is not told.
        expected: the digest with which the other side has ended, or None.
    """

    __slots__ = ("_chunks", "_hasher", "buffered", "end", "expected", "finished", "window", "withheld")

    def __init__(self, window: StreamWindow, *, digest: bool) -> None:
        self.window = window
        self.buffered = 0
        self.end: int | None = None
        self.finished = False
        self._chunks: deque[memoryview] = deque()
        self._hasher = Blake3() if digest else None
        self.withheld = False
        self.expected: bytes | None = None

    @property
    def complete(self) -> bool:
        """Whether everything up to the end has come."""
        return self.end is not None and self.end == self.window.received

    @property
    def drained(self) -> bool:
        """Whether the application has read everything up to the end."""
        return self.end is not None and self.end == self.window.consumed

    def add(self, chunk: memoryview) -> None:
        """Take in the next bytes, which the window has counted."""
        if self._hasher is not None:
            self._hasher.update(chunk)
        self._chunks.append(chunk)
        self.buffered += chunk.nbytes

    def withhold(self) -> None:
        """Leave the digest to the application, which has read nothing yet."""
        self.withheld = True
        self._hasher = None

    def finish(self, offset: int, digest: bytes | None) -> bool:
        """The other side ends at `offset`. False when that contradicts what came before or what was agreed."""
        if self.end is not None:
            return self.end == offset and self.expected == digest
        if (digest is None) != (self._hasher is None and not self.withheld):
            return False
        if offset < self.window.received:
            return False
        self.end = offset
        self.expected = digest
        return True

    def intact(self) -> bool:
        """Whether what came has the digest that the other side gave; ask when `complete`."""
        return self._hasher is None or self._hasher.digest() == self.expected

    def read(self, max_bytes: int | None) -> memoryview | None:
        """Return the next chunk, or at most `max_bytes` of it; None while there is none."""
        if not self._chunks:
            return None
        chunk = self._chunks[0]
        if max_bytes is None or chunk.nbytes <= max_bytes:
            self._chunks.popleft()
        else:
            self._chunks[0] = chunk[max_bytes:]
            chunk = chunk[:max_bytes]
        self.buffered -= chunk.nbytes
        return chunk

    def drop(self) -> int:
        """Forget what was not read; returns the bytes."""
        dropped, self.buffered = self.buffered, 0
        self._chunks.clear()
        return dropped
