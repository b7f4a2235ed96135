"""What accepts peers, whatever carries them (docs/protocol/peer.md, "Server side")."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from sideband.peer.peer import Peer

__all__ = ["Server"]


class Server(ABC):
    """A place where peers connect, and the peers that did. `listen` makes one."""

    @property
    @abstractmethod
    def address(self) -> str:
        """The endpoint to connect to, with the real port; for a daemon, its relay."""

    @property
    @abstractmethod
    def connections(self) -> tuple[Peer, ...]:
        """The peers that are active or paused, oldest first."""

    @abstractmethod
    async def close(self) -> None:
        """Stop accepting, tell every peer that it may try again elsewhere or later, and wait for them. Idempotent."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
