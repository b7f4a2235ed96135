"""The transport interface (docs/protocol/peer.md, "Transport interface").

A transport carries whole messages, in order, between two ends. It knows nothing of sessions, keys or frames. Every
failure is a `TransportError`, whatever library is underneath.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeAlias

from sideband._native import MessageBatch, WireFrames
from sideband.errors import ConnectionClosed

__all__ = [
    "CLEAN_CLOSE_CODES",
    "DEFAULT_MAX_MESSAGE_BYTES",
    "BytesLike",
    "ConnectOptions",
    "Connection",
    "ConnectionHandler",
    "Listener",
    "Messages",
    "Transport",
]

BytesLike: TypeAlias = bytes | bytearray | memoryview
Messages: TypeAlias = Sequence[bytes] | MessageBatch
"""Messages in order: each is a `bytes` once it is asked for."""

DEFAULT_MAX_MESSAGE_BYTES = 1024 * 1024
"""Largest message a transport takes unless told otherwise: 1 MiB."""

CLEAN_CLOSE_CODES = frozenset({1000, 1001})
"""Close codes that end a connection in good order: normal closure and going away (RFC 6455, 7.4.1)."""


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """What one attempt to connect needs besides the endpoint.

    Attributes:
        headers: sent with the opening request where the transport has one; this is where a token belongs, never in the
            endpoint, because endpoints are logged. Not shown in `repr`.
        timeout_seconds: time for the whole attempt, name resolution and TLS included; None waits for ever. Default 30.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_seconds: float | None = 30.0


class Connection(ABC):
    """One open message connection.

    One task at a time may receive; several may send, and each message stays whole.
    """

    @abstractmethod
    async def send(self, data: BytesLike) -> None:
        """Send one message; wait while the transport's own buffer is over its bound.

        Raises:
            ConnectionClosed: the connection was closed in good order.
            TransportError: `message_too_large` when `data` is over the limit; `abnormal_close` when the connection is
                lost.
        """

    async def send_many(self, messages: Iterable[BytesLike]) -> None:
        """Send messages in order; same errors as `send`. Those before a failing one were handed over."""
        for message in messages:
            await self.send(message)

    @abstractmethod
    async def receive(self) -> bytes:
        """Return the next whole message.

        Raises:
            ConnectionClosed: the connection ended in good order.
            TransportError: it ended otherwise; `close_code` is set when the other side gave one.
        """

    @property
    def masks_frames(self) -> bool | None:
        """Whether frames for `send_framed` are to be masked; None, the default, when it cannot be used."""
        return None

    async def send_framed(self, wire: WireFrames) -> None:
        """Send messages that are WebSocket frames already, in order with all others; same errors as `send`.

        Args:
            wire: masked as `masks_frames` tells. Each message is within the limit, which is not checked again.
        """
        raise NotImplementedError

    async def receive_many(self) -> Messages:
        """Return all whole messages that have already arrived, in order; wait for one when there are none.

        What it returns is bounded by what the transport itself holds. An end of the connection that came after the
        messages is told by the next call. Same errors as `receive`.
        """
        return [await self.receive()]

    @abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close in good order and release everything. A second call, or one after the end, does nothing.

        Args:
            code: WebSocket close code, 1000 or 3000 to 4999 for an application's own.
            reason: text for people, at most 123 bytes of UTF-8; never a secret.
        """

    @abstractmethod
    async def wait_closed(self) -> None:
        """Wait until the connection has ended, for whatever cause. Never raises for that cause."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the connection has ended."""

    @property
    @abstractmethod
    def close_code(self) -> int | None:
        """The close code that ended the connection; 1006 when none was received; None while it is open."""

    @property
    @abstractmethod
    def close_reason(self) -> str:
        """The text that came with the close code; empty when there was none."""

    @property
    @abstractmethod
    def buffered_bytes(self) -> int:
        """Bytes accepted for sending that have not left this process."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.receive()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


ConnectionHandler: TypeAlias = Callable[[Connection], Awaitable[None]]
"""What a listener calls for each connection; the connection is closed when it returns."""


class Listener(ABC):
    """A listening endpoint."""

    @property
    @abstractmethod
    def address(self) -> str:
        """The endpoint to connect to, with the real port."""

    @abstractmethod
    async def close(self) -> None:
        """Stop accepting, close open connections with 1001, and wait for their handlers."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Transport(ABC):
    """A way to connect and to listen."""

    @abstractmethod
    async def connect(self, endpoint: str, options: ConnectOptions | None = None) -> Connection:
        """Open a connection.

        Raises:
            TransportError: with `http_status` and `retry_after` where the other side refused by HTTP.
        """

    @abstractmethod
    async def listen(self, endpoint: str, handler: ConnectionHandler) -> Listener:
        """Accept connections at `endpoint` and run `handler` for each in a task that the listener owns.

        Raises:
            TransportError: `transport_failure` when the endpoint cannot be bound.
        """
