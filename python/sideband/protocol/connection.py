"""One end of an SBP connection, without I/O (docs/protocol/sbp.md).

Fed with whole frames by `receive`, asked for frames by `take`, told about time by `on_deadline`. It never reads a
clock, a random source or a socket of its own.

    connection = SbpConnection(local=HandshakePayload("me", DEFAULT_CAPS), opener=True, max_frame_payload=65_508)
    connection.start()
    write(connection.take(256 * 1024))
    for event in connection.receive(frame): ...
    write(connection.take(256 * 1024))  # after every receive, send_*, resumed and on_deadline

Nothing here blocks or is asynchronous. It is not thread-safe.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any, Final

from sideband._native import sbp_check_subject, sbp_encode_control, sbp_encode_message
from sideband.errors import PeerError, SbpError
from sideband.protocol.envelopes import MISSING, encode_error, encode_notification, encode_request, encode_result
from sideband.protocol.events import Event
from sideband.protocol.fragments import PROCESS_FRAGMENTS, FragmentBudget
from sideband.protocol.handshake import (
    BIN_1,
    DIRECT_1,
    FRAG_1,
    MAX_FRAME_KEY,
    RESUME_1,
    STREAM_1,
    HandshakePayload,
    encode_handshake,
)
from sideband.protocol.inbound import CANCEL_EVENT, Inbound
from sideband.protocol.limits import DEFAULT_LIMITS, MIN_PIECE_BYTES, PROCESS_SENDING, SbpLimits, SendBudget
from sideband.protocol.outbox import PIECE_OVERHEAD
from sideband.protocol.patterns import check_event_name, is_event_name
from sideband.protocol.recovery import Recovery
from sideband.protocol.resume import ACK, GAP, RESUME_SUBJECT, STATE, encode_resume
from sideband.protocol.state import CONTROL_CLOSE, CONTROL_HANDSHAKE, ConnectionState
from sideband.protocol.subjects import APP_PREFIX, DIRECT_SUBJECT, EVENT, RESERVED_PREFIX, RPC, STREAM_SUBJECT

__all__ = ["DEFAULT_CAPS", "MISSING", "SbpConnection"]

DEFAULT_CAPS: Final = (RESUME_1, FRAG_1, BIN_1)
"""The extensions that a peer lists unless told otherwise."""


class SbpConnection:
    """SBP framing, envelopes, and the extensions resume/1, frag/1 and bin/1 where both sides list them.

    Every `send_*` raises `PeerError`: `not_connected` before the handshake has come, `peer_closed` after a close or a
    failure, `message_too_large` when the frame is over `max_message_size`, `buffer_overflow` when
    `limits.send_buffer_bytes` wait already, or as much as `send_budget` allows in all connections; and `SbpError` 1100
    (not fatal) when a value cannot be encoded. Then nothing was queued. While paused they queue; what waits then goes
    out after the repeats.

    Args:
        local: what our handshake says. `resume/1` is left out of it when the connection is not `resumable`, and so are
            capabilities that are not implemented here; `sideband:max_frame` is added with frag/1.
        opener: True on the side that opened the connection (the client).
        max_frame_payload: the largest frame one message of the transport carries: 65,508 over SBRP, 1 MiB plain.
        clock: seconds, monotonic.
        random: returns so many random bytes.
        fragment_budget: bounds the pieces held by all connections that share it; by default one for the process.
        send_budget: bounds what waits to be sent in all connections that share it; by default one for the process.
        resumable: whether a session below survives a lost connection (relay sessions do).
        limits: every other bound, see `SbpLimits`.

    Raises:
        SbpError: 1002 when `local` does not make a valid handshake.
    """

    __slots__ = ("_greeted", "_handshake", "_holding", "_inbound", "_recovery", "_state", "_switch", "opener")

    def __init__(
        self,
        *,
        local: HandshakePayload,
        opener: bool,
        max_frame_payload: int,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
        fragment_budget: FragmentBudget = PROCESS_FRAGMENTS,
        send_budget: SendBudget = PROCESS_SENDING,
        resumable: bool = False,
        limits: SbpLimits = DEFAULT_LIMITS,
    ) -> None:
        self.opener = opener
        self._greeted = False
        self._holding = False
        self._switch: Callable[[int], bytes] | None = None
        caps = [cap for cap in local.caps if cap not in _IMPLEMENTED or _usable(cap, resumable, max_frame_payload)]
        if resumable and STREAM_1 in caps and RESUME_1 not in caps:
            caps.remove(STREAM_1)  # after a pause nobody would know where its streams stand
        metadata = dict(local.metadata)
        if FRAG_1 in caps:
            metadata[MAX_FRAME_KEY] = limits.max_frame
        self._handshake = encode_handshake(HandshakePayload(local.peer_id, tuple(caps), metadata))
        self._state = ConnectionState(
            offered=frozenset(caps).intersection(_IMPLEMENTED),
            max_payload=max_frame_payload,
            clock=clock,
            random=random,
            budget=fragment_budget,
            send_budget=send_budget,
            limits=limits,
        )
        self._recovery = Recovery(self._state)
        self._inbound = Inbound(self._state, self._recovery)

    @property
    def capabilities(self) -> frozenset[str]:
        """What both sides listed and this class speaks; empty until the handshake has come."""
        return self._state.capabilities

    @property
    def remote(self) -> HandshakePayload | None:
        """The other side's handshake, or None until it has come."""
        return self._state.remote

    @property
    def max_message_size(self) -> int:
        """The largest SBP frame that can be sent, in bytes: with frag/1 the smaller `sideband:max_frame` of the two."""
        return self._state.max_message

    @property
    def wants_write(self) -> bool:
        """Whether `take` would return something now. May be True once when a full window turns out to hold all back."""
        state = self._state
        if state.paused:
            return False
        if state.urgent or self._switch is not None:
            return True
        if state.control or (not self._holding and state.outbox.ready()):
            return True
        order = state.order
        return not state.closed and order is not None and (order.ack_due or order.state_due)

    @property
    def buffered_bytes(self) -> int:
        """Bytes queued and not yet taken. Frames kept for repeating are not in it."""
        return self._state.outbox.buffered

    @property
    def retained_bytes(self) -> int:
        """Bytes that have left and are kept for repeating until the other side acknowledges them."""
        window = self._state.outbox.window
        return 0 if window is None else window.held_bytes

    @property
    def closed(self) -> bool:
        """Whether a close was sent or came, or the protocol failed. Nothing more is accepted for sending."""
        return self._state.closed

    def start(self) -> None:
        """Queue our handshake. Call once, first."""
        state = self._state
        state.control.append(sbp_encode_control(state.ids.fresh(), CONTROL_HANDSHAKE, self._handshake))

    def send_request(self, method: str, params: Any = MISSING) -> bytes:
        """Queue a call and return its cid (16 bytes). MISSING leaves `p` out; None sends null."""
        state = self._state
        state.check_open()
        cid = state.covered_id()
        data = encode_request(cid, method, params, binary=state.binary)
        size = _RPC_OVERHEAD + len(data)
        if size <= state.whole:
            state.check_buffer(size)
            state.outbox.append(sbp_encode_message(cid, RPC, data))
        else:
            state.check_size(size)
            # In pieces its number comes with the last of them, so the request itself needs another id.
            cid = state.ids.fresh()
            data = encode_request(cid, method, params, binary=state.binary)
            state.outbox.append_large(sbp_encode_message(cid, RPC, data), loose=True)
        state.calls.add(cid)
        return cid

    def send_result(self, cid: bytes, value: Any = MISSING) -> None:
        """Queue the answer to the request `cid`. MISSING leaves `result` out; None sends null."""
        state = self._state
        state.check_open()
        state.queue(RPC, encode_result(cid, value, binary=state.binary), loose=True)

    def send_error(self, cid: bytes, code: int, message: str, data: Any = MISSING) -> None:
        """Queue the error answer to the request `cid`."""
        state = self._state
        state.check_open()
        state.queue(RPC, encode_error(cid, code, message, data, binary=state.binary), loose=True)

    def send_notification(self, name: str, data: Any = MISSING, *, platform: bool = False) -> None:
        """Queue an event. Also raises PeerError `invalid_pattern` for a name that is not allowed.

        With `platform`, the name may begin with `$sideband/`.
        """
        state = self._state
        state.check_open()
        if not (platform and is_event_name(name)):
            check_event_name(name)
        state.queue(EVENT, encode_notification(name, data, binary=state.binary), loose=False)

    def send_app(self, subject: str, data: bytes) -> None:
        """Queue a vendor message. Also raises SbpError 1000 (not fatal) for a subject not on `app/`, or reserved."""
        state = self._state
        state.check_open()
        if not subject.startswith(APP_PREFIX) or subject.startswith(RESERVED_PREFIX):
            raise SbpError(1000, f"a subject begins with {APP_PREFIX} and not with {RESERVED_PREFIX}", fatal=False)
        try:
            sbp_check_subject(subject)
        except (SbpError, UnicodeEncodeError) as error:
            raise SbpError(
                1000, "the subject is over 256 bytes or holds what UTF-8 cannot carry", fatal=False
            ) from error
        state.queue(subject, data, loose=False)

    def send_stream_control(self, data: bytes) -> None:
        """Queue a covered op of stream/1 (open, accept, end, reset, done), header included."""
        self._state.check_open()
        self._state.queue(STREAM_SUBJECT, data, loose=False)

    def send_direct(self, data: bytes, *, urgent: bool = False) -> None:
        """Queue a message of direct/1; an urgent one goes ahead of everything else."""
        state = self._state
        state.check_open()
        frames = state.urgent if urgent else state.control
        frames.append(sbp_encode_message(state.ids.fresh(), DIRECT_SUBJECT, data))

    def hold(self) -> None:
        """Let no message of the application leave before the switch (`queue_switch`). What is sent waits in order."""
        self._holding = True

    @property
    def holding(self) -> bool:
        """Whether messages of the application wait for the switch."""
        return self._holding

    def queue_switch(self, make: Callable[[int], bytes] | None) -> None:
        """Let the next `take` end with the direct/1 message that `make(number)` returns; None takes that back.

        The number is that of the next covered frame. What is queued behind it leaves with later calls of `take`.
        """
        self._switch = make

    @property
    def expected(self) -> int:
        """The number of the next covered frame of the other side; 0 without resume/1."""
        order = self._state.order
        return 0 if order is None else order.expected

    def send_cancel(self, cid: bytes) -> None:
        """Give up the call `cid`: its answer, should one come, is dropped.

        A request in pieces that has not left whole is taken back; otherwise the event `$sideband/cancel` is queued.
        Also the way to forget a call that timed out. Never raises; an unknown cid is ignored.
        """
        state = self._state
        if cid not in state.calls:
            return
        state.calls.remove(cid)
        messages = state.outbox.take_back(cid)
        if messages is not None:
            state.control.extend(messages)
            return
        with contextlib.suppress(PeerError):
            state.queue(EVENT, encode_notification(CANCEL_EVENT, {"cid": cid.hex()}), loose=False)

    def close(self, reason: str = "") -> None:
        """Queue a close frame and drop everything else that waits. Idempotent."""
        state = self._state
        if state.closed:
            return
        state.shut()
        text = reason.encode("utf-8", "replace")
        state.control.append(sbp_encode_control(state.ids.fresh(), CONTROL_CLOSE, text or None))

    def take(self, max_bytes: int) -> list[bytes]:
        """Return frames to seal now, in this order, together at most `max_bytes` (one frame may be more).

        Handshake, state, acks and other control go first, then repeats after a resume, then messages in the order
        they were sent; requests and responses in pieces yield to smaller messages and never starve. Empty while
        paused. What is returned counts as sent.
        """
        state = self._state
        out: list[bytes] = []
        if state.paused:
            return out
        if not self._greeted and state.control:
            # After a cut during the handshake, not even the state goes ahead of it.
            self._greeted = True
            out += state.control
            state.control.clear()
        if state.urgent:
            out += state.urgent
            state.urgent.clear()
        order = state.order
        if order is not None and not state.closed and (order.ack_due or order.state_due):
            stating = order.state_due
            if stating:
                self._recovery.asking()
            out.append(self._resume_message(STATE if stating else ACK, order.expected))
            order.said(state.clock() if stating else 0.0, state=stating)
        if state.control:
            out += state.control
            state.control.clear()
        if self._recovery.gap_due is not None and not state.closed:
            out.append(self._resume_message(GAP, self._recovery.gap_due))
            self._recovery.gap_due = None
        room = max_bytes
        for frame in out:
            room -= len(frame)
        if not self._holding:
            state.outbox.take(out, room, state.clock)
        if self._switch is not None and not state.closed:
            make, self._switch = self._switch, None
            self._holding = False
            window = state.outbox.window
            data = make(0 if window is None else window.left)
            out.append(sbp_encode_message(state.ids.fresh(), DIRECT_SUBJECT, data))
        return out

    def receive(self, frame: bytes) -> list[Event]:
        """Take in one whole frame. Never raises for what the other side sent; a failure is ProtocolFailed."""
        return self._inbound.receive(frame)

    def pause(self) -> None:
        """The session is cut but may come back with the same keys. What was in flight may be lost. Idempotent."""
        self._recovery.pause()

    def resumed(self) -> list[Event]:
        """The session is back on the same keys: on the client at session_resumed, on the daemon right after ready.

        With resume/1 the next frame from `take` is our state, and nothing covered follows until the other side's state
        has come (ResumeCompleted) or 10 s have passed (ResumeFailed). Without it: CallsLost for the calls under way at
        the cut. ResumeFailed when the handshake was not finished at the cut.
        """
        return self._recovery.resumed()

    def next_deadline(self) -> float | None:
        """The time on `clock` when `on_deadline` has to be called, or None. Ask again after every other call."""
        return self._recovery.next_deadline()

    def on_deadline(self, now: float) -> list[Event]:
        """Do what is due at `now`: queue an ack or a state, or give up waiting."""
        return self._recovery.on_deadline(now)

    def _resume_message(self, kind: int, number: int) -> bytes:
        return sbp_encode_message(self._state.ids.fresh(), RESUME_SUBJECT, encode_resume(kind, number))


_IMPLEMENTED = frozenset((RESUME_1, FRAG_1, BIN_1, STREAM_1, DIRECT_1))
_RPC_OVERHEAD = 18 + 4 + len(RPC)


def _usable(cap: str, resumable: bool, max_frame_payload: int) -> bool:
    if cap in (RESUME_1, DIRECT_1):
        return resumable
    if cap == FRAG_1:
        return max_frame_payload >= MIN_PIECE_BYTES + PIECE_OVERHEAD
    return True
