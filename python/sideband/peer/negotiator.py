"""What opens a session on a transport connection, and the plain one (docs/protocol/peer.md, "Negotiators")."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from typing_extensions import override

from sideband.errors import (
    CloudApiError,
    ConnectionClosed,
    IdentityStoreError,
    PeerError,
    SbdpError,
    SbpError,
    SbrpError,
    SbrpErrorCode,
    StoreError,
    TransportError,
)
from sideband.peer.link import Link, PlainLink
from sideband.transport.base import Connection

__all__ = ["ConnectionParams", "ErrorClass", "Negotiator", "classify_error", "sbp_negotiator"]

ErrorClass = Literal["fatal", "retryable"]

REPLACED_CLOSE_CODE = 4001
"""The relay closes a daemon's connection so when another process connects with the same daemon id."""

_FATAL_SBRP = frozenset(
    {
        SbrpErrorCode.UNAUTHORIZED,
        SbrpErrorCode.FORBIDDEN,
        SbrpErrorCode.DAEMON_NOT_FOUND,
        SbrpErrorCode.SESSION_NOT_FOUND,
        SbrpErrorCode.MALFORMED_FRAME,
        SbrpErrorCode.PAYLOAD_TOO_LARGE,
        SbrpErrorCode.INVALID_FRAME_TYPE,
        SbrpErrorCode.INVALID_SESSION_ID,
        SbrpErrorCode.DISALLOWED_SENDER,
        SbrpErrorCode.IDENTITY_KEY_CHANGED,
        SbrpErrorCode.HANDSHAKE_FAILED,
        SbrpErrorCode.DECRYPT_FAILED,
    }
)
_RETRYABLE_SBDP = frozenset({"handshake_timeout", "overloaded"})
_FATAL_STATUS = frozenset({400, 401, 403, 404})
_OVERLOADED = 2001


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionParams:
    """What one attempt connects with.

    Attributes:
        endpoint: the URL; None keeps the one that the peer was made with.
        headers: for the opening request; the place of a token. Not shown in `repr`.
        session_id: for a relay client: the `sid` of the token, 1 to 2^64-1; None reads it from the bearer token.
        metadata: added to the SBP handshake of this attempt, such as `sideband:identity`. Not shown in `repr`.
    """

    endpoint: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    session_id: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Negotiator(ABC):
    """Opens a session on a transport connection. One negotiator serves one peer, attempt after attempt."""

    async def get_connection_params(self) -> ConnectionParams:
        """Return what the next attempt connects with; called before every one. By default nothing is added."""
        return ConnectionParams()

    @abstractmethod
    async def negotiate(self, connection: Connection) -> Link:
        """Open a session.

        Raises:
            SidebandError: it failed; `classify_error` tells whether another attempt may help.
        """

    async def terminate(self, connection: Connection) -> None:
        """Close a connection in good order; called once for every one that was opened."""
        await connection.close()

    def classify_error(self, error: BaseException) -> ErrorClass:
        """Return whether another attempt may help after `error`."""
        return classify_error(error)


class _SbpNegotiator(Negotiator):
    @override
    async def negotiate(self, connection: Connection) -> Link:
        return PlainLink(connection)


def sbp_negotiator() -> Negotiator:
    """Return the negotiator of plain SBP: nothing lies between the frames and the transport.

    It neither encrypts nor proves who is there. Use it over a transport that does, or inside one machine.
    """
    return _SbpNegotiator()


def classify_error(error: BaseException) -> ErrorClass:
    """Return whether trying again may help, as the table of docs/protocol/peer.md, "Negotiators", has it.

    Fatal: the identity or a signature was wrong, the protocol was violated, access is denied, the other side closed for
    good; and what this package does not know, since repeating an unknown failure can do harm. Retryable: the network,
    timeouts, a busy or restarting other side.
    """
    match error:
        case SbrpError():
            retryable = error.code not in _FATAL_SBRP
        case SbdpError():
            retryable = error.code in _RETRYABLE_SBDP
        case TransportError():
            retryable = _transport_is_retryable(error)
        case SbpError():
            retryable = error.code == _OVERLOADED or not error.fatal
        case CloudApiError():
            retryable = error.status not in _FATAL_STATUS
        case PeerError():
            retryable = error.code in ("not_connected", "session_paused") or (
                error.code == "peer_closed" and error.details.get("reason") == "shutdown"
            )
        case IdentityStoreError() | StoreError() | OSError() | TimeoutError():
            retryable = True
        case _:
            retryable = False
    return "retryable" if retryable else "fatal"


def _transport_is_retryable(error: TransportError) -> bool:
    if isinstance(error, ConnectionClosed):
        return True
    if error.close_code == REPLACED_CLOSE_CODE:
        return False
    return error.kind not in ("authentication_failed", "message_too_large")
