"""Who is connected, by the control plane's word (docs/protocol/peer.md, "Who is connected")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["IDENTITY_METADATA_KEY", "IdentityVerifier", "PeerIdentity"]

IDENTITY_METADATA_KEY = "sideband:identity"
"""Handshake metadata under which a client sends its identity token."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """A verified identity token.

    Attributes:
        subject: the user's id, or `quick-connect`.
        issuer: the control plane that says so.
        claims: all of the token's claims.
    """

    subject: str
    issuer: str
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)


IdentityVerifier: TypeAlias = Callable[[str], Awaitable[PeerIdentity]]
"""Verifies a token; raises `TokenError` for one that is not to be believed."""
