"""The opening handshake of a WebSocket (RFC 6455, 4), and taking its connection over from aiohttp.

aiohttp does HTTP: addresses, proxies, TLS, headers, refusals. What has become a WebSocket is no longer its own.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from aiohttp import hdrs, web
from typing_extensions import override

if TYPE_CHECKING:
    import ssl

    from aiohttp.http_websocket import WebSocketReader
    from yarl import URL

__all__ = ["TakenOver", "handshake_fault", "open_websocket", "take_over"]

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


async def open_websocket(
    session: aiohttp.ClientSession,
    url: URL,
    *,
    headers: Mapping[str, str],
    proxy: str | None,
    ssl_context: ssl.SSLContext | None,
) -> tuple[asyncio.Transport, bytes]:
    """Ask for a WebSocket and detach its connection from aiohttp; redirects are not followed.

    The caller sets a protocol of its own before the event loop goes on. The session may be closed after that.

    Returns:
        The transport, and what the server has sent behind its answer.

    Raises:
        aiohttp.WSServerHandshakeError: the server answered with anything but this WebSocket.
        aiohttp.ClientError: as aiohttp's requests.
    """
    key = b64encode(os.urandom(_KEY_BYTES)).decode()
    response = await session.get(
        url,
        headers={
            **headers,
            hdrs.UPGRADE: "websocket",
            hdrs.CONNECTION: "Upgrade",
            hdrs.SEC_WEBSOCKET_VERSION: "13",
            hdrs.SEC_WEBSOCKET_KEY: key,
        },
        proxy=proxy,
        ssl=True if ssl_context is None else ssl_context,
        allow_redirects=False,
    )
    try:
        fault = _answer_fault(response, key)
        connection = response.connection
        protocol, transport = (None, None) if connection is None else (connection.protocol, connection.transport)
        if fault is None and (protocol is None or transport is None or transport.is_closing()):
            raise aiohttp.ServerDisconnectedError
        if fault is not None or protocol is None or transport is None:
            raise aiohttp.WSServerHandshakeError(
                response.request_info,
                response.history,
                status=response.status,
                message=fault or "",
                headers=response.headers,
            )
        behind = _Behind()
        protocol.set_parser(behind, None)
        # As in `take_over`.
        protocol.transport = None
        protocol.connection_lost(None)
        return transport, bytes(behind.data)
    finally:
        response.close()


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
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + _accept(key).encode() + b"\r\n\r\n"
    )


def _accept(key: str) -> str:
    # SHA-1 is what the RFC asks for; it proves that this is a WebSocket server and protects nothing.
    return b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def _answer_fault(response: aiohttp.ClientResponse, key: str) -> str | None:
    headers = response.headers
    if response.status != 101:
        return "the status is not 101"
    if headers.get(hdrs.UPGRADE, "").lower() != "websocket":
        return "Upgrade is websocket"
    if headers.get(hdrs.CONNECTION, "").lower() != "upgrade":
        return "Connection is Upgrade"
    if headers.get(hdrs.SEC_WEBSOCKET_ACCEPT, "") != _accept(key):
        return "Sec-WebSocket-Accept does not answer the key"
    if hdrs.SEC_WEBSOCKET_EXTENSIONS in headers or hdrs.SEC_WEBSOCKET_PROTOCOL in headers:
        return "an extension or subprotocol was not offered"
    return None


def _tokens(request: web.Request, header: Any) -> set[str]:
    return {part.strip().lower() for value in request.headers.getall(header, []) for part in value.split(",")}


def _is_key(key: str) -> bool:
    try:
        return len(b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False
