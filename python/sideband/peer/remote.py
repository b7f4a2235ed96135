"""What a peer knows of the other side of its session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sideband._native import compute_fingerprint

if TYPE_CHECKING:
    from sideband.peer.identity_token import PeerIdentity
    from sideband.peer.link import LinkInfo
    from sideband.peer.session import Session
    from sideband.protocol.handshake import HandshakePayload

__all__ = ["RemoteSide"]


class RemoteSide:
    """The part of a `Peer` that tells about the other side; the rest fills it in with each session."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._link: LinkInfo | None = None
        self._remote: HandshakePayload | None = None
        self._identity: PeerIdentity | None = None

    @property
    def remote_id(self) -> str | None:
        """What the other side calls itself; it proves nothing. None before the first session."""
        return None if self._remote is None else self._remote.peer_id

    @property
    def remote_metadata(self) -> Mapping[str, Any]:
        """What the other side told in its handshake; unproven."""
        return {} if self._remote is None else self._remote.metadata

    @property
    def capabilities(self) -> frozenset[str]:
        """The extensions that both sides speak; empty without a session."""
        return frozenset() if self._session is None else self._session.connection.capabilities

    @property
    def identity(self) -> PeerIdentity | None:
        """Who the other side is by the control plane's verified word; None without an identity token."""
        return self._identity

    @property
    def identity_key(self) -> bytes | None:
        """The daemon's identity key of this session, 32 bytes, trusted by policy; None where no key is involved."""
        return None if self._link is None else self._link.identity_key

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of `identity_key`, as people compare it; None without one."""
        key = self.identity_key
        return None if key is None else compute_fingerprint(key)

    @property
    def remote_name(self) -> str | None:
        """The name that the other side proved by its pinned key; None where a relay knows the names."""
        return None if self._link is None else self._link.remote_name

    @property
    def path(self) -> str | None:
        """How the session runs: "relay", or "direct:" and a transport such as `tcp`; plain "direct" is not encrypted.

        None without a session.
        """
        return None if self._link is None else self._link.path
