"""The opening handshake of a WebSocket, and taking its connection over from aiohttp (RFC 6455, 4.2)."""

from __future__ import annotations

import asyncio
import binascii
import hashlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, cast

from aiohttp import hdrs, web
from typing_extensions import override

if TYPE_CHECKING:
    from aiohttp.http_websocket import WebSocketReader

__all__ = ["TakenOver", "handshake_fault", "take_over"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16


class TakenOver(web.StreamResponse):
    """What a handler returns for a connection that is no longer aiohttp's: nothing is sent."""

    def __init__(self) -> None:
        super().__init__(status=101)

    @override
    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing."""

    @override
    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing."""


def handshake_fault(request: web.Request) -> str | None:
    """Return what is wrong with a client's opening handshake; None when nothing is."""
    headers = request.headers
    keys = headers.getall(hdrs.SEC_WEBSOCKET_KEY, [])
    if "websocket" not in _tokens(request, hdrs.UPGRADE):
        return "Upgrade is websocket"
    if "upgrade" not in _tokens(request, hdrs.CONNECTION):
        return "Connection is Upgrade"
    if headers.getall(hdrs.SEC_WEBSOCKET_VERSION, []) != ["13"]:
        return "Sec-WebSocket-Version is 13"
    if len(keys) != 1 or not _is_key(keys[0]):
        return "Sec-WebSocket-Key is 16 bytes in base64"
    return None


def take_over(request: web.Request) -> tuple[asyncio.Transport, bytes]:
    """Answer a sound handshake with 101 and detach its connection from aiohttp.

    The caller sets a protocol of its own before the event loop goes on, and returns `TakenOver` to aiohttp.

    Returns:
        The transport, and what the client has sent behind the handshake.

    Raises:
        ConnectionResetError: the client is gone.
    """
    protocol, transport = request.protocol, request.transport
    if transport is None or transport.is_closing():
        msg = "the client is gone"
        raise ConnectionResetError(msg)
    behind = _Behind()
    # aiohttp hands what came behind the request to the parser of its new protocol, of which this much is used.
    protocol.set_parser(cast("WebSocketReader", behind))
    # Without a transport aiohttp has nothing to close; "lost" makes it forget the connection, its timers and its task.
    protocol.transport = None
    protocol.connection_lost(None)
    transport.write(_switching_protocols(request.headers[hdrs.SEC_WEBSOCKET_KEY]))
    return transport, bytes(behind.data)


class _Behind:
    """Collects what aiohttp has read too far."""

    def __init__(self) -> None:
        self.data = bytearray()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """Nothing more comes; whatever came is kept."""


def _switching_protocols(key: str) -> bytes:
    # SHA-1 is what the RFC asks for; it proves that this is a WebSocket server and protects nothing.
    accept = b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def _tokens(request: web.Request, header: Any) -> set[str]:
    return {part.strip().lower() for value in request.headers.getall(header, []) for part in value.split(",")}


def _is_key(key: str) -> bool:
    try:
        return len(b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False
