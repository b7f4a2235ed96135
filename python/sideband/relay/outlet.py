"""What is on its way out of one connection (docs/protocol/relay.md, "Flow").

Frames are put here by whoever forwards, and leave in one write per turn of the event loop. Of a queue only a window is
handed to the transport; the rest waits here, so that pings and terminal codes overtake it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Final

from sideband.transport.socket_writer import SocketWriter

__all__ = ["Outlet", "binary_frame", "close_frame", "ping_frame", "pong_frame", "wire_header"]

_SMALL_BYTES: Final = 2048
_GATHERED_BYTES: Final = 16_384
_LARGE_BYTES: Final = 32_768

_BINARY: Final = 0x82
_pack_medium: Final = Struct("!BBH").pack
_pack_long: Final = Struct("!BBQ").pack


class Outlet:
    """The outgoing side of a server's WebSocket, with a window, a bound and a hard limit in bytes.

    Args:
        transport: the connection's; its own write limits are set to the window.
        window_bytes: what is handed to the transport ahead.
        bound_bytes: over this many queued bytes `over_bound` becomes true.
        resume_bytes: at this many, at most `bound_bytes`, it becomes false again.
        hard_limit_bytes: over this many `on_overflow` is called.
        on_overflow: called once, when a frame takes the queue over the hard limit; that frame is not queued.
        on_bound: called with True when the queue goes over its bound, and with False when it is below again.

    Attributes:
        over_bound: whether the queue is over its bound.
        high_water_bytes: the longest the queue has been.
    """

    __slots__ = (
        "_bound_bytes",
        "_flush_is_due",
        "_gathered_bytes",
        "_hard_limit_bytes",
        "_in_transport",
        "_loop",
        "_on_bound",
        "_on_overflow",
        "_queue",
        "_queued",
        "_resume_bytes",
        "_sealed",
        "_transport",
        "_urgent",
        "_window_bytes",
        "_writer",
        "high_water_bytes",
        "over_bound",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        window_bytes: int,
        bound_bytes: int,
        resume_bytes: int,
        hard_limit_bytes: int,
        on_overflow: Callable[[], None],
        on_bound: Callable[[bool], None],
    ) -> None:
        self._transport = transport
        self._writer = SocketWriter(transport, self._flush, window_bytes=window_bytes)
        self._window_bytes = window_bytes
        self._gathered_bytes = min(_GATHERED_BYTES, window_bytes)
        self._bound_bytes = bound_bytes
        self._resume_bytes = resume_bytes
        self._hard_limit_bytes = hard_limit_bytes
        self._on_overflow = on_overflow
        self._on_bound = on_bound
        self._loop = asyncio.get_running_loop()
        self._queue: deque[bytes | bytearray] = deque()
        self._queued = 0
        self._in_transport = 0
        self._urgent: list[bytes] = []
        self._flush_is_due = False
        self._sealed = False
        self.over_bound = False
        self.high_water_bytes = 0

    @property
    def queued_bytes(self) -> int:
        """Bytes that have not left this process, those of the last write included."""
        return self._queued + self._in_transport

    @property
    def room_bytes(self) -> int:
        """Bytes until the queue is over its bound; 0 when it is."""
        return max(0, self._bound_bytes - self._queued - self._in_transport)

    def put(self, frame: bytes) -> None:
        """Queue one SBRP frame behind what is queued already; dropped when the connection is closing."""
        self.put_wire(binary_frame(frame))

    def put_wire(self, wire: bytes) -> None:
        """Queue ready WebSocket frames behind what is queued already; dropped when the connection is closing."""
        if self._sealed:
            return
        size = len(wire)
        queued = self._queued + size
        if queued + self._in_transport > self._hard_limit_bytes:
            self._on_overflow()
            return
        self._queued = queued
        if size < _SMALL_BYTES:
            self._gather(wire)
        else:
            self._queue.append(wire)
        if queued + self._in_transport > self._bound_bytes and not self.over_bound:
            self._check_bound()
        if queued >= self._window_bytes and not self._writer.full:
            self._flush()
        else:
            self._schedule_flush()

    def put_first(self, frame: bytes) -> None:
        """Queue one SBRP frame ahead of everything that is not urgent itself."""
        self.put_wire_first(binary_frame(frame))

    def put_wire_first(self, wire: bytes) -> None:
        """Queue a ready WebSocket frame (a ping or pong) ahead of everything that is not urgent itself."""
        if self._sealed:
            return
        if self.queued_bytes + len(wire) > self._hard_limit_bytes:
            self._on_overflow()
            return
        self._queued += len(wire)
        self._urgent.append(wire)
        self._schedule_flush()

    def seal(self, last: bytes) -> None:
        """Write what the transport takes now, drop the rest, write `last`, and take nothing more.

        Args:
            last: WebSocket frames that end the connection.
        """
        if self._sealed:
            return
        self._flush()
        self._sealed = True
        self._queue.clear()
        self._urgent.clear()
        self._queued = 0
        if not self._transport.is_closing():
            self._writer.write(last)
        self._check_bound()

    def finish(self, then: Callable[[], None]) -> None:
        """Call `then` once all that was written has left; not at all when the connection is lost before."""
        self._writer.finish(then)

    def pause(self) -> None:
        """Stop writing: the transport has its window full."""
        self._writer.pause()

    def resume(self) -> None:
        """Go on writing: the transport has room."""
        self._writer.resume()

    def _gather(self, wire: bytes) -> None:
        # Small frames share a buffer: an object of its own for each would cost more memory than the frame.
        last = self._queue[-1] if self._queue else None
        if type(last) is bytearray and len(last) + len(wire) <= self._gathered_bytes:
            last += wire
        else:
            self._queue.append(bytearray(wire))

    def _schedule_flush(self) -> None:
        if not self._flush_is_due and not self._writer.full:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        queued = self._queued + self._in_transport
        if queued > self.high_water_bytes:
            self.high_water_bytes = queued
        transport = self._transport
        if transport.is_closing():
            self._queue.clear()
            self._urgent.clear()
            self._queued = 0
        while (self._urgent or self._queue) and not self._writer.full:
            data = self._next_write()
            self._queued -= len(data)
            self._writer.write(data)
        self._in_transport = self._writer.buffered_bytes
        if self.over_bound:
            self._check_bound()

    def _next_write(self) -> bytes | bytearray:
        queue = self._queue
        if not self._urgent and (len(queue) == 1 or len(queue[0]) >= _LARGE_BYTES):
            return queue.popleft()
        parts: list[bytes | bytearray] = [*self._urgent]
        self._urgent = []
        size = 0
        # What is large goes out as it is: another system call costs less than another copy.
        while queue and size < self._window_bytes and len(queue[0]) < _LARGE_BYTES:
            part = queue.popleft()
            size += len(part)
            parts.append(part)
        return b"".join(parts)

    def _check_bound(self) -> None:
        queued = self._queued + self._in_transport
        over = queued > (self._resume_bytes if self.over_bound else self._bound_bytes)
        if over != self.over_bound:
            self.over_bound = over
            self._on_bound(over)


def binary_frame(message: bytes) -> bytes:
    """Return a WebSocket binary frame, unmasked as a server's are."""
    return wire_header(_BINARY, len(message)) + message


def wire_header(first: int, size: int) -> bytes:
    """Return the header of an unmasked WebSocket frame; `first` is its first byte, flags and opcode."""
    if size < 126:
        return bytes((first, size))
    return _pack_medium(first, 126, size) if size < 65_536 else _pack_long(first, 127, size)


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a WebSocket close frame; the reason is cut to 123 bytes."""
    payload = code.to_bytes(2, "big") + reason.encode()[:123].decode(errors="ignore").encode()
    return bytes((0x88, len(payload))) + payload


def ping_frame() -> bytes:
    """Return a WebSocket ping without payload."""
    return b"\x89\x00"


def pong_frame(payload: bytes) -> bytes:
    """Return the WebSocket pong for a ping's payload (at most 125 bytes)."""
    return bytes((0x8A, len(payload))) + payload
