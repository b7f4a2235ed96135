"""Which failures of the control plane another try may mend (docs/guide/cloud.md, "Errors")."""

from __future__ import annotations

from sideband.errors import CloudApiError, SbrpError, SbrpErrorCode
from sideband.peer.negotiator import ErrorClass, classify_error

__all__ = ["classify_failure", "classify_registration", "is_bad_frames", "may_have_arrived"]

_RETRYABLE_STATUS = frozenset({408, 409, 425, 429})
_MOVED_FOR_GOOD = frozenset({301, 308})
_FRAME_CODES = frozenset(
    {
        SbrpErrorCode.MALFORMED_FRAME,
        SbrpErrorCode.INVALID_FRAME_TYPE,
        SbrpErrorCode.PAYLOAD_TOO_LARGE,
        SbrpErrorCode.INVALID_SESSION_ID,
        SbrpErrorCode.DISALLOWED_SENDER,
    }
)


def classify_failure(error: BaseException) -> ErrorClass:
    """Return whether another try may help: after 409, 429, 5xx and the network's failures it may.

    After 400, 401, 403, 404 and every other refusal it may not, nor when the address has moved for good. A 200 that is
    not JSON, and a redirect for the time being, are what a captive portal does: the network's failure.
    """
    if not isinstance(error, CloudApiError):
        return classify_error(error)
    status = error.status
    fatal = status in _MOVED_FOR_GOOD or (400 <= status < 500 and status not in _RETRYABLE_STATUS)
    return "fatal" if fatal else "retryable"


def classify_registration(error: BaseException) -> ErrorClass:
    """As `classify_failure`, where a conflict is not about time: the daemon has another identity key."""
    if isinstance(error, CloudApiError) and error.status == 409:
        return "fatal"
    return classify_failure(error)


def may_have_arrived(error: BaseException) -> bool:
    """Return whether the control plane may have done what was asked, although this error came of it."""
    if isinstance(error, CloudApiError):
        return error.status == 200 or error.status >= 500
    return getattr(error, "kind", None) not in ("connection_refused", "dns_failure", "tls_failure")


def is_bad_frames(error: BaseException) -> bool:
    """Return whether a relay connection ended for its frames: the next one may be better."""
    return isinstance(error, SbrpError) and error.code in _FRAME_CODES
