"""What a `ClientEndpoint` reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from sideband.errors import SbrpError, SbrpErrorCode

__all__ = [
    "AcceptVerified",
    "ClientEvent",
    "DataReceived",
    "Ended",
    "Established",
    "Failed",
    "Paused",
    "Pending",
    "RateLimited",
    "Resumed",
]


@dataclass(frozen=True, slots=True)
class AcceptVerified:
    """The daemon proved to hold `identity_key`. Nothing is pinned and no key derived: call `establish`, or `close`."""

    identity_key: bytes
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Established:
    """Session keys exist; `seal` works from now on. `handshake_seconds` runs from `start` to the verified accept."""

    identity_key: bytes
    fingerprint: str
    handshake_seconds: float


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Messages that were opened, in the order they came."""

    plaintexts: list[bytes]


@dataclass(frozen=True, slots=True)
class Paused:
    """The daemon lost its relay connection: `seal` raises `session_paused` until `Resumed`."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The daemon is back and has not yet said whether it still holds the session; changes nothing."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The session goes on with the same keys and counters. What was under way at the cut may be lost."""


@dataclass(frozen=True, slots=True)
class RateLimited:
    """The relay stopped reading for a while; nothing is lost."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The relay ended the session with `code`; the keys are wiped."""

    code: SbrpErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class Failed:
    """This side ended the session because of `error`; the keys are wiped."""

    error: SbrpError


ClientEvent: TypeAlias = (
    AcceptVerified | Established | DataReceived | Paused | Pending | Resumed | RateLimited | Ended | Failed
)
