"""Message transports: one interface, and the implementations that need nothing beyond this package."""

from sideband.transport.base import Connection, ConnectionHandler, ConnectOptions, Listener, Transport
from sideband.transport.memory import MemoryConnection, MemoryTransport, memory_pair
from sideband.transport.tcp import TcpConnection, TcpTransport
from sideband.transport.websocket import WebSocketConnection, WebSocketTransport

__all__ = [
    "ConnectOptions",
    "Connection",
    "ConnectionHandler",
    "Listener",
    "MemoryConnection",
    "MemoryTransport",
    "TcpConnection",
    "TcpTransport",
    "Transport",
    "WebSocketConnection",
    "WebSocketTransport",
    "memory_pair",
]
