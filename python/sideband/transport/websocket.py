"""WebSocket transport on aiohttp (docs/protocol/peer.md, "Transport interface").

Binary messages only, compression off both ways: what travels is ciphertext, and compressing it would cost time and
leak its length. HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE are honoured.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.http import WebSocketError
from typing_extensions import override
from yarl import URL

from sideband.errors import ConfigError, ConnectionClosed, TransportError
from sideband.transport.base import (
    CLEAN_CLOSE_CODES,
    DEFAULT_MAX_MESSAGE_BYTES,
    BytesLike,
    Connection,
    ConnectionHandler,
    ConnectOptions,
    Listener,
    Transport,
)
from sideband.transport.cork import Cork
from sideband.transport.failures import connect_failure, place
from sideband.transport.proxy import proxy_from_environment

__all__ = ["WebSocketConnection", "WebSocketTransport"]

CLOSE_TIMEOUT_SECONDS = 5.0
"""How long `close` waits for the other side's close frame before it cuts the connection."""


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

    Raises:
        ConfigError: `max_message_bytes` is less than 1.
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
    ) -> None:
        if max_message_bytes < 1:
            msg = f"max_message_bytes is at least 1, not {max_message_bytes}"
            raise ConfigError(msg)
        self._ssl_context = ssl_context
        self._server_ssl_context = server_ssl_context
        self._proxy = proxy
        self._max_message_bytes = max_message_bytes
        self._heartbeat_seconds = heartbeat_seconds
        self._close_timeout_seconds = close_timeout_seconds

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
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None),
            trace_configs=[_refuse_redirects()],
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        try:
            async with asyncio.timeout(options.timeout_seconds):
                websocket = await session.ws_connect(
                    url,
                    headers=dict(options.headers),
                    proxy=proxy,
                    ssl=self._client_ssl_context() if url.scheme == "wss" else True,
                    compress=0,
                    autoping=True,
                    heartbeat=self._heartbeat_seconds,
                    # aiohttp refuses a message of exactly its limit.
                    max_msg_size=self._max_message_bytes + 1,
                    timeout=aiohttp.ClientWSTimeout(ws_close=self._close_timeout_seconds),
                )
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            await session.close()
            raise connect_failure(error, url) from None
        except BaseException:
            await session.close()
            raise
        return WebSocketConnection(websocket, session, self._max_message_bytes, self._close_timeout_seconds)

    @override
    async def listen(self, endpoint: str, handler: ConnectionHandler) -> Listener:
        """Serve WebSockets at `endpoint`; port 0 takes a free one, which `Listener.address` then names."""
        url = _websocket_url(endpoint)
        if url.scheme == "wss" and self._server_ssl_context is None:
            raise TransportError("tls_failure", "listening at a wss:// URL needs server_ssl_context")
        listener = _WebSocketListener(
            url, handler, self._max_message_bytes, self._heartbeat_seconds, self._close_timeout_seconds
        )
        await listener.start(self._server_ssl_context if url.scheme == "wss" else None)
        return listener

    def _client_ssl_context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            certificates = os.environ.get("SSL_CERT_FILE")
            if certificates and not Path(certificates).is_file():
                raise TransportError("tls_failure", "SSL_CERT_FILE names a file that does not exist")
            self._ssl_context = ssl.create_default_context()
        return self._ssl_context


