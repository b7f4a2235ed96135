"""What a `DaemonEndpoint` reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from sideband.errors import SbrpError, SbrpErrorCode

__all__ = [
    "ConnectionFailed",
    "DaemonCounters",
    "DaemonEvent",
    "RateLimited",
    "SessionData",
    "SessionEnded",
    "SessionOpened",
    "SessionPaused",
    "SessionRefused",
    "SessionResumed",
]


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A client finished the key exchange; it counts as half-open until `DaemonEndpoint.confirm`."""

    session_id: int


@dataclass(frozen=True, slots=True)
class SessionData:
    """Messages of one session that were opened, in the order they came."""

    session_id: int
    plaintexts: list[bytes]


@dataclass(frozen=True, slots=True)
class SessionPaused:
    """The relay connection is gone; the session keeps its keys and counters."""

    session_id: int


@dataclass(frozen=True, slots=True)
class SessionResumed:
    """The relay connection is back and the relay still knows the session; sending works again."""

    session_id: int


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The session is over and its keys are wiped.

    `code` is `session_ended` when the client left, `decrypt_failed`, `handshake_timeout`, `session_expired` (not
    confirmed after a return, or cut during its handshake) or `internal_error` (its state was damaged).
    """

    session_id: int
    code: SbrpErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class SessionRefused:
    """A handshake was refused: `rate_limited` by a limit, `handshake_failed` for a bad key. No session was made."""

    session_id: int
    code: SbrpErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class RateLimited:
    """The relay stopped reading for a while; nothing is lost."""


@dataclass(frozen=True, slots=True)
class ConnectionFailed:
    """The relay connection is of no more use: the relay said so, or sent too many bad frames. Connect again."""

    error: SbrpError


DaemonEvent: TypeAlias = (
    SessionOpened
    | SessionData
    | SessionPaused
    | SessionResumed
    | SessionEnded
    | SessionRefused
    | RateLimited
    | ConnectionFailed
)


@dataclass(slots=True)
class DaemonCounters:
    """What was dropped or refused since the endpoint was made; for metrics."""

    sequence_errors: int = 0
    """Messages replayed, duplicated, or older than the window; dropped."""
    decrypt_failures: int = 0
    """Sessions ended because a message did not decrypt."""
    repeated_inits: int = 0
    """HandshakeInit frames for a session that is open; ignored."""
    refused_handshakes: int = 0
    """Handshakes refused by a limit or for a bad key."""
    stray_frames: int = 0
    """Data frames of sessions that are not held."""
    malformed_frames: int = 0
    """Frames the relay should not have sent."""
