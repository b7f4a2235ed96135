"""A WebSocket as a `Connection` (docs/protocol/peer.md, "Transport interface")."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Final

from typing_extensions import override

from sideband._native import MessageBatch, WireFrames, frame_messages
from sideband.errors import ConnectionClosed, TransportError
from sideband.transport.base import CLEAN_CLOSE_CODES, BytesLike, Connection, Messages
from sideband.transport.websocket_protocol import RECEIVE_AHEAD_BYTES, SEND_AHEAD_BYTES, WebSocketProtocol

__all__ = ["CLOSE_TIMEOUT_SECONDS", "WebSocketConnection"]

CLOSE_TIMEOUT_SECONDS: Final = 5.0
"""How long `close` waits for the other side's close frame before it cuts the connection."""

_FRAMED_BYTES: Final = 256 * 1024
"""So many bytes of messages are made frames of, and written, at once."""


class WebSocketConnection(Connection):
    """A `Connection` over an upgraded transport, of the client or the server.

    Args:
        transport: the connection's, with nobody reading it any more.
        is_client: whether this side opened it.
        max_message_bytes: largest message in either direction.
        heartbeat_seconds: interval of pings, which must be answered within half of it; None for none.
        close_timeout_seconds: how long `close` waits for the other side.
        receive_ahead_bytes: with so much received and not taken, each message counting 64 bytes more, nothing is read.
        send_ahead_bytes: with more than this waiting to leave the process, senders wait until a quarter is left.
        behind: what came behind the opening handshake.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        is_client: bool,
        max_message_bytes: int,
        heartbeat_seconds: float | None = None,
        close_timeout_seconds: float = CLOSE_TIMEOUT_SECONDS,
        receive_ahead_bytes: int = RECEIVE_AHEAD_BYTES,
        send_ahead_bytes: int = SEND_AHEAD_BYTES,
        behind: bytes = b"",
    ) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._max_message_bytes = max_message_bytes
        self._close_timeout_seconds = close_timeout_seconds
        self._send_ahead = send_ahead_bytes
        self._ended = asyncio.Event()
        self._close_code: int | None = None
        self._close_reason = ""
        self._closed_here = False
        self._receiver: asyncio.Future[None] | None = None
        self._senders: list[asyncio.Future[None]] = []
        self._batch: MessageBatch | None = None
        self._place = 0
        self._protocol = WebSocketProtocol(
            transport,
            is_client=is_client,
            max_message_bytes=max_message_bytes,
            heartbeat_seconds=heartbeat_seconds,
            close_timeout_seconds=close_timeout_seconds,
            on_change=self._changed,
            receive_ahead_bytes=receive_ahead_bytes,
        )
        self._protocol.start(behind)

    @override
    async def send(self, data: BytesLike) -> None:
        self._check_size(data)
        await self._send((data,))

    @override
    async def send_many(self, messages: Iterable[BytesLike]) -> None:
        gathered: list[BytesLike] = []
        size = 0
        try:
            for message in messages:
                size += self._check_size(message)
                gathered.append(message)
                if size >= _FRAMED_BYTES:
                    batch, gathered, size = gathered, [], 0
                    await self._send(batch)
        except TransportError:
            if gathered and not self.closed:
                await self._send(gathered)
            raise
        if gathered:
            await self._send(gathered)

    @property
    @override
    def masks_frames(self) -> bool | None:
        return self._protocol.masks

    @override
    async def send_framed(self, wire: WireFrames) -> None:
        await self._write(wire)

    @override
    async def receive(self) -> bytes:
        batch = self._batch
        if batch is None:
            batch = self._batch = await self._next_batch()
            self._place = 0
        elif self._closed_here:
            raise self._ending()
        message = batch[self._place]
        self._place += 1
        if self._place == len(batch):
            self._batch = None
        return message

    @override
    async def receive_many(self) -> Messages:
        batch, self._batch = self._batch, None
        if batch is None:
            return await self._next_batch()
        if self._closed_here:
            raise self._ending()
        return batch[self._place :]

    @override
    async def close(self, code: int = 1000, reason: str = "") -> None:
        protocol = self._protocol
        if not self.closed:
            self._closed_here = True
            protocol.close(code, reason)
            # Whoever waits to receive or to send is told at once.
            self._changed()
            try:
                await self._gone()
                self._close_code, self._close_reason = code, reason
            finally:
                if self._close_code is None:
                    self._close_code = 1006
                    protocol.abort()
                self._ended.set()
        await self._ended.wait()
        await self._gone()

    def abort(self) -> None:
        """Cut the connection; what has not left is lost."""
        self._protocol.abort()

    @override
    async def wait_closed(self) -> None:
        await self._ended.wait()

    @property
    @override
    def closed(self) -> bool:
        return self._close_code is not None or self._closed_here

    @property
    @override
    def close_code(self) -> int | None:
        return self._close_code

    @property
    @override
    def close_reason(self) -> str:
        return self._close_reason

    @property
    @override
    def buffered_bytes(self) -> int:
        return self._protocol.buffered_bytes

    @property
    def server_certificate_digest(self) -> bytes | None:
        """SHA-256 of the certificate that the server showed; None without TLS, and on the server's side."""
        encryption = self._transport.get_extra_info("ssl_object")
        certificate = None if encryption is None else encryption.getpeercert(binary_form=True)
        return None if certificate is None else hashlib.sha256(certificate).digest()

    def _check_size(self, data: BytesLike) -> int:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if size > self._max_message_bytes:
            raise TransportError(
                "message_too_large", f"a message of {size} bytes is over the limit of {self._max_message_bytes}"
            )
        return size

    async def _send(self, messages: Iterable[BytesLike]) -> None:
        await self._write(frame_messages(messages, self._protocol.masks))

    async def _write(self, wire: WireFrames) -> None:
        self._check_open()
        protocol = self._protocol
        protocol.write(wire.view())
        if protocol.buffered_bytes <= self._send_ahead:
            return
        room = self._loop.create_future()
        self._senders.append(room)
        try:
            await room
        finally:
            if room in self._senders:
                self._senders.remove(room)
        self._check_open()

    def _check_open(self) -> None:
        # An end is told behind the messages that came before it: they may say why. Until then what is sent is lost, as
        # it would be had it been sent a moment earlier.
        if self._closed_here or (self.closed and self._batch is None and not self._protocol.has_messages):
            raise self._ending()

    async def _next_batch(self) -> MessageBatch:
        while not self._closed_here:
            batch = self._protocol.take()
            if batch is not None:
                return batch
            if self._close_code is not None:
                break
            if self._receiver is not None:
                msg = "another task is receiving from this connection"
                raise RuntimeError(msg)
            self._receiver = self._loop.create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        raise self._ending()

    def _changed(self) -> None:
        protocol = self._protocol
        if protocol.code is not None and self._close_code is None and not self._closed_here:
            self._close_code, self._close_reason = protocol.code, protocol.reason
            self._ended.set()
        receiver = self._receiver
        if receiver is not None and not receiver.done():
            receiver.set_result(None)
        if self._senders and (self.closed or protocol.buffered_bytes <= self._send_ahead // 4):
            senders, self._senders = self._senders, []
            for sender in senders:
                if not sender.done():
                    sender.set_result(None)

    async def _gone(self) -> None:
        protocol = self._protocol
        try:
            async with asyncio.timeout(self._close_timeout_seconds):
                await protocol.gone.wait()
        except TimeoutError:
            protocol.abort()
            await protocol.gone.wait()

    def _ending(self) -> TransportError:
        code = self._close_code
        if self._closed_here or code in CLEAN_CLOSE_CODES or code == 1005:
            return ConnectionClosed(close_code=code)
        if code == 1009:
            return TransportError("message_too_large", "a message was over the limit", close_code=code)
        text = "the connection was lost" if code == 1006 else f"the other side closed with {code}"
        return TransportError("abnormal_close", text, close_code=code)
