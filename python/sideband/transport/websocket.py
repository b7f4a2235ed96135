"""WebSocket transport (docs/protocol/peer.md, "Transport interface"): aiohttp opens connections, and we run them.

Binary messages only, compression off both ways: what travels is ciphertext, and compressing it would cost time and
leak its length. HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE are honoured.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import partial

import aiohttp
from aiohttp import web
from typing_extensions import override
from yarl import URL

from sideband.errors import ConfigError, TransportError
from sideband.transport.base import (
    DEFAULT_MAX_MESSAGE_BYTES,
    Connection,
    ConnectionHandler,
    ConnectOptions,
    Listener,
    Transport,
)
from sideband.transport.failures import connect_failure, place
from sideband.transport.proxy import proxy_from_environment
from sideband.transport.roots import ssl_context_from_environment
from sideband.transport.upgrade import TakenOver, handshake_fault, open_websocket, take_over
from sideband.transport.websocket_connection import CLOSE_TIMEOUT_SECONDS, WebSocketConnection
from sideband.transport.websocket_protocol import RECEIVE_AHEAD_BYTES, SEND_AHEAD_BYTES

__all__ = ["WebSocketConnection", "WebSocketTransport"]

_log = logging.getLogger("sideband.transport")


class WebSocketTransport(Transport):
    """Connects to, and listens at, `ws://` and `wss://` URLs.

    Args:
        ssl_context: for outbound connections; by default the system's roots, or those of SSL_CERT_FILE.
        server_ssl_context: for `listen` at a `wss://` URL.
        proxy: URL of an HTTP proxy; by default the environment decides. An empty string forces a direct connection.
        max_message_bytes: largest message in either direction; default 1 MiB. A larger one that comes in closes the
            connection with 1009.
        heartbeat_seconds: WebSocket pings are sent at this interval and must be answered within half of it; None, the
            default, sends none.
        close_timeout_seconds: how long `close` waits for the other side before it cuts the connection; default 5.
        receive_ahead_bytes: with so much received and not taken, each message counting 64 bytes more, nothing is read;
            default 1 MiB. What one read brought is kept besides, so that it is no exact bound.
        send_ahead_bytes: with more than this waiting to leave the process, senders wait until a quarter is left;
            default 256 KiB.

    Raises:
        ConfigError: a number of bytes is less than 1.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        heartbeat_seconds: float | None = None,
        close_timeout_seconds: float = CLOSE_TIMEOUT_SECONDS,
        receive_ahead_bytes: int = RECEIVE_AHEAD_BYTES,
        send_ahead_bytes: int = SEND_AHEAD_BYTES,
    ) -> None:
        bounds = {
            "max_message_bytes": max_message_bytes,
            "receive_ahead_bytes": receive_ahead_bytes,
            "send_ahead_bytes": send_ahead_bytes,
        }
        for name, value in bounds.items():
            if value < 1:
                msg = f"{name} is at least 1, not {value}"
                raise ConfigError(msg)
        self._ssl_context = ssl_context
        self._server_ssl_context = server_ssl_context
        self._proxy = proxy
        self._close_timeout_seconds = close_timeout_seconds
        self._connection = partial(
            WebSocketConnection,
            max_message_bytes=max_message_bytes,
            heartbeat_seconds=heartbeat_seconds,
            close_timeout_seconds=close_timeout_seconds,
            receive_ahead_bytes=receive_ahead_bytes,
            send_ahead_bytes=send_ahead_bytes,
        )

    @override
    async def connect(self, endpoint: str, options: ConnectOptions | None = None) -> Connection:
        """Open a WebSocket.

        Redirects are not followed: a token belongs to the host it was issued for.

        Raises:
            TransportError: `connection_refused`, `dns_failure`, `tls_failure`, `timeout`, `authentication_failed` (HTTP
                401 and 403), `abnormal_close` or `transport_failure`; with `http_status` and `retry_after` where the
                server answered by HTTP.
        """
        options = options or ConnectOptions()
        url = _websocket_url(endpoint)
        proxy = proxy_from_environment(url) if self._proxy is None else (self._proxy or None)
        context = self._client_ssl_context() if url.scheme == "wss" else None
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )
        async with session:
            try:
                async with asyncio.timeout(options.timeout_seconds):
                    transport, behind = await open_websocket(
                        session, url, headers=options.headers, proxy=proxy, ssl_context=context
                    )
            except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
                raise connect_failure(error, url) from None
            return self._connection(transport, is_client=True, behind=behind)

    @override
    async def listen(self, endpoint: str, handler: ConnectionHandler) -> Listener:
        """Serve WebSockets at `endpoint`; port 0 takes a free one, which `Listener.address` then names.

        Raises:
            TransportError: `tls_failure` for a `wss://` URL without `server_ssl_context`; `transport_failure` where the
                URL is none, or cannot be listened at.
        """
        url = _websocket_url(endpoint)
        if url.scheme == "wss" and self._server_ssl_context is None:
            raise TransportError("tls_failure", "listening at a wss:// URL needs server_ssl_context")
        listener = _WebSocketListener(url, handler, self._connection, self._close_timeout_seconds)
        await listener.start(self._server_ssl_context if url.scheme == "wss" else None)
        return listener

    def _client_ssl_context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            try:
                self._ssl_context = ssl_context_from_environment()
            except ConfigError as error:
                raise TransportError("tls_failure", str(error)) from error
        return self._ssl_context


class _WebSocketListener(Listener):
    def __init__(
        self,
        url: URL,
        handler: ConnectionHandler,
        connection: partial[WebSocketConnection],
        close_timeout_seconds: float,
    ) -> None:
        self._url = url
        self._handler = handler
        self._connection = connection
        self._open: dict[WebSocketConnection, asyncio.Task[None]] = {}
        app = web.Application()
        app.router.add_get(url.path or "/", self._serve)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=close_timeout_seconds)

    async def start(self, ssl_context: ssl.SSLContext | None) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._url.host, self._url.port, ssl_context=ssl_context)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            text = error.strerror or "the address is not available"
            raise TransportError("transport_failure", f"cannot listen at {place(self._url)}: {text}") from None
        self._url = self._url.with_port(self._runner.addresses[0][1])

    @property
    @override
    def address(self) -> str:
        return str(self._url)

    @override
    async def close(self) -> None:
        handlers = list(self._open.values())
        await asyncio.gather(*(connection.close(1001, "going away") for connection in list(self._open)))
        await asyncio.gather(*handlers)
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if (fault := handshake_fault(request)) is not None:
            return web.Response(status=400, text=f"this is a WebSocket endpoint: {fault}\n")
        try:
            transport, behind = take_over(request)
        except ConnectionResetError:
            return TakenOver()
        connection = self._connection(transport, is_client=False, behind=behind)
        self._open[connection] = asyncio.create_task(self._handle(connection), name="sideband websocket handler")
        return TakenOver()

    async def _handle(self, connection: WebSocketConnection) -> None:
        code, reason = 1000, ""
        try:
            await self._handler(connection)
        except TransportError:
            code = 1001
        except Exception:  # noqa: BLE001  (a fault of one handler is logged and ends its connection, not the others)
            code, reason = 1011, "internal error"
            _log.exception("the handler of a connection failed")
        finally:
            try:
                await connection.close(code, reason)
            finally:
                del self._open[connection]


def _websocket_url(endpoint: str) -> URL:
    try:
        url = URL(endpoint)
    except ValueError:
        url = URL()
    if url.scheme not in {"ws", "wss"} or not url.host:
        raise TransportError("transport_failure", "the endpoint is not a valid ws:// or wss:// URL")
    return url
