"""What a failure in a handler may tell the other side (docs/protocol/sbp.md, "Error codes")."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from sideband.errors import PeerError, RpcPeerError, SbpError
from sideband.protocol.connection import MISSING

__all__ = [
    "APPLICATION_ERROR",
    "CORRELATION_MISMATCH",
    "MAX_MESSAGE_CHARACTERS",
    "OVERLOADED",
    "UNSUPPORTED_METHOD",
    "describe_failure",
]

UNSUPPORTED_METHOD = 1101
CORRELATION_MISMATCH = 1102
APPLICATION_ERROR = 2000
OVERLOADED = 2001
MAX_MESSAGE_CHARACTERS = 1_024
"""Longest message that leaves in an E envelope; the rest is cut."""

# A path of two parts or more, on POSIX or Windows; the part before keeps URLs (`https://host/x`) as they are.
_LOCAL_PATH = re.compile(
    r"""file://\S+|(?<![\w:/.])~?(?:/[^\s/'"<>:,;()]+){2,}/?|\b[A-Za-z]:[\\/][^\s'"<>:,;()]*|\\\\[^\s'"]+"""
)


def describe_failure(error: BaseException) -> tuple[int, str, Any]:
    """Return code, message and data of the E envelope that answers for `error`.

    An `RpcPeerError` travels as it is. Another exception has the code of its attribute `rpc_code`, when that is an
    int, else 2000; its message without local paths, and no traceback.
    """
    if isinstance(error, RpcPeerError):
        return error.rpc_code, error.rpc_message, MISSING if error.data is None else error.data
    code = getattr(error, "rpc_code", None)
    if type(code) is not int:
        code = APPLICATION_ERROR
    return code, _without_paths(_message(error)), MISSING


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, asyncio.CancelledError):
        return "the handler was cancelled"
    if isinstance(error, PeerError | SbpError):
        return str(error)
    return str(error) or type(error).__name__


def _without_paths(message: str) -> str:
    return _LOCAL_PATH.sub("<path>", message)[:MAX_MESSAGE_CHARACTERS]
