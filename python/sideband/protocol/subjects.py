"""The subjects of SBP messages (docs/protocol/sbp.md, "Subjects")."""

from __future__ import annotations

from typing import Final

__all__ = [
    "APP_PREFIX",
    "COVERED_STREAM_OPS",
    "DIRECT_SUBJECT",
    "EVENT",
    "RESERVED_PREFIX",
    "RPC",
    "STREAM",
    "STREAM_SUBJECT",
]

RPC: Final = "rpc"
EVENT: Final = "event"
STREAM: Final = "stream"
"""Reserved by the base protocol: answered with 1003."""

APP_PREFIX: Final = "app/"
RESERVED_PREFIX: Final = "app/sb."
"""What this project's extensions use, closed to applications."""

DIRECT_SUBJECT: Final = "app/sb.direct.v1"
STREAM_SUBJECT: Final = "app/sb.stream.v1"
COVERED_STREAM_OPS: Final = frozenset((0, 1, 4, 5, 7))
"""open, accept, end, reset and done survive a pause by resume/1; data, window and resume have their own rules."""
