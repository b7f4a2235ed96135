"""Messages over a byte stream: each with its length before it, u32 big-endian (docs/protocol/sbdp.md, "Wire").

What stream transports have in common. Until a session is made the bytes are kept as they come, and a message is cut
off when somebody asks for it; then `adopt` hands the stream over to whoever decodes whole reads at once.
"""

from __future__ import annotations

import asyncio
import struct
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Final

from typing_extensions import override

from sideband.errors import ConnectionClosed, SidebandError, TransportError
from sideband.transport.base import DEFAULT_MAX_MESSAGE_BYTES, BytesLike, Connection

__all__ = ["CLOSE_TIMEOUT_SECONDS", "HIGH_WATER_BYTES", "Decode", "FramedConnection"]

Decode = Callable[[bytes], list[Any]]
"""Takes the bytes of one read and returns what they complete."""

HIGH_WATER_BYTES: Final = 4 * 1024 * 1024
"""Received and not yet taken: beyond it the stream is not read."""
UNCUT_BYTES: Final = 256 * 1024
"""The same before `adopt`, for whoever is there has not shown who it is."""
CLOSE_TIMEOUT_SECONDS: Final = 5.0
"""How long the last bytes may take to leave before the connection is cut."""


class FramedConnection(Connection):
    """A message connection over a byte stream. A transport derives from it and feeds it.

    Args:
        max_message_bytes: largest message in either direction.

    Attributes:
        binding: what the transport's own security is known by, for the prologue of a handshake: the SHA-256 of a
            certificate, empty without one.
        transport_name: `tcp` or `quic`.
    """

    transport_name: str
    binding: bytes = b""

    def __init__(self, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> None:
        self._max_message_bytes = max_message_bytes
        self._uncut = bytearray()
        self._decode: Decode | None = None
        self._items: list[Any] = []
        self._held = 0
        self._failure: Exception | None = None
        self._reading_paused = False
        self._arrived: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._ended = asyncio.Event()
        self._close_code: int | None = None
        self._close_reason = ""
        self._closed_here = False

    # For the session

    def adopt(self, decode: Decode) -> None:
        """From here on `receive_many` returns what `decode` makes of the bytes, those included that came before.

        What it raises is raised by `receive_many`, after all that came before it.
        """
        rest, self._uncut = bytes(self._uncut), bytearray()
        self._decode = decode
        self._held = 0
        if rest:
            self._decoded(rest)
        self._pause_or_resume()

    async def write(self, data: BytesLike) -> None:
        """Send bytes that hold their own lengths; wait while the transport's buffer is over its bound.

        Nothing else is written between two calls that do not overlap, and the bytes of one call stay together.

        Raises:
            ConnectionClosed: the connection was closed in good order.
            TransportError: it is lost.
        """
        if self._close_code is not None:
            raise self._ending()
        self._write(data)
        if not self._room.is_set():
            await self._room.wait()
            if self._close_code is not None:
                raise self._ending()

    @override
    async def send(self, data: BytesLike) -> None:
        await self.send_many((data,))

    @override
    async def send_many(self, messages: Iterable[BytesLike]) -> None:
        parts: list[BytesLike] = []
        for message in messages:
            size = message.nbytes if isinstance(message, memoryview) else len(message)
            if size > self._max_message_bytes:
                text = f"a message of {size} bytes is over the limit of {self._max_message_bytes}"
                raise TransportError("message_too_large", text)
            parts += (_LENGTH.pack(size), message)
        await self.write(b"".join(parts))

    @override
    async def receive(self) -> bytes:
        while True:
            message = self._cut()
            if message is not None:
                return message
            await self._arrival()

    @override
    async def receive_many(self) -> list[Any]:
        if self._decode is None:
            messages = [await self.receive()]
            while (message := self._cut()) is not None:
                messages.append(message)
            return messages
        while not self._items:
            await self._arrival()
        items, self._items = self._items, []
        self._held = 0
        self._pause_or_resume()
        return items

    @override
    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self._close_code is None:
            self._closed_here = True
            self._close_code, self._close_reason = code, reason
            self._wake()
            self._uncut.clear()
            self._items.clear()
            self._held = 0
            self._pause_or_resume()
            self._shut()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            self.abort()
            await self._ended.wait()

    @override
    async def wait_closed(self) -> None:
        await self._ended.wait()

    @property
    @override
    def closed(self) -> bool:
        return self._close_code is not None

    @property
    @override
    def close_code(self) -> int | None:
        return self._close_code

    @property
    @override
    def close_reason(self) -> str:
        return self._close_reason

    # For the transport

    @abstractmethod
    def abort(self) -> None:
        """Cut the connection; what has not left is lost."""

    @abstractmethod
    def _write(self, data: BytesLike) -> None: ...

    @abstractmethod
    def _shut(self) -> None:
        """Close once all has left; `_lost` is called then."""

    @abstractmethod
    def _set_reading(self, reading: bool) -> None: ...

    def _received(self, data: bytes) -> None:
        if self._closed_here:
            return  # read only so that the other side gets to see our last bytes
        if self._decode is not None:
            self._decoded(data)
        else:
            self._uncut += data
            self._held = len(self._uncut)
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
        self._pause_or_resume()

    def _lost(self, error: BaseException | None) -> None:
        del error  # its text may name addresses of this machine, and the kind is always the same
        if self._close_code is None:
            self._close_code = 1006
        self._ended.set()
        self._wake()

    # What follows is private.

    def _decoded(self, data: bytes) -> None:
        if self._failure is not None or self._decode is None:
            return
        try:
            self._items += self._decode(data)
        except SidebandError as error:
            self._failure = error
        # What gave nothing to take is not held: nobody would come for it, and the stream would never be read again.
        self._held = self._held + len(data) if self._items else 0

    def _cut(self) -> bytes | None:
        buffer = self._uncut
        if len(buffer) < _LENGTH.size:
            return None
        (size,) = _LENGTH.unpack_from(buffer)
        if size > self._max_message_bytes:
            text = f"a message of {size} bytes came, at most {self._max_message_bytes} are taken here"
            raise TransportError("message_too_large", text)
        end = _LENGTH.size + size
        if len(buffer) < end:
            return None
        message = bytes(memoryview(buffer)[_LENGTH.size : end])
        del buffer[:end]
        self._held = len(buffer)
        self._pause_or_resume()
        return message

    async def _arrival(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._close_code is not None:
            raise self._ending()
        self._arrived = asyncio.get_running_loop().create_future()
        try:
            await self._arrived
        finally:
            self._arrived = None

    def _pause_or_resume(self) -> None:
        pause = self._held > (UNCUT_BYTES if self._decode is None else HIGH_WATER_BYTES)
        if pause is not self._reading_paused and not self._ended.is_set():
            if pause and self._decode is None and self._wants_more():
                return
            self._reading_paused = pause
            self._set_reading(not pause)

    def _wants_more(self) -> bool:
        # One message may be larger than what is kept otherwise; it has to get in whole.
        (size,) = _LENGTH.unpack_from(self._uncut)
        return bool(len(self._uncut) < _LENGTH.size + size <= self._max_message_bytes + _LENGTH.size)

    def _wake(self) -> None:
        self._room.set()
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _ending(self) -> TransportError:
        code = self._close_code
        if self._closed_here:
            return ConnectionClosed(close_code=code)
        return TransportError("abnormal_close", "the connection was lost", close_code=code)


_LENGTH = struct.Struct(">I")
