"""Who is dialled by QUIC: many connections on one UDP socket, told apart by their connection ids (RFC 9000, 5.2)."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import socket

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typing_extensions import override
from yarl import URL

from sideband.errors import TransportError
from sideband.transport.base import ConnectionHandler, Listener
from sideband.transport.quic_connection import IDLE_SECONDS, QuicConnection, configuration, new_wire
from sideband.transport.quic_retry import ID_BYTES, VERSION_1, FirstDatagram, RetryTokens, version_negotiation
from sideband.transport.served import ServedConnections
from sideband.transport.udp import Address, UdpReceiver, UdpSocket, bound_socket, open_udp

__all__ = ["MAX_CONNECTIONS", "QuicListener"]

MAX_CONNECTIONS = 1024
"""Connections of one listener at a time, those that are being made included; who comes then gets no answer."""


class QuicListener(Listener, UdpReceiver):
    """A listening UDP socket.

    Each makes its own certificate, which nobody has signed.

    Args:
        host: to listen at.
        handler: called for each connection whose stream has begun.
        max_message_bytes: largest message in either direction.
        max_half_open: connections whose stream has not begun; beyond, the oldest is dropped.
        half_open_seconds: how long one may take to begin it.
        max_connections: connections at a time.
        idle_seconds: silence after which a connection is over.
    """

    def __init__(
        self,
        host: str,
        handler: ConnectionHandler,
        *,
        max_message_bytes: int,
        max_half_open: int,
        half_open_seconds: float,
        max_connections: int = MAX_CONNECTIONS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._host = host
        self._max_message_bytes = max_message_bytes
        self._max_half_open = max_half_open
        self._half_open_seconds = half_open_seconds
        self._max_connections = max_connections
        self._port = 0
        self._udp: UdpSocket | None = None
        self._accepting = True
        self._configuration = configuration(is_client=False, idle_seconds=idle_seconds)
        certificate, key, self._binding = _self_made()
        self._configuration.load_cert_chain(certificate, key)
        self._tokens = RetryTokens()
        self._by_id: dict[bytes, QuicConnection] = {}
        self._ids: dict[QuicConnection, set[bytes]] = {}
        self._half_open: dict[QuicConnection, asyncio.TimerHandle] = {}
        self._served = ServedConnections(handler)
        self._touched: set[QuicConnection] = set()

    async def start(self, port: int, sock: socket.socket | None) -> None:
        """Listen.

        Raises:
            TransportError: `transport_failure` when the address is not available.
        """
        loop = asyncio.get_running_loop()
        try:
            if sock is None:
                infos = await loop.getaddrinfo(self._host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
                sock = bound_socket(infos[0][0], str(infos[0][4][0]), port)
            self._udp = await open_udp(sock, self)
        except OSError as error:
            text = error.strerror or "the address is not available"
            raise TransportError("transport_failure", f"cannot listen at quic://{self._host}:{port}: {text}") from None
        self._port = sock.getsockname()[1]

    @property
    @override
    def address(self) -> str:
        return str(URL.build(scheme="quic", host=self._host, port=self._port))

    def stop_accepting(self) -> None:
        """Take no more connections; those that are open go on."""
        self._accepting = False

    @override
    async def close(self) -> None:
        self.stop_accepting()
        await self._served.close()
        for connection in tuple(self._ids):
            connection.abort()
        if self._udp is not None:
            self._udp.close()
            await asyncio.sleep(0)  # asyncio's own socket is closed in the loop's next round

    @override
    def datagrams_received(self, data: bytes, size: int, address: Address) -> None:
        target = _target(data)
        connection = self._by_id.get(target)
        if connection is None:
            connection = self._make(data[:size], address)
        if connection is not None:
            connection.datagrams_received(data, size, address)
            self._touched.add(connection)

    @override
    def all_received(self) -> None:
        touched, self._touched = self._touched, set()
        for connection in touched:
            connection.all_received()

    @override
    def refused(self) -> None:
        return  # whoever has gone is found out by silence

    # What follows is private.

    def _make(self, datagram: bytes, address: Address) -> QuicConnection | None:
        # Smaller ones come from nobody who means it, and an answer would be larger than they are (RFC 9000, 14.1).
        if len(datagram) < _MIN_FIRST_BYTES or self._udp is None or not self._accepting:
            return None
        first = FirstDatagram.parse(datagram) if datagram[0] & _LONG else None
        if first is None or len(self._ids) >= self._max_connections:
            return None
        if first.version != VERSION_1:
            if first.version:
                self._udp.send([version_negotiation(first)], address)
            return None
        original, proven = first.target, None
        if first.token:
            before = self._tokens.original_target(first, address)
            if before is not None:
                original, proven = before, first.target
        if proven is None and self._wants_proof(first, len(datagram)):
            self._udp.send([self._tokens.retry(first, address)], address)
            return None
        if len(self._half_open) >= self._max_half_open:
            next(iter(self._half_open)).abort()
        wire = new_wire(self._configuration, original, proven)
        ids = {first.target, wire.host_cid}

        def on_id(name: bytes, valid: bool) -> None:
            if valid:
                ids.add(name)
                self._by_id[name] = connection
            else:
                ids.discard(name)
                self._by_id.pop(name, None)

        connection = QuicConnection(
            wire,
            self._max_message_bytes,
            binding=self._binding,
            on_id=on_id,
            on_open=self._opened,
            on_end=self._ended,
        )
        self._ids[connection] = ids
        self._by_id.update(dict.fromkeys(ids, connection))
        late = asyncio.get_running_loop().call_later(self._half_open_seconds, connection.abort)
        self._half_open[connection] = late
        connection.answer(self._udp)
        return connection

    def _wants_proof(self, first: FirstDatagram, size: int) -> bool:
        # Of one who pads behind his packet qh3 counts the packet only, three times of which is too little for our
        # certificate; an address that is proven has no such limit. When many have come and said no more, whose
        # addresses may be made up, everybody has to prove his.
        return first.packet_bytes < size or len(self._half_open) * 2 >= self._max_half_open

    def _opened(self, connection: QuicConnection) -> None:
        self._begun(connection)
        self._served.begin(connection)

    def _begun(self, connection: QuicConnection) -> None:
        late = self._half_open.pop(connection, None)
        if late is not None:
            late.cancel()

    def _ended(self, connection: QuicConnection) -> None:
        self._begun(connection)
        for name in self._ids.pop(connection, ()):
            self._by_id.pop(name, None)


def _target(datagram: bytes) -> bytes:
    """Return the connection id that a datagram is for, which may be any bytes (RFC 8999, 5)."""
    if datagram[0] & _LONG:
        return datagram[6 : 6 + datagram[5]] if len(datagram) > 6 else b""
    return datagram[1 : 1 + ID_BYTES]


def _self_made() -> tuple[bytes, bytes, bytes]:
    """Return a certificate and its key as PEM, and the SHA-256 of the certificate."""
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
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()
    return certificate.public_bytes(serialization.Encoding.PEM), secret, digest


_LONG = 0x80
_MIN_FIRST_BYTES = 1200
