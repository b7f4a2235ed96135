"""QUIC (docs/protocol/sbdp.md, "Wire"): `quic://host:port`, one bidirectional stream, by aioquic (extra `quic`).

Each listener makes its own certificate, which nobody has signed: QUIC hides what passes from onlookers, and the
handshake above proves who is there. That is bound to the certificate's digest, so whoever puts his own in between
breaks it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

from typing_extensions import override
from yarl import URL

from sideband.errors import ConfigError, TransportError
from sideband.transport.base import (
    DEFAULT_MAX_MESSAGE_BYTES,
    BytesLike,
    ConnectionHandler,
    ConnectOptions,
    Listener,
    Transport,
)
from sideband.transport.framed import HIGH_WATER_BYTES, FramedConnection
from sideband.transport.tcp import host_and_port, serve_until_done

try:
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.asyncio.server import QuicServer
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection as Wire
    from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset
except ImportError as missing:
    raise ConfigError("QUIC needs another package: pip install 'sideband[quic]'") from missing

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["MAX_CONNECTIONS", "QuicConnection", "QuicTransport"]

ALPN = "sbdp/1"
STREAM_ID = 0
WINDOW_BYTES = 8 * 1024 * 1024
"""Bytes under way that this side takes."""
WRITE_HIGH_BYTES = 4 * 1024 * 1024
"""Bytes not yet acknowledged, over which a writer waits."""
IDLE_SECONDS = 60.0
MAX_CONNECTIONS = 1024
"""Connections of one listener at a time, those that are being made included."""
MAX_HALF_OPEN = 64
"""Of these, connections whose stream has not begun; beyond, the oldest is dropped."""
HALF_OPEN_SECONDS = 10.0
"""How long one of them may take to begin it."""


class QuicTransport(Transport):
    """Connects to, and listens at, `quic://host:port`.

    Args:
        max_message_bytes: largest message in either direction; default 1 MiB.
        sock: the UDP socket to use, such as one whose address a STUN server has told; a fresh one by default.
        max_half_open: connections of a listener whose stream has not begun; beyond, the oldest is dropped. 64.
        half_open_seconds: how long one may take to begin it; 10.

    Raises:
        ConfigError: a limit would let nobody in.
    """

    def __init__(
        self,
        *,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        sock: socket.socket | None = None,
        max_half_open: int = MAX_HALF_OPEN,
        half_open_seconds: float = HALF_OPEN_SECONDS,
    ) -> None:
        if max_half_open < 1 or half_open_seconds <= 0:
            raise ConfigError("max_half_open is at least 1 and half_open_seconds more than 0")
        self._max_message_bytes = max_message_bytes
        self._socket = sock
        self._max_half_open = max_half_open
        self._half_open_seconds = half_open_seconds

    @override
    async def connect(self, endpoint: str, options: ConnectOptions | None = None) -> FramedConnection:
        """Open a connection.

        Raises:
            TransportError: `dns_failure`, `timeout`, `connection_refused` or `transport_failure`.
        """
        host, port = host_and_port(endpoint, "quic")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout((options or ConnectOptions()).timeout_seconds):
                infos = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
                family, _, _, _, address = infos[0]
                sock = self._socket or _bound(family, "::" if family == socket.AF_INET6 else "0.0.0.0", 0)  # noqa: S104  (a client's own end)
                configuration = _configuration(is_client=True)
                configuration.verify_mode = ssl.CERT_NONE
                _, connection = await loop.create_datagram_endpoint(
                    lambda: QuicConnection(
                        Wire(configuration=configuration), self._max_message_bytes, owns_socket=True
                    ),
                    sock=sock,
                )
                try:
                    connection.dial(address)
                    await connection.opened
                except BaseException:
                    connection.abort()
                    raise
        except socket.gaierror:
            raise TransportError("dns_failure", f"{endpoint}: the host name could not be resolved") from None
        except TimeoutError:
            raise TransportError("timeout", f"{endpoint}: no connection within the time allowed") from None
        except OSError as error:
            raise TransportError("transport_failure", f"{endpoint}: {error.strerror or 'it failed'}") from None
        return connection

    @override
    async def listen(self, endpoint: str, handler: ConnectionHandler) -> Listener:
        """Accept connections at `endpoint`; port 0 takes a free one, which `Listener.address` then names."""
        host, port = host_and_port(endpoint, "quic")
        limits = self._max_message_bytes, self._max_half_open, self._half_open_seconds
        listener = _QuicListener(host, handler, *limits)
        await listener.start(port, self._socket)
        return listener


class QuicConnection(FramedConnection, QuicConnectionProtocol):
    """One QUIC connection, of which one stream is used.

    Args:
        wire: aioquic's connection.
        max_message_bytes: largest message in either direction.
        owns_socket: whether the UDP socket is closed with it.
        on_open: told when the stream has begun.
        on_end: told when the connection is over.
        binding: SHA-256 of this side's certificate, on a listener.
    """

    transport_name = "quic"

    def __init__(
        self,
        wire: Any,
        max_message_bytes: int,
        *,
        owns_socket: bool,
        on_open: Callable[[QuicConnection], None] | None = None,
        on_end: Callable[[QuicConnection], object] | None = None,
        binding: bytes = b"",
    ) -> None:
        QuicConnectionProtocol.__init__(self, wire)
        FramedConnection.__init__(self, max_message_bytes)
        self.binding = binding
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owns_socket = owns_socket
        self._on_open = on_open
        self._on_end = on_end
        self._drained = asyncio.Event()
        self._gone = False

    def dial(self, address: Any) -> None:
        """Begin; `opened` tells when it stands."""
        QuicConnectionProtocol.connect(self, address)
        self._connected_waiter = self._loop.create_future()
        self._connected_waiter.add_done_callback(self._shaken)

    @override
    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            if event.stream_id != STREAM_ID:
                self.abort()
                return
            if self._on_open is not None:
                on_open, self._on_open = self._on_open, None
                on_open(self)
            self._received(event.data)
            if event.end_stream:
                self._finish()
        elif isinstance(event, StreamReset):
            self.abort()
        elif isinstance(event, ConnectionTerminated):
            self._finish()

    @override
    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        QuicConnectionProtocol.datagram_received(self, data, addr)
        left = self.buffered_bytes
        if left < WRITE_HIGH_BYTES // 2:
            self._room.set()
        if not left:
            self._drained.set()

    def error_received(self, exc: Exception) -> None:
        """An ICMP answer came: nobody is there, or nobody any more."""
        del exc  # always the same one
        if not self.opened.done():
            self.opened.set_exception(
                TransportError("connection_refused", "the connection was refused; is the other side listening?")
            )

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    @property
    @override
    def buffered_bytes(self) -> int:
        # aioquic has no public way to tell how much of a stream is under way.
        stream = self._quic._streams.get(STREAM_ID)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start

    @override
    async def close(self, code: int = 1000, reason: str = "") -> None:  # type: ignore[override]  # aioquic's is never called
        if not self._gone and not self._closed_here:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    # QUIC's own close drops what is under way, our last record included.
                    await self._flushed()
        await FramedConnection.close(self, code, reason)

    @override
    def abort(self) -> None:
        if not self._gone:
            self._quic.close(reason_phrase="")
            self.transmit()
            self._finish()

    @override
    def _write(self, data: BytesLike) -> None:
        self._quic.send_stream_data(STREAM_ID, bytes(data))
        self.transmit()
        if self.buffered_bytes > WRITE_HIGH_BYTES:
            self._room.clear()

    @override
    def _shut(self) -> None:
        self.abort()

    @override
    def _set_reading(self, reading: bool) -> None:
        # aioquic opens its window as it hands data over, so that nothing below can be held back. Sessions always read;
        # who floods one that has not begun is cut off.
        if not reading and (self._decode is None or self._held > 16 * HIGH_WATER_BYTES):
            self._loop.call_soon(self.abort)

    async def _flushed(self) -> None:
        while self.buffered_bytes and not self._gone:
            self._drained.clear()
            await self._drained.wait()

    def _shaken(self, waiter: asyncio.Future[None]) -> None:
        if self.opened.done():
            return
        if waiter.cancelled() or waiter.exception() is not None:
            self.opened.set_exception(TransportError("connection_refused", "the other side ended the connection"))
            return
        certificate = self._quic.tls._peer_certificate
        if certificate is None:
            self.opened.set_exception(TransportError("tls_failure", "the other side showed no certificate"))
            return
        self.binding = _digest(certificate)
        self.opened.set_result(None)

    def _finish(self) -> None:
        if self._gone:
            return
        self._gone = True
        if not self.opened.done():
            self.opened.set_exception(TransportError("abnormal_close", "the connection was lost while it was made"))
            self.opened.exception()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._owns_socket and self._transport is not None:
            self._transport.close()
        self._drained.set()
        self._connection_terminated_handler()  # or aioquic's server would know it for ever
        self._lost(None)
        if self._on_end is not None:
            self._on_end(self)


class _QuicListener(Listener):
    def __init__(
        self,
        host: str,
        handler: ConnectionHandler,
        max_message_bytes: int,
        max_half_open: int,
        half_open_seconds: float,
    ) -> None:
        self._host = host
        self._handler = handler
        self._max_message_bytes = max_message_bytes
        self._max_half_open = max_half_open
        self._half_open_seconds = half_open_seconds
        self._port = 0
        self._server: Any = None
        self._made: set[QuicConnection] = set()
        self._half_open: dict[QuicConnection, asyncio.TimerHandle] = {}
        self._served: dict[asyncio.Task[None], QuicConnection] = {}

    async def start(self, port: int, sock: socket.socket | None) -> None:
        certificate, key = _self_made()
        configuration = _configuration(is_client=False)
        configuration.certificate, configuration.private_key = certificate, key
        binding = _digest(certificate)
        loop = asyncio.get_running_loop()

        def make(wire: Any, stream_handler: object = None) -> QuicConnection:
            del stream_handler
            connection = QuicConnection(
                wire,
                self._max_message_bytes,
                owns_socket=False,
                on_open=self._opened,
                on_end=self._ended,
                binding=binding,
            )
            if len(self._half_open) >= self._max_half_open:
                next(iter(self._half_open)).abort()
            if len(self._made) >= MAX_CONNECTIONS:
                loop.call_soon(connection.abort)
            self._made.add(connection)
            self._half_open[connection] = loop.call_later(self._half_open_seconds, connection.abort)
            return connection

        try:
            if sock is None:
                infos = await loop.getaddrinfo(self._host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
                sock = _bound(infos[0][0], str(infos[0][4][0]), port)
            _, self._server = await loop.create_datagram_endpoint(
                lambda: QuicServer(configuration=configuration, create_protocol=make), sock=sock
            )
        except OSError as error:
            text = error.strerror or "the address is not available"
            raise TransportError("transport_failure", f"cannot listen at quic://{self._host}:{port}: {text}") from None
        self._port = sock.getsockname()[1]

    @property
    @override
    def address(self) -> str:
        return str(URL.build(scheme="quic", host=self._host, port=self._port))

    @override
    async def close(self) -> None:
        served = dict(self._served)
        await asyncio.gather(*(connection.close(1001, "going away") for connection in served.values()))
        if served:
            await asyncio.wait(served)
        for connection in tuple(self._made):
            connection.abort()
        if self._server is not None:
            self._server._transport.close()
            await asyncio.sleep(0)  # the loop closes the socket in its next round

    def _opened(self, connection: QuicConnection) -> None:
        self._begun(connection)
        task = asyncio.get_running_loop().create_task(serve_until_done(self._handler, connection))
        self._served[task] = connection
        task.add_done_callback(self._served.pop)

    def _begun(self, connection: QuicConnection) -> None:
        late = self._half_open.pop(connection, None)
        if late is not None:
            late.cancel()

    def _ended(self, connection: QuicConnection) -> None:
        self._begun(connection)
        self._made.discard(connection)


def _configuration(*, is_client: bool) -> QuicConfiguration:
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[ALPN],
        congestion_control_algorithm="cubic",
        idle_timeout=IDLE_SECONDS,
        max_data=WINDOW_BYTES,
        max_stream_data=WINDOW_BYTES,
        server_name="sideband" if is_client else None,
    )


def _bound(family: int, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            # The kernel cuts it to what an administrator allows; the default drops bursts.
            sock.setsockopt(socket.SOL_SOCKET, option, 4 * 1024 * 1024)
        if family == socket.AF_INET6:
            # As asyncio does it for TCP: the same port may be had for IPv4 besides.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _self_made() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sideband")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _digest(certificate: x509.Certificate) -> bytes:
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()
