"""What moves a relayed session to another way, as the session, its pump and its server see it.

`sideband.direct` implements it; the peer layer knows only these words (docs/protocol/sbdp.md, "Upgrade").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sideband.peer.link import LinkInfo
    from sideband.peer.peer import Peer
    from sideband.peer.session import Session

__all__ = ["PathUpgrade", "UpgradeFactory"]


class PathUpgrade(Protocol):
    """One session's attempts to leave its relay. It sets `Session.moved` once both directions have left it for good."""

    def received(self, data: bytes) -> None:
        """Take a message of direct/1."""

    def relay_paused(self) -> bool:
        """The relay paused the session; True when that no longer concerns it."""

    def relay_resumed(self) -> None:
        """The relay resumed a session whose pause did not concern this one."""

    def relay_ended(self) -> bool:
        """The relay's session is over; True when that no longer concerns this one."""

    async def finish(self) -> None:
        """The session is over: say the last words on the direct way, and release everything."""


class UpgradeFactory(Protocol):
    """Makes what moves one relayed session."""

    def __call__(self, peer: Peer, session: Session, link: LinkInfo) -> PathUpgrade | None:
        """Called once the handshake of a relayed session is done; None leaves it on the relay."""
