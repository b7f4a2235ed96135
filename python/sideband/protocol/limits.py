"""Every bound of the SBP layer in one place (docs/protocol/sbp.md, "Limits")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "DEFAULT_LIMITS",
    "MAX_FRAME_BYTES",
    "MAX_PLAIN_FRAME_BYTES",
    "MIN_PIECE_BYTES",
    "PROCESS_SENDING",
    "SbpLimits",
    "SendBudget",
]

MAX_PLAIN_FRAME_BYTES: Final = 1024 * 1024
"""The largest SBP frame without frag/1."""

MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
"""The largest SBP frame with frag/1."""

MIN_PIECE_BYTES: Final = 16 * 1024
"""The smallest piece of a fragmented frame, other than its last."""


@dataclass(frozen=True, slots=True)
class SbpLimits:
    """Bounds and times of one connection. Sizes are bytes, times seconds.

    Attributes:
        max_frame: largest frame taken and sent with frag/1, announced as `sideband:max_frame`.
        unfinished_frames: fragmented frames unfinished at once, each way.
        unfinished_bytes: bytes of them, each way.
        window_frames: covered frames kept for repeating.
        window_bytes: bytes of them; one larger frame may be kept besides.
        window_stall: how long a full window holds new frames back before the oldest are dropped unacknowledged.
        ack_frames: covered frames after which an ack is due.
        ack_bytes: bytes after which an ack is due.
        ack_delay: time after which an ack is due when anything new has come.
        state_interval: shortest time between two states that answer a missing number.
        state_timeout: how long the other side's state may take after a resume.
        gap_quiet: silence after a gap that ends the wait for repeated answers.
        gap_timeout: the longest such wait.
        send_buffer_bytes: bytes waiting to be taken, over which nothing more is accepted.
        pending_replies: pongs, and error frames that do not end the connection, waiting to be taken; more are dropped.
    """

    max_frame: int = MAX_FRAME_BYTES
    unfinished_frames: int = 4
    unfinished_bytes: int = MAX_FRAME_BYTES
    window_frames: int = 1024
    window_bytes: int = 4 * 1024 * 1024
    window_stall: float = 30.0
    ack_frames: int = 64
    ack_bytes: int = 256 * 1024
    ack_delay: float = 1.0
    state_interval: float = 1.0
    state_timeout: float = 10.0
    gap_quiet: float = 2.0
    gap_timeout: float = 10.0
    send_buffer_bytes: int = 64 * 1024 * 1024
    pending_replies: int = 64


DEFAULT_LIMITS: Final = SbpLimits()


class SendBudget:
    """Bytes that wait to be sent, over all connections that share this object.

    `send_buffer_bytes` holds for one connection; without this one, a daemon with 256 clients that read slowly could
    come to hold 256 times as much.

    Args:
        limit: bytes; 256 MiB by default.

    Attributes:
        held: bytes counted now.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int = 256 * 1024 * 1024) -> None:
        self.limit = limit
        self.held = 0


PROCESS_SENDING: Final = SendBudget()
"""The budget of connections that are given no other."""