class WebSocketConnection(Connection):
    """A `Connection` over one of aiohttp's WebSockets, of the client or the server.

    Args:
        websocket: an open WebSocket with compression off.
        session: the client session to close with it, or None.
        max_message_bytes: largest message this side sends.
        close_timeout_seconds: how long `close` waits for the other side.
    """

    def __init__(
        self,
        websocket: aiohttp.ClientWebSocketResponse[Any] | web.WebSocketResponse,
        session: aiohttp.ClientSession | None,
        max_message_bytes: int,
        close_timeout_seconds: float = CLOSE_TIMEOUT_SECONDS,
    ) -> None:
        self._websocket = websocket
        self._close_timeout_seconds = close_timeout_seconds
        self._session = session
        self._max_message_bytes = max_message_bytes
        self._ended = asyncio.Event()
        self._close_code: int | None = None
        self._close_reason = ""
        self._closed_here = False
        writer = websocket._writer
        # aiohttp has no public way to its transport, and only the transport knows how much is waiting to be sent.
        self._transport: asyncio.Transport | None = writer.transport if writer is not None else None
        self._encrypted = self._transport is not None and self._transport.get_extra_info("sslcontext") is not None
        self._cork: Cork | None = None
        if writer is not None and self._transport is not None:
            # Its writer makes one system call a message, which is a quarter of what a small one costs.
            self._cork = Cork(self._transport)
            writer.transport = self._cork  # type: ignore[assignment]  # it has all that the writer uses

    @override
    async def send(self, data: BytesLike) -> None:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if size > self._max_message_bytes:
            raise TransportError(
                "message_too_large", f"a message of {size} bytes is over the limit of {self._max_message_bytes}"
            )
        if self.closed:
            raise self._ending()
        try:
            await self._websocket.send_bytes(data)  # type: ignore[arg-type]  # takes any bytes-like object
        except (ConnectionError, aiohttp.ClientError):
            if self.closed:
                raise self._ending() from None
            raise TransportError("abnormal_close", "the connection was lost while sending") from None

    @override
    async def send_many(self, messages: Iterable[BytesLike]) -> None:
        cork = self._cork
        if cork is None:
            await super().send_many(messages)
            return
        cork.hold()
        try:
            for message in messages:
                await self.send(message)
        finally:
            cork.release()

    @override
    async def receive(self) -> bytes:
        if self.closed:
            raise self._ending()
        message = await self._websocket.receive()
        if message.type is aiohttp.WSMsgType.BINARY:
            data: bytes = message.data
            return data
        await self._end(message)
        raise self._ending()

    @override
    async def receive_many(self) -> list[bytes]:
        messages = [await self.receive()]
        # Each of these is in the buffer, so nothing below waits, and a cancelled task loses no message.
        while self._holds_message():
            messages.append((await self._websocket.receive()).data)
        return messages

    @override
    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self.closed:
            await self._ended.wait()
            return
        self._closed_here = True
        try:
            await self._shut(code, reason)
            self._close_code = code
            self._close_reason = reason
        finally:
            if self._close_code is None:
                self._close_code = 1006
            await self._release()

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
        transport = self._transport
        return 0 if transport is None or transport.is_closing() else transport.get_write_buffer_size()

    @property
    def server_certificate_digest(self) -> bytes | None:
        """SHA-256 of the certificate that the server showed; None without TLS, and on the server's side."""
        encryption = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        certificate = None if encryption is None else encryption.getpeercert(binary_form=True)
        return None if certificate is None else hashlib.sha256(certificate).digest()

    def _holds_message(self) -> bool:
        # aiohttp has no public way to ask whether `receive` would wait.
        reader = self._websocket._reader
        if reader is None or self.closed or not reader._buffer:
            return False
        return reader._buffer[0][0].type is aiohttp.WSMsgType.BINARY

    async def _end(self, message: aiohttp.WSMessage) -> None:
        if self._closed_here:
            return
        if message.type is aiohttp.WSMsgType.TEXT:
            code, reason = 1003, "this side takes binary messages only"
            await self._shut(code, reason)
        elif message.type is aiohttp.WSMsgType.CLOSE:
            # A close frame without a code counts as 1005 (RFC 6455, 7.1.5): an orderly end that says nothing.
            code, reason = message.data or 1005, message.extra or ""
        elif isinstance(message.data, WebSocketError):
            code, reason = message.data.code, "the message broke the WebSocket protocol or a limit"
        else:
            code, reason = 1006, ""
        self._close_code = int(code)
        self._close_reason = reason
        await self._release()

    async def _shut(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(self._close_timeout_seconds):
                await self._websocket.close(code=code, message=reason.encode()[:123])
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()

    async def _release(self) -> None:
        self._let_go()
        try:
            if self._session is not None:
                await self._session.close()
        finally:
            self._ended.set()

    def _let_go(self) -> None:
        # A closed transport lives on until its last byte has left, and so does whoever waits for room in it; over a
        # dead network that is a quarter of an hour. TLS has a time limit of its own.
        transport = self._transport
        if transport is None:
            return
        if self._close_code == 1006:
            transport.abort()
        elif not self._encrypted and transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(self._close_timeout_seconds, transport.abort)

    def _ending(self) -> TransportError:
        code = self._close_code
        if self._closed_here or code in CLEAN_CLOSE_CODES or code == 1005:
            return ConnectionClosed(close_code=code)
        if code == 1009:
            return TransportError("message_too_large", "a message was over the limit", close_code=code)
        text = "the connection was lost" if code == 1006 else f"the other side closed with {code}"
        return TransportError("abnormal_close", text, close_code=code)


class _WebSocketListener(Listener):
    def __init__(
        self,
        url: URL,
        handler: ConnectionHandler,
        max_message_bytes: int,
        heartbeat_seconds: float | None,
        close_timeout_seconds: float,
    ) -> None:
        self._url = url
        self._handler = handler
        self._max_message_bytes = max_message_bytes
        self._heartbeat_seconds = heartbeat_seconds
        self._close_timeout_seconds = close_timeout_seconds
        self._open: set[WebSocketConnection] = set()
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
        await asyncio.gather(*(connection.close(1001, "going away") for connection in set(self._open)))
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(
            compress=False,
            heartbeat=self._heartbeat_seconds,
            max_msg_size=self._max_message_bytes + 1,
            timeout=self._close_timeout_seconds,
        )
        await websocket.prepare(request)
        connection = WebSocketConnection(websocket, None, self._max_message_bytes, self._close_timeout_seconds)
        self._open.add(connection)
        try:
            await self._handler(connection)
        except TransportError:
            await connection.close(1001)
        except BaseException:
            await connection.close(1011, "internal error")
            raise
        finally:
            self._open.discard(connection)
            await connection.close()
        return websocket


def _websocket_url(endpoint: str) -> URL:
    try:
        url = URL(endpoint)
    except ValueError:
        url = URL()
    if url.scheme not in {"ws", "wss"} or not url.host:
        raise TransportError("transport_failure", "the endpoint is not a valid ws:// or wss:// URL")
    return url


def _refuse_redirects() -> aiohttp.TraceConfig:
    async def refuse(_session: object, _context: object, params: aiohttp.TraceRequestRedirectParams) -> None:
        status = params.response.status
        params.response.close()
        raise TransportError(
            "transport_failure",
            f"{place(params.url)} answered {status}: redirects are not followed; use the final address",
            http_status=status,
        )

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return trace
