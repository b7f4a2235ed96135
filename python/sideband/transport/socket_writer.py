"""Bytes on their way out of one connection, without a copy: what is ready at the same time is one system call."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, TypeAlias

__all__ = ["Piece", "SocketWriter"]

Piece: TypeAlias = bytes | bytearray | memoryview

_VECTORS: Final = 64
_HANDED_OVER_BYTES: Final = 4096


class SocketWriter:
    """The outgoing side of an asyncio transport. Its owner passes `pause_writing` and `resume_writing` on to it.

    Where the transport is a plain socket, it is written to directly, as long as the transport itself has nothing left
    to write. asyncio would copy what a full socket does not take, and once more with what comes later.

    Args:
        transport: the connection's; nobody else writes to it from here on.
        on_room: called whenever bytes that had to wait have left.
        window_bytes: what a transport that is no plain socket is given ahead.

    Attributes:
        full: nothing more leaves before there is room; what is written waits.
    """

    __slots__ = ("_at_end", "_begun", "_descriptor", "_on_room", "_queue", "_transport", "_waiting", "full")

    def __init__(
        self, transport: asyncio.Transport, on_room: Callable[[], None], *, window_bytes: int = 64 * 1024
    ) -> None:
        self._transport = transport
        self._on_room = on_room
        self._descriptor = _descriptor(transport)
        # The transport tells when the socket can be written again: it is given a little that it cannot write at once.
        window = 0 if self._descriptor >= 0 else window_bytes
        transport.set_write_buffer_limits(high=window, low=window // 4)
        self._queue: deque[Piece] = deque()
        self._waiting = 0
        self._begun = False
        self._at_end: Callable[[], None] | None = None
        # What the transport had to write before this was made goes first.
        self.full = self._descriptor >= 0 and transport.get_write_buffer_size() > 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes that have not left this process; 0 once the connection is closing."""
        transport = self._transport
        return 0 if transport.is_closing() else self._waiting + transport.get_write_buffer_size()

    def write(self, piece: Piece) -> None:
        """Write behind everything else. The piece must not change until it has left."""
        self._queue.append(piece)
        self._waiting += len(piece)
        if not self.full:
            self._flush()

    def write_first(self, piece: Piece) -> None:
        """Write ahead of what has not begun to leave."""
        self._queue.insert(1 if self._begun else 0, piece)
        self._waiting += len(piece)
        if not self.full:
            self._flush()

    def finish(self, then: Callable[[], None]) -> None:
        """Call `then` once everything has left, at once when it has, and not at all when the connection is lost.

        For what ends the connection or this side of it: the transport does not know what waits here.
        """
        self._at_end = then
        self._flush()

    def drop(self) -> None:
        """Forget what has not begun to leave."""
        queue = self._queue
        begun = queue.popleft() if self._begun else None
        queue.clear()
        self._waiting = 0
        if begun is not None:
            queue.append(begun)
            self._waiting = len(begun)

    def pause(self) -> None:
        """The transport has its window full."""
        self.full = True

    def resume(self) -> None:
        """The transport has room."""
        self.full = False
        self._flush()
        self._on_room()

    def _flush(self) -> None:
        transport, queue = self._transport, self._queue
        while queue and not self.full:
            if transport.is_closing():
                queue.clear()
                self._waiting = 0
                self._begun = False
                return
            if self._descriptor < 0:
                piece = queue.popleft()
                self._waiting -= len(piece)
                transport.write(piece)
            elif self._write_now():
                self._hand_over()
        if self._at_end is not None and not queue and not (self._descriptor >= 0 and self.full):
            then, self._at_end = self._at_end, None
            then()

    def _write_now(self) -> bool:
        """Write what the socket takes; tell whether it has taken less than was offered."""
        queue = self._queue
        offered = queue if len(queue) <= _VECTORS else list(islice(queue, _VECTORS))
        size = sum(map(len, offered))
        try:
            if len(offered) == 1:
                written = os.write(self._descriptor, queue[0])
            else:
                written = os.writev(self._descriptor, list(offered))
        except OSError:
            # It is full, or broken: the transport finds out which.
            return True
        self._waiting -= written
        if written == size and offered is queue:
            queue.clear()
            self._begun = False
            return False
        self._take(written)
        return written < size

    def _take(self, written: int) -> None:
        queue = self._queue
        while queue and written >= len(queue[0]):
            written -= len(queue.popleft())
            self._begun = False
        if written:
            queue[0] = memoryview(queue[0])[written:]
            self._begun = True

    def _hand_over(self) -> None:
        piece = memoryview(self._queue[0])[:_HANDED_OVER_BYTES]
        self._waiting -= len(piece)
        self._take(len(piece))
        self._transport.write(piece)


def _descriptor(transport: asyncio.Transport) -> int:
    """Return the descriptor of a transport's socket; -1 where writing to it is the transport's alone."""
    socket = transport.get_extra_info("socket")
    if sys.platform == "win32" or socket is None or transport.get_extra_info("sslcontext") is not None:
        return -1
    descriptor: int = socket.fileno()
    return descriptor
