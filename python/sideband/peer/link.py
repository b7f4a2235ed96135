"""What a negotiator makes of a transport connection: a way for whole SBP frames, and the news about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from typing_extensions import override

from sideband._native import frame_messages
from sideband.protocol.limits import MAX_PLAIN_FRAME_BYTES
from sideband.protocol.streams.schedule import Frame
from sideband.transport.base import Connection

__all__ = ["Link", "LinkInfo", "LinkSignal", "PlainLink"]


class LinkSignal(Enum):
    """What may happen to a session besides frames."""

    PAUSED = "paused"
    """The other end lost its connection to the relay; nothing may be sent until RESUMED."""
    PENDING = "pending"
    """The other end is back and has not yet said whether it knows the session."""
    RESUMED = "resumed"
    """The session goes on with the same keys."""


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What a session needs to know about its link.

    Attributes:
        max_frame_payload: bytes of the largest SBP frame that it carries.
        resumable: whether the session outlives the loss of the other end's connection.
        path: how it runs: "relay", "direct" without encryption, or "direct:" and the transport's name.
        identity_key: the other side's key that the session was made under, 32 bytes; None without one.
        session_id: the session's id at the relay, None without one.
        replaced_key: the key that was pinned before `identity_key`, when that took its place just now.
        remote_name: the name that the other side's pinned key stands for; None where only relays know names.
        keeps_streams: whether streams outlive the session, to go on in the next one, though it cannot be resumed.
    """

    max_frame_payload: int = MAX_PLAIN_FRAME_BYTES
    resumable: bool = False
    path: str = "direct"
    identity_key: bytes | None = None
    session_id: int | None = None
    replaced_key: bytes | None = None
    remote_name: str | None = None
    keeps_streams: bool = False


class Link(ABC):
    """A negotiated way for whole SBP frames."""

    @property
    @abstractmethod
    def info(self) -> LinkInfo:
        """What a session needs to know about it."""

    @abstractmethod
    async def receive(self) -> Sequence[bytes] | LinkSignal:
        """Return the next frames, or the next piece of news.

        Raises:
            TransportError: the connection ended.
            SbrpError: the session ended.
        """

    @abstractmethod
    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames in order; a tuple is one in parts. What is to be encrypted is encrypted before the first wait.

        Raises:
            TransportError: the connection ended.
            SbrpError: the session ended.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the connection in good order. Calling it again does nothing."""

    async def leave(self) -> None:
        """The session goes on by another way: give this one up, connection included."""
        await self.close()


class PlainLink(Link):
    """SBP directly on a message transport, one frame a message.

    Args:
        connection: the transport connection.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._info = LinkInfo()

    @property
    @override
    def info(self) -> LinkInfo:
        return self._info

    @override
    async def receive(self) -> Sequence[bytes]:
        messages = await self._connection.receive_many()
        return messages if isinstance(messages, Sequence) else messages[:]

    @override
    async def send(self, frames: Sequence[Frame]) -> None:
        connection = self._connection
        masked = connection.masks_frames
        if masked is None:
            await connection.send_many([frame if isinstance(frame, bytes) else b"".join(frame) for frame in frames])
        else:
            await connection.send_framed(frame_messages(frames, masked))

    @override
    async def close(self) -> None:
        await self._connection.close()
