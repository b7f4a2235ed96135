"""A transport inside one process: for tests, and for peers that share an event loop."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from typing_extensions import override

from sideband.errors import ConnectionClosed, TransportError
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

__all__ = ["DEFAULT_BOUND_BYTES", "MemoryConnection", "MemoryTransport", "memory_pair"]

DEFAULT_BOUND_BYTES = 1024 * 1024
"""Bytes one side may have under way before `send` waits: 1 MiB."""

_log = logging.getLogger("sideband.transport")


def memory_pair(
    *, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES, bound_bytes: int = DEFAULT_BOUND_BYTES
) -> tuple[MemoryConnection, MemoryConnection]:
    """Return two connected ends.

    Args:
        max_message_bytes: largest message, default 1 MiB.
        bound_bytes: bytes under way in one direction before `send` waits, default 1 MiB.
    """
    left = MemoryConnection(max_message_bytes, bound_bytes)
    right = MemoryConnection(max_message_bytes, bound_bytes)
    left._peer = right
    right._peer = left
    return left, right


class MemoryConnection(Connection):
    """One end of a `memory_pair`."""

    def __init__(self, max_message_bytes: int, bound_bytes: int) -> None:
        self._peer: MemoryConnection = self
        self._max_message_bytes = max_message_bytes
        self._bound_bytes = bound_bytes
        self._inbox: deque[bytes] = deque()
        self._inbox_bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._ended = asyncio.Event()
        self._close_code: int | None = None
        self._close_reason = ""
        self._closed_here = False

    @override
    async def send(self, data: BytesLike) -> None:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if size > self._max_message_bytes:
            raise TransportError(
                "message_too_large", f"a message of {size} bytes is over the limit of {self._max_message_bytes}"
            )
        self._raise_if_ended()
        self._peer._deliver(bytes(data), size)
        while not self._peer._room.is_set() and self._close_code is None:
            await self._peer._room.wait()

    @override
    async def receive(self) -> bytes:
        await self._arrival()
        message = self._inbox.popleft()
        self._inbox_bytes -= len(message)
        if self._inbox_bytes <= self._bound_bytes:
            self._room.set()
        return message

    @override
    async def receive_many(self) -> list[bytes]:
        await self._arrival()
        messages = list(self._inbox)
        self._inbox.clear()
        self._inbox_bytes = 0
        self._room.set()
        return messages

    @override
    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self._close_code is None:
            self._closed_here = True
            self._end(code, reason)
            self._peer._end(code, reason)

    def abort(self) -> None:
        """Lose the connection as a cut cable does: both ends fail with `abnormal_close`, what was under way is gone."""
        for end in (self, self._peer):
            end._inbox.clear()
            end._inbox_bytes = 0
            end._end(1006, "")

    @override
    async def wait_closed(self) -> None:
        await self._ended.wait()

    @property
    @override
    def closed(self) -> bool:
        return self._close_code is not None

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
        return self._peer._inbox_bytes

    async def _arrival(self) -> None:
        while not self._inbox:
            self._raise_if_ended()
            self._changed.clear()
            await self._changed.wait()

    def _deliver(self, message: bytes, size: int) -> None:
        self._inbox.append(message)
        self._inbox_bytes += size
        if self._inbox_bytes > self._bound_bytes:
            self._room.clear()
        self._changed.set()

    def _end(self, code: int, reason: str) -> None:
        if self._close_code is None:
            self._close_code = code
            self._close_reason = reason
        self._ended.set()
        self._changed.set()
        self._room.set()

    def _raise_if_ended(self) -> None:
        code = self._close_code
        if code is None:
            return
        if self._closed_here or code in CLEAN_CLOSE_CODES:
            raise ConnectionClosed(close_code=code)
        raise TransportError("abnormal_close", "the connection was lost", close_code=code)


class MemoryTransport(Transport):
    """Connections by name: `memory://name`. Every instance is a network of its own."""

    def __init__(self, *, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> None:
        self._max_message_bytes = max_message_bytes
        self._listeners: dict[str, _MemoryListener] = {}

    @override
    async def connect(self, endpoint: str, options: ConnectOptions | None = None) -> Connection:
        listener = self._listeners.get(endpoint)
        if listener is None:
            raise TransportError("connection_refused", f"nothing listens at {endpoint}")
        near, far = memory_pair(max_message_bytes=self._max_message_bytes)
        listener.accept(far)
        return near

    @override
    async def listen(self, endpoint: str, handler: ConnectionHandler) -> Listener:
        if endpoint in self._listeners:
            raise TransportError("transport_failure", f"{endpoint} is already in use")
        listener = _MemoryListener(self._listeners, endpoint, handler)
        self._listeners[endpoint] = listener
        return listener


class _MemoryListener(Listener):
    def __init__(self, registry: dict[str, _MemoryListener], endpoint: str, handler: ConnectionHandler) -> None:
        self._registry = registry
        self._endpoint = endpoint
        self._handler = handler
        self._served: dict[asyncio.Task[None], MemoryConnection] = {}

    @property
    @override
    def address(self) -> str:
        return self._endpoint

    def accept(self, connection: MemoryConnection) -> None:
        task = asyncio.create_task(self._serve(connection), name=f"serve {self._endpoint}")
        self._served[task] = connection
        task.add_done_callback(self._served.pop)

    @override
    async def close(self) -> None:
        if self._registry.get(self._endpoint) is self:
            del self._registry[self._endpoint]
        served = dict(self._served)
        for connection in served.values():
            await connection.close(1001, "going away")
        if served:
            await asyncio.wait(served)

    async def _serve(self, connection: MemoryConnection) -> None:
        try:
            await self._handler(connection)
        except TransportError:
            await connection.close(1001)
        except Exception:  # noqa: BLE001  (the listener outlives a handler that fails; the failure is logged)
            _log.exception("a connection handler failed")
            await connection.close(1011, "internal error")
        finally:
            await connection.close()
