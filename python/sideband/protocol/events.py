"""What an `SbpConnection` reports to the layer above.

One object per outcome, immutable. A consumer dispatches on `type(event)`; every class here is final.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, final

from sideband.protocol.handshake import HandshakePayload

__all__ = [
    "AppReceived",
    "CallsLost",
    "CancelReceived",
    "DirectReceived",
    "ErrorReceived",
    "Event",
    "EventsLost",
    "HandshakeReceived",
    "NotificationReceived",
    "PeerClosed",
    "ProtocolFailed",
    "RequestReceived",
    "ResultReceived",
    "ResumeCompleted",
    "ResumeFailed",
    "SbpErrorReceived",
    "StreamReceived",
]


@final
@dataclass(frozen=True, slots=True)
class HandshakeReceived:
    """The other side's handshake is valid; `capabilities` of the connection is final from here on."""

    payload: HandshakePayload


@final
@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A call to answer with `send_result` or `send_error` under the same `cid`. Absent params are None."""

    cid: bytes
    method: str
    params: Any
    size: int
    """Bytes of the frame that carried it, for the bound on waiting requests."""


@final
@dataclass(frozen=True, slots=True)
class ResultReceived:
    """A call of ours succeeded. Only calls that are under way are reported; an absent result is None."""

    cid: bytes
    value: Any


@final
@dataclass(frozen=True, slots=True)
class ErrorReceived:
    """A call of ours failed on the other side. Absent data is None."""

    cid: bytes
    code: int
    message: str
    data: Any


@final
@dataclass(frozen=True, slots=True)
class CancelReceived:
    """The other side gave up its call `cid`: cancel the handler; answering is no longer needed."""

    cid: bytes


@final
@dataclass(frozen=True, slots=True)
class NotificationReceived:
    """An event with a valid name. Absent data is None. Names under `$sideband/` are the platform's own."""

    name: str
    data: Any
    size: int
    """Bytes of the frame that carried it, for the bound on a subscriber's backlog."""


@final
@dataclass(frozen=True, slots=True)
class AppReceived:
    """A vendor message on `app/...` outside `app/sb.`, never parsed here."""

    subject: str
    data: bytes


@final
@dataclass(frozen=True, slots=True)
class StreamReceived:
    """One message of `stream/1`, header included; covered ones arrive once and in order (docs/protocol/sbp.md)."""

    data: bytes


@final
@dataclass(frozen=True, slots=True)
class DirectReceived:
    """One message of `direct/1`, never parsed here (docs/protocol/sbdp.md, "Upgrade")."""

    data: bytes


@final
@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The other side sent close. `shutdown` means that it may be tried again; any other reason is for good."""

    reason: str


@final
@dataclass(frozen=True, slots=True)
class SbpErrorReceived:
    """The other side sent an error frame. When `fatal` (1000, 1001) it is closing the connection."""

    code: int
    message: str
    fatal: bool


@final
@dataclass(frozen=True, slots=True)
class EventsLost:
    """A cut was longer than what was kept for repeating.

    `sent`: True for our own events, then `count` is exact; False for the other side's, then `count` is the number of
    its messages of any kind that are gone, an upper bound for its events.
    """

    count: int
    sent: bool


@final
@dataclass(frozen=True, slots=True)
class CallsLost:
    """These calls of ours will not be answered: fail them with `not_connected`. They may still have run."""

    cids: tuple[bytes, ...]


@final
@dataclass(frozen=True, slots=True)
class ResumeCompleted:
    """After `resumed`: the other side's state is in and `repeated` messages go out again ahead of anything new."""

    repeated: int


@final
@dataclass(frozen=True, slots=True)
class ResumeFailed:
    """The session cannot go on after a pause: end it and connect again (retryable)."""

    message: str


@final
@dataclass(frozen=True, slots=True)
class ProtocolFailed:
    """The other side broke the protocol. An error frame is queued: write what `take` gives, then close.

    `code` is the number in that frame: 1000, 1001 or 1002, fatal to retries, or 2001 when this side ran out of room
    for pieces, which may be retried.
    """

    code: int
    message: str


Event: TypeAlias = (
    HandshakeReceived
    | RequestReceived
    | ResultReceived
    | ErrorReceived
    | CancelReceived
    | NotificationReceived
    | AppReceived
    | StreamReceived
    | DirectReceived
    | PeerClosed
    | SbpErrorReceived
    | EventsLost
    | CallsLost
    | ResumeCompleted
    | ResumeFailed
    | ProtocolFailed
)
