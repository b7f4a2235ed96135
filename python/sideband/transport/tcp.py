"""TCP (docs/protocol/sbdp.md, "Wire"): `tcp://host:port`. It neither encrypts nor proves who is there."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable

from typing_extensions import override
from yarl import URL

from sideband.errors import TransportError, TransportErrorKind
from sideband.transport.base import (
    DEFAULT_MAX_MESSAGE_BYTES,
    BytesLike,
    ConnectionHandler,
    ConnectOptions,
    Listener,
    Transport,
)
from sideband.transport.framed import FramedConnection
from sideband.transport.served import ServedConnections

__all__ = ["TcpConnection", "TcpTransport", "host_and_port"]

WRITE_HIGH_BYTES = 1024 * 1024
"""Bytes that wait to be sent, over which a writer waits."""


class TcpTransport(Transport):
    """Connects to, and listens at, `tcp://host:port`.

    Args:
        max_message_bytes: largest message in either direction; default 1 MiB.
    """

    def __init__(self, *, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> None:
        self._max_message_bytes = max_message_bytes

    @override
    async def connect(self, endpoint: str, options: ConnectOptions | None = None) -> FramedConnection:
        """Open a connection.

        Raises:
            TransportError: `connection_refused`, `dns_failure`, `timeout` or `transport_failure`.
        """
        host, port = host_and_port(endpoint, "tcp")
        timeout = (options or ConnectOptions()).timeout_seconds
        # asyncio's race between addresses loses a socket when it is cancelled, and one address needs no race.
        delay = None if _is_address(host) else 0.25
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                _, connection = await loop.create_connection(
                    lambda: TcpConnection(self._max_message_bytes), host, port, happy_eyeballs_delay=delay
                )
        except OSError as error:  # TimeoutError is one
            raise _connect_failure(error, endpoint) from None
        return connection

    @override
    async def listen(self, endpoint: str, handler: ConnectionHandler) -> Listener:
        """Accept connections at `endpoint`; port 0 takes a free one, which `Listener.address` then names."""
        host, port = host_and_port(endpoint, "tcp")
        listener = _TcpListener(host, handler, self._max_message_bytes)
        await listener.start(port)
        return listener


class TcpConnection(FramedConnection, asyncio.Protocol):
    """One TCP connection.

    Args:
        max_message_bytes: largest message in either direction.
        on_open: told when it is connected.
    """

    transport_name = "tcp"

    def __init__(self, max_message_bytes: int, on_open: Callable[[TcpConnection], None] | None = None) -> None:
        super().__init__(max_message_bytes)
        self._on_open = on_open
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (narrows the type; TCP has no other)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        if self._on_open is not None:
            self._on_open(self)

    @override
    def data_received(self, data: bytes) -> None:
        self._received(data)

    @override
    def eof_received(self) -> None:
        return  # closes this side as well

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)

    @override
    def pause_writing(self) -> None:
        self._room.clear()

    @override
    def resume_writing(self) -> None:
        self._room.set()

    @property
    @override
    def buffered_bytes(self) -> int:
        transport = self._transport
        return 0 if transport is None or self._ended.is_set() else transport.get_write_buffer_size()

    @override
    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    @override
    def _write(self, data: BytesLike) -> None:
        if self._transport is not None:
            self._transport.write(data)

    @override
    def _shut(self) -> None:
        # First this direction only: closed at once, what the other side has sent meanwhile would turn the end into a
        # reset, which takes our last bytes away from it.
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write_eof()

    @override
    def _set_reading(self, reading: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()


class _TcpListener(Listener):
    def __init__(self, host: str, handler: ConnectionHandler, max_message_bytes: int) -> None:
        self._host = host
        self._max_message_bytes = max_message_bytes
        self._port = 0
        self._server: asyncio.Server | None = None
        self._served = ServedConnections(handler)

    async def start(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: TcpConnection(self._max_message_bytes, self._served.begin), self._host, port
            )
        except OSError as error:
            text = error.strerror or "the address is not available"
            raise TransportError("transport_failure", f"cannot listen at tcp://{self._host}:{port}: {text}") from None
        self._port = self._server.sockets[0].getsockname()[1]

    @property
    @override
    def address(self) -> str:
        return str(URL.build(scheme="tcp", host=self._host, port=self._port))

    def stop_accepting(self) -> None:
        """Take no more connections; those that are open go on."""
        if self._server is not None:
            self._server.close()

    @override
    async def close(self) -> None:
        self.stop_accepting()
        await self._served.close()
        if self._server is not None:
            await self._server.wait_closed()


def host_and_port(endpoint: str, scheme: str) -> tuple[str, int]:
    """Split `scheme://host:port`.

    Raises:
        TransportError: `transport_failure` when it is something else.
    """
    try:
        url = URL(endpoint)
        if url.scheme == scheme and url.host and url.explicit_port is not None and url.path in ("", "/"):
            return url.host, url.explicit_port
    except ValueError:
        pass
    raise TransportError("transport_failure", f"an endpoint here is {scheme}://host:port")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _connect_failure(error: OSError, endpoint: str) -> TransportError:
    kind: TransportErrorKind = "transport_failure"
    text = error.strerror or "the connection failed"
    if isinstance(error, TimeoutError):
        kind, text = "timeout", "no connection within the time allowed"
    elif isinstance(error, socket.gaierror):
        kind, text = "dns_failure", "the host name could not be resolved"
    elif isinstance(error, ConnectionRefusedError) or error.errno in (errno.ECONNREFUSED, None):
        kind, text = "connection_refused", "the connection was refused; is the other side listening?"
    return TransportError(kind, f"{endpoint}: {text}")
