"""QUIC (docs/protocol/sbdp.md, "Wire"): `quic://host:port`, one bidirectional stream, by qh3 (extra `quic`).

Each listener makes its own certificate, which nobody has signed: QUIC hides what passes from onlookers, and the
handshake above proves who is there. That is bound to the certificate's digest, so whoever puts his own in between
breaks it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from typing_extensions import override

from sideband.errors import ConfigError, TransportError
from sideband.transport.base import (
    DEFAULT_MAX_MESSAGE_BYTES,
    ConnectionHandler,
    ConnectOptions,
    Listener,
    Transport,
)
from sideband.transport.framed import FramedConnection
from sideband.transport.quic_connection import ALPN, IDLE_SECONDS, QuicConnection, configuration, new_wire
from sideband.transport.quic_listener import MAX_CONNECTIONS, QuicListener
from sideband.transport.tcp import host_and_port
from sideband.transport.udp import Address, bound_socket, open_udp

__all__ = ["ALPN", "MAX_CONNECTIONS", "QuicConnection", "QuicTransport"]

MAX_HALF_OPEN = 64
"""Of a listener's connections, those whose stream has not begun; beyond, the oldest is dropped."""
HALF_OPEN_SECONDS = 10.0
"""How long one of them may take to begin it."""


class QuicTransport(Transport):
    """Connects to, and listens at, `quic://host:port`.

    Args:
        max_message_bytes: largest message in either direction; default 1 MiB.
        sock: the UDP socket to use, such as one whose address a STUN server has told; a fresh one by default.
        max_half_open: connections of a listener whose stream has not begun; beyond, the oldest is dropped. 64.
        half_open_seconds: how long one may take to begin it; 10.
        max_connections: connections of a listener at a time, those that are being made included; 1,024.
        idle_seconds: silence after which a connection is over, of either side's the smaller one; 60.

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
        max_connections: int = MAX_CONNECTIONS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        if min(max_half_open, max_connections) < 1 or min(half_open_seconds, idle_seconds) <= 0:
            raise ConfigError("limits of connections are at least 1, half_open_seconds and idle_seconds more than 0")
        self._max_message_bytes = max_message_bytes
        self._socket = sock
        self._max_half_open = max_half_open
        self._half_open_seconds = half_open_seconds
        self._max_connections = max_connections
        self._idle_seconds = idle_seconds

    @override
    async def connect(self, endpoint: str, options: ConnectOptions | None = None) -> FramedConnection:
        """Open a connection.

        Raises:
            TransportError: `dns_failure`, `timeout`, `connection_refused`, `tls_failure` or `transport_failure`.
        """
        host, port = host_and_port(endpoint, "quic")
        try:
            async with asyncio.timeout((options or ConnectOptions()).timeout_seconds):
                infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
                family, _, _, _, address = infos[0]
                sock = self._socket or _connected(family, address)
                wire = configuration(is_client=True, idle_seconds=self._idle_seconds)
                wire.verify_mode = ssl.CERT_NONE
                connection = QuicConnection(new_wire(wire), self._max_message_bytes)
                udp = await open_udp(sock, connection)
                try:
                    await connection.dial(udp, address)
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
        listener = QuicListener(
            host,
            handler,
            max_message_bytes=self._max_message_bytes,
            max_half_open=self._max_half_open,
            half_open_seconds=self._half_open_seconds,
            max_connections=self._max_connections,
            idle_seconds=self._idle_seconds,
        )
        await listener.start(port, self._socket)
        return listener


def _connected(family: int, address: Address) -> socket.socket:
    # Connected, so that it is told when nobody listens there; a server's other addresses do not count in QUIC anyway.
    sock = bound_socket(family, "::" if family == socket.AF_INET6 else "0.0.0.0", 0)  # noqa: S104  (its own end)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock
