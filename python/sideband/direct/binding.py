"""What a handshake is bound to besides keys: the prologue (docs/protocol/sbdp.md, "Prologue")."""

from __future__ import annotations

import struct

from sideband.errors import ConfigError
from sideband.transport import Connection, MemoryConnection, WebSocketConnection
from sideband.transport.framed import FramedConnection

__all__ = ["VERSION", "binding_of", "prologue"]

VERSION = b"sbdp/1"


def prologue(transport_name: str, binding: bytes) -> bytes:
    """Return the prologue: version, the transport's name and its binding, each with its length (u16 big-endian)."""
    parts = (VERSION, transport_name.encode(), binding)
    return b"".join(struct.pack(">H", len(part)) + part for part in parts)


def binding_of(connection: Connection, tls_certificate: bytes | None) -> tuple[str, bytes]:
    """Return a connection's transport name and its binding.

    Args:
        connection: one that carries direct sessions.
        tls_certificate: SHA-256 of the certificate that clients of a WebSocket listener are shown; the client's side
            takes it from the connection.

    Raises:
        ConfigError: the transport has no name here.
    """
    match connection:
        case MemoryConnection():
            return "memory", b""
        case WebSocketConnection():
            shown = connection.server_certificate_digest
            return "ws", shown if shown is not None else tls_certificate or b""
        case FramedConnection():
            return connection.transport_name, connection.binding
        case _:
            name, binding = getattr(connection, "transport_name", None), getattr(connection, "binding", b"")
            if isinstance(name, str):
                return name, binding
            raise ConfigError(f"direct sessions do not run over {type(connection).__name__}")
