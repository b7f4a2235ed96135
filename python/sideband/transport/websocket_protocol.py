"""One open WebSocket without its opening handshake (RFC 6455): frames in and out, pings, the closing handshake.

There is no task, and nothing here waits: the event loop calls when bytes come and when there is room for more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from typing_extensions import override

from sideband._native import MessageBatch, WebSocketInput, frame_messages
from sideband.transport.socket_writer import Piece, SocketWriter

__all__ = ["RECEIVE_AHEAD_BYTES", "SEND_AHEAD_BYTES", "WebSocketProtocol", "control_frame"]

RECEIVE_AHEAD_BYTES: Final = 1024 * 1024
"""With so much received and not taken, each message counting 64 bytes more, nothing is read; unless told otherwise."""
SEND_AHEAD_BYTES: Final = 256 * 1024
"""With more than this waiting to leave the process, senders wait until a quarter is left; unless told otherwise."""

_PING: Final = 0
_CLOSE: Final = 1

_OPCODE_CLOSE: Final = 0x88
_OPCODE_PING: Final = 0x89
_OPCODE_PONG: Final = 0x8A

_NO_CODE: Final = 1005
_LOST: Final = 1006
_NOTHING_FOLLOWS: Final = frozenset({1002, 1007})
"""Codes after which the other side's bytes cannot be told apart any more, its close among them."""


