"""The one tree of exceptions.

Every error this package raises on purpose is a `SidebandError`. Messages say what was expected, what came, and what to
do; they never hold a key, a token, a code or a payload. The native module raises these same classes.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

__all__ = [
    "BridgeError",
    "BridgeErrorKind",
    "CloudApiError",
    "ConfigError",
    "ConnectionClosed",
    "EnvelopeError",
    "FileErrorCode",
    "FileTransferError",
    "IdentityRefusedError",
    "IdentityStoreError",
    "InboxError",
    "InboxErrorCode",
    "NotFoundError",
    "PeerError",
    "PeerErrorCode",
    "ProcessError",
    "RpcPeerError",
    "SbdpError",
    "SbdpErrorCode",
    "SbpError",
    "SbrpBatchError",
    "SbrpError",
    "SbrpErrorCode",
    "SidebandError",
    "StoreError",
    "TokenError",
    "TransportError",
    "TransportErrorKind",
]


class SidebandError(Exception):
    """Root of every exception of this package. All of them can be copied, and pickled for another process."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the class with its message alone, which few of these constructors take.
        return _restore, (type(self), self.args), self.__dict__


class SbrpErrorCode(str, Enum):  # noqa: UP042  (StrEnum's constructor cannot carry the wire number)
    """An SBRP error code (docs/protocol/sbrp.md, "Codes").

    The value is the code's name on every surface. `wire` is its number in a Control frame, or None for codes that only
    an endpoint raises and that never travel. `terminal` tells whether the relay closes the connection after sending it.
    """

    wire: int | None
    terminal: bool

    def __new__(cls, value: str, wire: int | None, terminal: bool) -> SbrpErrorCode:
        """Make a member; `value` is its name on every surface."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.wire = wire
        member.terminal = terminal
        return member

    UNAUTHORIZED = "unauthorized", 0x0101, True
    FORBIDDEN = "forbidden", 0x0102, True
    DAEMON_NOT_FOUND = "daemon_not_found", 0x0201, True
    DAEMON_OFFLINE = "daemon_offline", 0x0202, True
    SESSION_NOT_FOUND = "session_not_found", 0x0301, True
    SESSION_EXPIRED = "session_expired", 0x0302, True
    MALFORMED_FRAME = "malformed_frame", 0x0401, True
    PAYLOAD_TOO_LARGE = "payload_too_large", 0x0402, True
    INVALID_FRAME_TYPE = "invalid_frame_type", 0x0403, True
    INVALID_SESSION_ID = "invalid_session_id", 0x0404, True
    DISALLOWED_SENDER = "disallowed_sender", 0x0405, True
    INTERNAL_ERROR = "internal_error", 0x0601, True
    RATE_LIMITED = "rate_limited", 0x0901, False
    BACKPRESSURE = "backpressure", 0x0902, True
    SESSION_PAUSED = "session_paused", 0x1001, False
    SESSION_RESUMED = "session_resumed", 0x1002, False
    SESSION_ENDED = "session_ended", 0x1003, False
    SESSION_PENDING = "session_pending", 0x1004, False
    IDENTITY_KEY_CHANGED = "identity_key_changed", None, True
    HANDSHAKE_FAILED = "handshake_failed", None, True
    HANDSHAKE_TIMEOUT = "handshake_timeout", None, True
    DECRYPT_FAILED = "decrypt_failed", None, True
    SEQUENCE_ERROR = "sequence_error", None, True
    SESSION_CLEARED = "session_cleared", None, True

    def __str__(self) -> str:
        return str(self.value)

    @classmethod
    def from_wire(cls, number: int) -> SbrpErrorCode:
        """Return the code a Control frame names by `number`.

        Raises:
            SbrpError: `malformed_frame` when no code has that number.
        """
        for code in cls:
            if code.wire == number:
                return code
        raise SbrpError(cls.MALFORMED_FRAME, f"control code 0x{number:04x} is not known")


class SbrpError(SidebandError):
    """A failure in the secure relay layer.

    Attributes:
        code: what failed.
        session_id: the session a relay names when it reports the failure; 0 when it names none.
    """

    def __init__(self, code: SbrpErrorCode | str, message: str = "", *, session_id: int = 0) -> None:
        self.code = SbrpErrorCode(code)  # type: ignore[call-arg]  # the functional lookup takes the value alone
        self.session_id = session_id
        super().__init__(f"{self.code.value}: {message}" if message else self.code.value)


class SbrpBatchError(SbrpError):
    """One frame of a batch could not be opened.

    Attributes:
        index: position of the first bad frame, from 0.
        opened: plaintexts of the frames before it; they count as received.
    """

    def __init__(self, code: SbrpErrorCode | str, message: str, index: int, opened: list[bytes]) -> None:
        self.index = index
        self.opened = opened
        super().__init__(code, message)


class IdentityRefusedError(SbrpError):
    """The trust policy, or who it asked, refused the daemon's identity key (docs/protocol/trust.md).

    The code is `identity_key_changed` when another key was pinned, `handshake_failed` on a refused first contact.
    Never retried by itself.

    Attributes:
        expected: fingerprint of the pinned key, or None when none was pinned.
        received: fingerprint of the key the daemon proved to hold.
    """

    def __init__(self, message: str, *, expected: str | None, received: str) -> None:
        self.expected = expected
        self.received = received
        code = SbrpErrorCode.HANDSHAKE_FAILED if expected is None else SbrpErrorCode.IDENTITY_KEY_CHANGED
        super().__init__(code, message)


SbdpErrorCode = Literal[
    "handshake_failed",
    "handshake_timeout",
    "decrypt_failed",
    "protocol_violation",
    "message_too_large",
    "session_cleared",
    "session_closed",
    "overloaded",
]
"""What failed in a direct session (docs/protocol/sbdp.md, "Errors")."""


class SbdpError(SidebandError):
    """A failure in a direct session.

    Attributes:
        code: what failed, one of `SbdpErrorCode`.
    """

    def __init__(self, code: SbdpErrorCode, message: str = "") -> None:
        self.code: SbdpErrorCode = code
        super().__init__(f"{code}: {message}" if message else code)


class SbpError(SidebandError):
    """A violation of the application framing (docs/protocol/sbp.md).

    Attributes:
        code: the number from the table of error codes (1000 to 1199, or 2000 and up).
        fatal: whether the connection has to close.
    """

    def __init__(self, code: int, message: str = "", *, fatal: bool = True) -> None:
        self.code = code
        self.fatal = fatal
        super().__init__(f"{code}: {message}" if message else str(code))


TransportErrorKind = Literal[
    "connection_refused",
    "dns_failure",
    "tls_failure",
    "timeout",
    "abnormal_close",
    "message_too_large",
    "authentication_failed",
    "aborted",
    "transport_failure",
]
"""What failed below the protocol (docs/protocol/peer.md, "Transport interface")."""


class TransportError(SidebandError):
    """A failure below the protocol: the network, TLS, or the WebSocket itself.

    Attributes:
        kind: what failed, one of `TransportErrorKind`.
        http_status: the status that refused the upgrade, or None.
        close_code: the WebSocket close code that ended the connection, or None.
        retry_after: seconds the server asked to wait, or None.
    """

    def __init__(
        self,
        kind: TransportErrorKind,
        message: str = "",
        *,
        http_status: int | None = None,
        close_code: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.kind: TransportErrorKind = kind
        self.http_status = http_status
        self.close_code = close_code
        self.retry_after = retry_after
        super().__init__(f"{kind}: {message}" if message else kind)


class ConnectionClosed(TransportError):  # noqa: N818  (an orderly end is no failure of its own)
    """A connection ended in good order: one side closed it with 1000 or 1001, or this side closed it.

    Raised by `Connection.receive` and by sending on a connection that was closed; iteration ends without it. `kind` is
    `aborted`.
    """

    def __init__(self, message: str = "the connection is closed", *, close_code: int | None = None) -> None:
        super().__init__("aborted", message, close_code=close_code)


class TokenError(SidebandError):
    """A relay token was refused (docs/protocol/relay.md, "Tokens").

    Attributes:
        reason: a short machine-readable cause such as `bad_signature`, `expired` or `wrong_audience`.
        status: the HTTP status that answers the upgrade: 401; 403 for region and scope; 503 when the issuer's keys
            cannot be had, which is no fault of the token.
    """

    def __init__(self, reason: str, message: str = "", *, status: int = 401) -> None:
        self.reason = reason
        self.status = status
        super().__init__(f"{reason}: {message}" if message else reason)


InboxErrorCode = Literal[
    "SHADE_VALIDATION",
    "SHADE_UNAUTHORIZED",
    "SHADE_REPLAY",
    "SHADE_NOT_FOUND",
    "SHADE_CONFLICT",
    "SHADE_PAYLOAD_TOO_LARGE",
    "SHADE_RATE_LIMIT",
    "SHADE_QUOTA_EXCEEDED",
    "SHADE_INTERNAL",
    "SHADE_STORAGE",
]
"""Why an inbox refuses a request (docs/protocol/inbox.md, "Errors")."""


class InboxError(SidebandError):
    """An inbox refuses a request, or a field of one is not what it has to be.

    Attributes:
        code: what is wrong, one of `InboxErrorCode`.
        retry_after: seconds to wait before the next attempt, or None.
        cursor: with `SHADE_CONFLICT`, the highest cursor of the address; else None.
    """

    def __init__(
        self, code: InboxErrorCode, message: str, *, retry_after: float | None = None, cursor: int | None = None
    ) -> None:
        self.code: InboxErrorCode = code
        self.retry_after = retry_after
        self.cursor = cursor
        super().__init__(f"{code}: {message}")


BridgeErrorKind = Literal[
    "refused",
    "rate_limited",
    "conflict",
    "unavailable",
    "network",
    "timeout",
    "protocol",
    "closed",
    "invalid_state",
    "queue_full",
]
"""What went wrong between a client and an inbox (docs/protocol/inbox.md, "Client")."""


class BridgeError(SidebandError):
    """A client of an inbox was refused, or lost its connection.

    Attributes:
        kind: what went wrong, one of `BridgeErrorKind`. `refused` is for good; the others may pass.
        http_status: the status that refused, or None.
        ws_close_code: the WebSocket close code that ended the connection, or None.
        code: the server's code such as `SHADE_UNAUTHORIZED`, or None.
        retry_after: seconds the server asked to wait, or None.
    """

    def __init__(
        self,
        kind: BridgeErrorKind,
        message: str,
        *,
        http_status: int | None = None,
        ws_close_code: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: BridgeErrorKind = kind
        self.http_status = http_status
        self.ws_close_code = ws_close_code
        self.code = code
        self.retry_after = retry_after


class EnvelopeError(SidebandError):
    """A sealed envelope or a published envelope key was refused (docs/protocol/inbox.md, "Envelopes").

    Attributes:
        kind: `format`, `signature`, `key` (the recipient's key is unusable) or `decrypt`.
    """

    def __init__(self, kind: Literal["format", "signature", "key", "decrypt"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


class IdentityStoreError(SidebandError):
    """An identity file or a pin store could not be read or written, or is not safe to use."""


class StoreError(SidebandError):
    """A server-side store failed: locked, full, unreachable, or of a newer schema."""


class NotFoundError(SidebandError):
    """What an admin named is not in the store: an account, user, daemon, key, token or session."""


class ConfigError(SidebandError):
    """A setting is unknown, malformed or contradicts another."""


class ProcessError(SidebandError):
    """A process that a command started ended before its work was done.

    Attributes:
        exit_code: what the command should end with, by the table of the command line.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class CloudApiError(SidebandError):
    """The control plane refused a request.

    Attributes:
        status: the HTTP status.
        code: the API's own code, such as `UNAUTHORIZED` or `CONFLICT`; empty when it gave none.
        retry_after: seconds the server asked to wait, or None.
    """

    def __init__(self, status: int, message: str = "", *, code: str = "", retry_after: float | None = None) -> None:
        self.status = status
        self.code = code
        self.retry_after = retry_after
        super().__init__(f"{status} {code}: {message}" if code else f"{status}: {message}")


PeerErrorCode = Literal[
    "peer_closed",
    "rpc_method_already_registered",
    "rpc_cancelled",
    "rpc_timeout",
    "rpc_error",
    "invalid_pattern",
    "buffer_overflow",
    "not_connected",
    "session_paused",
    "invalid_state",
    "cancelled",
    "message_too_large",
    "stream_reset",
    "integrity_error",
]
"""What failed in the peer layer (docs/protocol/peer.md, "Errors")."""


class PeerError(SidebandError):
    """A failure in the peer layer.

    Attributes:
        code: what failed, one of `PeerErrorCode`.
        details: more about it, safe to log; an empty dict when there is nothing to add.
    """

    def __init__(self, code: PeerErrorCode, message: str = "", *, details: dict[str, Any] | None = None) -> None:
        self.code: PeerErrorCode = code
        self.details = details or {}
        super().__init__(f"{code}: {message}" if message else code)


class RpcPeerError(PeerError):
    """The other side answered a call with an error.

    Attributes:
        rpc_code: the number in the E envelope.
        rpc_message: the other side's own words.
        data: what the other side attached, or None.
    """

    def __init__(self, rpc_code: int, message: str, data: Any = None) -> None:
        self.rpc_code = rpc_code
        self.rpc_message = message
        self.data = data
        super().__init__("rpc_error", f"{rpc_code} {message}", details={"code": rpc_code, "data": data})


FileErrorCode = Literal[
    "not_found",
    "permission_denied",
    "exists",
    "no_space",
    "changed",
    "not_a_file",
    "invalid_name",
    "read_only",
    "too_large",
    "busy",
    "io_error",
    "protocol",
]
"""What failed in a file transfer (docs/protocol/streams.md, "Files")."""


class FileTransferError(SidebandError):
    """A file could not be sent, received or listed.

    Attributes:
        code: what failed, one of `FileErrorCode`.
        remote: whether the other side met it.
    """

    def __init__(self, code: FileErrorCode, message: str, *, remote: bool = False) -> None:
        self.code: FileErrorCode = code
        self.remote = remote
        super().__init__(f"{code}: {message}")


def _restore(kind: type[SidebandError], args: tuple[Any, ...]) -> SidebandError:
    return kind.__new__(kind, *args)
