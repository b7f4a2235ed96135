"""One end of an SBP connection, without I/O (docs/protocol/sbp.md).

Fed with whole frames by `receive`, asked for frames by `take`, told about time by `on_deadline`. It never reads a
clock, a random source or a socket of its own.

    connection = SbpConnection(local=HandshakePayload("me", DEFAULT_CAPS), opener=True, max_frame_payload=65_508)
    connection.start()
    write(connection.take(256 * 1024))
    for event in connection.receive(frame): ...
    write(connection.take(256 * 1024))          # after every receive, send_*, resumed and on_deadline

Nothing here blocks or is asynchronous. It is not thread-safe.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final

from sideband.protocol.events import Event
from sideband.protocol.fragments import PROCESS_FRAGMENTS, FragmentBudget
from sideband.protocol.handshake import BIN_1, FRAG_1, RESUME_1, HandshakePayload
from sideband.protocol.limits import DEFAULT_LIMITS, SbpLimits

__all__ = ["DEFAULT_CAPS", "MISSING", "SbpConnection"]

MISSING: Final[Any] = object()
"""Stands for params, a result or data that is absent, which is not the same as null."""

DEFAULT_CAPS: Final = (RESUME_1, FRAG_1, BIN_1)


class SbpConnection:
    """SBP framing, envelopes, and the extensions resume/1, frag/1 and bin/1 where both sides list them.

    Args:
        local: what our handshake says. `resume/1` is left out of it when the connection is not `resumable`, and
            capabilities that this class does not implement are left out; `sideband:max_frame` is added with frag/1.
        opener: True on the side that opened the connection (the client).
        max_frame_payload: the largest frame one message of the transport carries: 65,508 over SBRP, 1 MiB plain.
        clock: seconds, monotonic.
        random: returns so many random bytes.
        fragment_budget: bounds the pieces held by all connections that share it; by default one for the process.
        resumable: whether a session below survives a lost connection (relay sessions do).
        limits: every other bound, see `SbpLimits`.

    Raises:
        SbpError: 1002 when `local` does not make a valid handshake.
    """

    def __init__(
        self,
        *,
        local: HandshakePayload,
        opener: bool,
        max_frame_payload: int,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
        fragment_budget: FragmentBudget = PROCESS_FRAGMENTS,
        resumable: bool = False,
        limits: SbpLimits = DEFAULT_LIMITS,
    ) -> None: ...

    @property
    def capabilities(self) -> frozenset[str]:
        """What both sides listed and this class speaks; empty until the handshake has come."""

    @property
    def remote(self) -> HandshakePayload | None:
        """The other side's handshake, or None until it has come."""

    @property
    def max_message_size(self) -> int:
        """The largest SBP frame that can be sent, in bytes: with frag/1 the smaller `sideband:max_frame` of the two."""

    @property
    def wants_write(self) -> bool:
        """Whether `take` would return something now."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes queued and not yet taken. Frames kept for repeating are not in it."""

    @property
    def closed(self) -> bool:
        """Whether a close was sent or came, or the protocol failed. Nothing more is accepted for sending."""

    # Every send_* raises PeerError: `not_connected` before the handshake has come, `peer_closed` after a close or a
    # failure, `message_too_large` when the frame is over max_message_size, `buffer_overflow` when
    # limits.send_buffer_bytes are waiting already; and SbpError 1100 (not fatal) when a value cannot be encoded.
    # Then nothing was queued. While paused they queue; what waits then goes out after the repeats.

    def start(self) -> None:
        """Queue our handshake. Call once, first."""

    def send_request(self, method: str, params: Any = MISSING) -> bytes:
        """Queue a call and return its cid (16 bytes). MISSING leaves `p` out; None sends null."""

    def send_result(self, cid: bytes, value: Any = MISSING) -> None:
        """Queue the answer to the request `cid`."""

    def send_error(self, cid: bytes, code: int, message: str, data: Any = MISSING) -> None:
        """Queue the error answer to the request `cid`."""

    def send_notification(self, name: str, data: Any = MISSING) -> None:
        """Queue an event. Also raises PeerError `invalid_pattern` for a name that is not allowed."""

    def send_app(self, subject: str, data: bytes) -> None:
        """Queue a vendor message on `app/...`. Also raises SbpError 1000 (not fatal) for another or a reserved subject."""

    def send_stream_control(self, data: bytes) -> None:
        """Queue a covered op of stream/1 (open, accept, end, reset, done), header included."""

    def send_cancel(self, cid: bytes) -> None:
        """Give up the call `cid`: its answer, should one come, is dropped.

        A request that has not left yet is taken back; otherwise the event `$sideband/cancel` is queued. Also the way
        to forget a call that timed out. Never raises; an unknown cid is ignored.
        """

    def close(self, reason: str = "") -> None:
        """Queue a close frame and drop everything else that waits. Idempotent."""

    def take(self, max_bytes: int) -> list[bytes]:
        """Return frames to seal now, in this order, together at most `max_bytes` (one frame may be more).

        Handshake, state, acks and other control go first, then repeats after a resume, then messages in the order
        they were sent; requests and responses in pieces yield to smaller messages and never starve. Empty while
        paused. What is returned counts as sent.
        """

    def receive(self, frame: bytes) -> list[Event]:
        """Take in one whole frame. Never raises for what the other side sent; a failure is ProtocolFailed."""

    def pause(self) -> None:
        """The session is cut but may come back with the same keys. What was in flight may be lost. Idempotent."""

    def resumed(self) -> list[Event]:
        """The session is back on the same keys: on the client at session_resumed, on the daemon right after ready.

        With resume/1 the next frame from `take` is our state, and nothing covered follows until the other side's state
        has come (ResumeCompleted) or 10 s have passed (ResumeFailed). Without it: CallsLost for the calls under way at
        the cut. ResumeFailed when the handshake was not finished at the cut.
        """

    def next_deadline(self) -> float | None:
        """The time on `clock` when `on_deadline` has to be called, or None. Ask again after every other call."""

    def on_deadline(self, now: float) -> list[Event]:
        """Do what is due at `now`: queue an ack or a state, or give up waiting."""