class WebSocketProtocol(asyncio.BufferedProtocol):
    """The protocol of an upgraded connection, of the client or the server.

    Args:
        transport: the connection's; this becomes its protocol.
        is_client: whether this side opened it, and so masks what it sends.
        max_message_bytes: largest message that is taken.
        text: whether text messages are taken; else they end the connection with 1003.
        heartbeat_seconds: pings are sent at this interval and must be answered within half of it; None for none.
        close_timeout_seconds: how long the closing may take.
        on_change: called when messages have come, there is room to send, or the connection has ended.
        receive_ahead_bytes: with so much received and not taken nothing is read.

    Attributes:
        code: the close code that ended the connection; None while it is open.
        reason: the text that came with it.
        closing: nothing more may be sent.
        gone: set when the transport is closed.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        is_client: bool,
        max_message_bytes: int,
        heartbeat_seconds: float | None,
        close_timeout_seconds: float,
        on_change: Callable[[], None],
        text: bool = False,
        receive_ahead_bytes: int = RECEIVE_AHEAD_BYTES,
    ) -> None:
        self.masks = is_client
        self.code: int | None = None
        self.reason = ""
        self.closing = False
        self.gone = asyncio.Event()
        self._transport = transport
        self._input = WebSocketInput(max_message_bytes, masked=not is_client, text=text)
        self._writer = SocketWriter(transport, self._has_room)
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._close_timeout = close_timeout_seconds
        self._receive_ahead = receive_ahead_bytes
        self._reading = True
        self._unanswered: bytes | None = None
        self._heard = False
        self._heartbeat = heartbeat_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._cut: asyncio.TimerHandle | None = None
        transport.set_protocol(self)
        if heartbeat_seconds is not None:
            self._timer = self._loop.call_later(heartbeat_seconds, self._beat)

    def start(self, behind: bytes) -> None:
        """Handle what came behind the opening handshake."""
        if behind:
            self._came(self._input.feed(behind))

    @property
    def buffered_bytes(self) -> int:
        """Bytes that have not left this process."""
        return self._writer.buffered_bytes

    @property
    def has_messages(self) -> bool:
        """Whether messages wait to be taken."""
        return self._input.ready_cost > 0

    def take(self) -> MessageBatch | None:
        """Return the messages that have come, or None; reading goes on."""
        batch = self._input.take()
        if not self._reading and batch is not None:
            self._reading = True
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return batch

    def write(self, frames: Piece) -> None:
        """Send ready frames; dropped when the connection is closing."""
        if not self.closing:
            self._writer.write(frames)

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake, unless it has begun; the connection is cut when it takes too long."""
        if self.closing:
            return
        self._say_close(code, reason)
        self._input.close()
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def abort(self) -> None:
        """Cut the connection."""
        self.closing = True
        self._transport.abort()

    # --- the transport's calls ----------------------------------------------------------------------------------------

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._input.room()

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self._heard = True
        self._came(self._input.received(nbytes))

    @override
    def eof_received(self) -> None:
        """Let the transport close: nobody sends half a connection's worth."""

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        for timer in (self._timer, self._cut):
            if timer is not None:
                timer.cancel()
        self._timer = self._cut = None
        self.gone.set()
        self._end(_LOST, "")

    @override
    def pause_writing(self) -> None:
        self._writer.pause()

    @override
    def resume_writing(self) -> None:
        self._writer.resume()

    # --- private ------------------------------------------------------------------------------------------------------

    def _came(self, events: list[tuple[int, int, Any]] | None) -> None:
        if events is not None:
            for kind, code, value in events:
                if kind == _PING:
                    self._answer(value)
                elif kind == _CLOSE:
                    self._closed_by_other(code, value)
                else:
                    self._violated(code, value)
        ready = self._input.ready_cost
        if not ready:
            return
        if ready >= self._receive_ahead and self._reading and not self.closing:
            self._reading = False
            self._transport.pause_reading()
        self._on_change()

    def _answer(self, payload: bytes) -> None:
        if self.closing:
            return
        if self._writer.full:
            # Only the latest is answered (RFC 6455, 5.5.3), so that pings cannot pile up here.
            self._unanswered = payload
        else:
            self._writer.write_first(control_frame(_OPCODE_PONG, payload, masked=self.masks))

    def _closed_by_other(self, code: int, reason: str) -> None:
        # What waits is for nobody any more; only a frame that has begun is finished.
        self._writer.drop()
        if not self.closing:
            self._say_close(code, "")
        self._end(code or _NO_CODE, reason)
        self._finish()

    def _violated(self, code: int, reason: str) -> None:
        if self.closing:
            self._finish()
            return
        self._writer.drop()
        self._say_close(code, reason)
        self._end(code, "the message broke the WebSocket protocol or a limit")
        if code in _NOTHING_FOLLOWS and self._transport.can_write_eof():
            self._writer.finish(self._transport.write_eof)

    def _say_close(self, code: int, reason: str) -> None:
        if not self.closing:
            payload = code.to_bytes(2, "big") + _cut_reason(reason) if code else b""
            self._writer.write(control_frame(_OPCODE_CLOSE, payload, masked=self.masks))
            self.closing = True
        self._cut_later()

    def _finish(self) -> None:
        self._cut_later()
        self._writer.finish(self._transport.close)

    def _cut_later(self) -> None:
        # Without it a connection over a dead network would live for a quarter of an hour.
        if self._cut is None and not self.gone.is_set():
            self._cut = self._loop.call_later(self._close_timeout, self._transport.abort)

    def _end(self, code: int, reason: str) -> None:
        if self.code is None:
            self.code = code
            self.reason = reason
        self._on_change()

    def _has_room(self) -> None:
        if self._unanswered is not None and not self.closing and not self._writer.full:
            payload, self._unanswered = self._unanswered, None
            self._writer.write_first(control_frame(_OPCODE_PONG, payload, masked=self.masks))
        self._on_change()

    def _beat(self) -> None:
        interval = self._heartbeat
        if interval is None or self.closing:
            return
        # While nothing is read, nothing can be heard.
        if self._heard or not self._reading:
            self._heard = False
            self._timer = self._loop.call_later(interval, self._beat)
            return
        if not self._writer.full:
            self._writer.write_first(control_frame(_OPCODE_PING, b"", masked=self.masks))
        self._timer = self._loop.call_later(interval / 2, self._check_pulse)

    def _check_pulse(self) -> None:
        if self._heard or not self._reading:
            self._beat()
        else:
            self.abort()


def control_frame(first: int, payload: bytes, *, masked: bool) -> bytes:
    """Return a control frame; `first` is its first byte, the payload has at most 125 bytes."""
    # Headers of short frames differ in the first byte only.
    return bytes((first,)) + bytes(frame_messages((payload,), masked).view()[1:])


def _cut_reason(reason: str) -> bytes:
    return reason.encode()[:123].decode(errors="ignore").encode()
