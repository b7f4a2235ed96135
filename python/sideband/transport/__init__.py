"""Message transports: one interface, and the implementations that need nothing beyond this package."""

from sideband.transport.base import Connection, ConnectionHandler, ConnectOptions, Listener, Transport
from sideband.transport.memory import MemoryConnection, MemoryTransport, memory_pair
from sideband.transport.websocket import WebSocketTransport

__all__ = [
    "ConnectOptions",
    "Connection",
    "ConnectionHandler",
    "Listener",
    "MemoryConnection",
    "MemoryTransport",
    "Transport",
    "WebSocketTransport",
    "memory_pair",
]
