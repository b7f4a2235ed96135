"""What a frame from the other side leads to (docs/protocol/sbp.md)."""

from __future__ import annotations

from sideband._native import SbpFrame, sbp_decode
from sideband.errors import PeerError, SbpError
from sideband.protocol.envelopes import check_envelope, encode_error, parse_envelope, readable_cid
from sideband.protocol.events import (
    AppReceived,
    CancelReceived,
    DirectReceived,
    ErrorReceived,
    Event,
    HandshakeReceived,
    NotificationReceived,
    PeerClosed,
    RequestReceived,
    ResultReceived,
    SbpErrorReceived,
    StreamReceived,
)
from sideband.protocol.fragments import FRAG_SUBJECT
from sideband.protocol.handshake import DIRECT_1, FRAG_1, STREAM_1, decode_handshake
from sideband.protocol.limits import MAX_PLAIN_FRAME_BYTES
from sideband.protocol.patterns import is_event_name
from sideband.protocol.recovery import Recovery
from sideband.protocol.resume import RESUME_SUBJECT
from sideband.protocol.state import CONTROL_CLOSE, CONTROL_HANDSHAKE, CONTROL_PING, ConnectionState
from sideband.protocol.subjects import (
    COVERED_STREAM_OPS,
    DIRECT_SUBJECT,
    EVENT,
    RESERVED_PREFIX,
    RPC,
    STREAM,
    STREAM_SUBJECT,
)

__all__ = ["CANCEL_EVENT", "Inbound"]

CANCEL_EVENT = "$sideband/cancel"


class Inbound:
    """Takes in the frames of one connection."""

    __slots__ = ("_recovery", "_state")

    def __init__(self, state: ConnectionState, recovery: Recovery) -> None:
        self._state = state
        self._recovery = recovery

    def receive(self, frame: bytes) -> list[Event]:
        """See `SbpConnection.receive`."""
        state = self._state
        if state.closed:
            return []
        try:
            decoded = sbp_decode(frame, MAX_PLAIN_FRAME_BYTES)
            if decoded.kind == _MESSAGE and state.remote is not None:
                return self._message(decoded.frame_id, decoded.subject or "", decoded.data or b"", len(frame))
            return self._other(decoded)
        except SbpError as error:
            return state.fail(error.code, _text(error))

    def _message(self, frame_id: bytes, subject: str, data: bytes, size: int) -> list[Event]:
        state = self._state
        if subject != RPC and subject != EVENT:
            if subject == STREAM:
                state.reply_error(1003, "the subject stream is reserved; byte streams need stream/1")
                return []
            if subject.startswith(RESERVED_PREFIX):
                return self._extension(frame_id, subject, data, size)
        if state.order is not None and not self._in_order(frame_id, size):
            return []
        if subject == RPC:
            return self._rpc(data, size)
        if subject == EVENT:
            return self._event(data, size)
        return [AppReceived(subject, data)]

    def _in_order(self, frame_id: bytes, size: int) -> bool:
        order = self._state.order
        if order is None:
            return True
        number = int.from_bytes(frame_id[8:], "little")
        if number == order.expected:
            order.advance(size, self._state.clock() if order.fresh else 0.0)
            if self._recovery.settling:
                self._recovery.heard()
            return True
        if number > order.expected:
            order.missed(self._state.clock())
            self._state.note("message dropped", f"number {number} came where {order.expected} is next")
        return False

    def _rpc(self, data: bytes, size: int) -> list[Event]:
        state = self._state
        try:
            envelope = parse_envelope(data, binary=state.binary)
        except SbpError as error:
            state.reply_error(1002, _text(error))
            return []
        try:
            check_envelope(envelope)
        except SbpError as error:
            return self._broken(envelope, error)
        kind = envelope["t"]
        if kind == "r":
            return [RequestReceived(envelope["cid"], envelope["m"], envelope.get("p"), size)]
        if kind == "N":
            return self._broken(envelope, SbpError(1100, "a notification does not belong on rpc", fatal=False))
        cid: bytes = envelope["cid"]
        if cid not in state.calls:
            state.note("answer dropped", "no call of this side waits for it")
            return []
        state.calls.remove(cid)
        if kind == "R":
            return [ResultReceived(cid, envelope.get("result"))]
        return [ErrorReceived(cid, envelope["code"], envelope["message"], envelope.get("data"))]

    def _broken(self, envelope: dict[str, object], error: SbpError) -> list[Event]:
        state = self._state
        cid = readable_cid(envelope)
        message = _text(error)
        if cid is None:
            state.reply_error(1002, message)
            return []
        try:
            state.queue(RPC, encode_error(cid, 1100, message), loose=True)
        except PeerError as refused:
            state.note("answer dropped", str(refused))
        if cid not in state.calls or envelope.get("t") == "r":
            return []
        state.calls.remove(cid)
        return [ErrorReceived(cid, 1100, f"the answer is broken: {message}", None)]

    def _event(self, data: bytes, size: int) -> list[Event]:
        state = self._state
        try:
            envelope = parse_envelope(data, binary=state.binary)
            try:
                check_envelope(envelope)
                if envelope["t"] != "N":
                    raise SbpError(1100, "only a notification belongs on event", fatal=False)
            except SbpError as error:
                if readable_cid(envelope) is not None:
                    return self._broken(envelope, error)
                raise
        except SbpError as error:
            state.note("event dropped", _text(error))
            return []
        name: str = envelope["e"]
        if name == CANCEL_EVENT:
            return self._cancel(envelope.get("d"))
        if not is_event_name(name):
            state.note("event dropped", "its name is not a valid one")
            return []
        return [NotificationReceived(name, envelope.get("d"), size)]

    def _cancel(self, data: object) -> list[Event]:
        cid = readable_cid(data) if isinstance(data, dict) else None
        if cid is None:
            self._state.note("event dropped", f"{CANCEL_EVENT} without a valid cid")
            return []
        return [CancelReceived(cid)]

    def _extension(self, frame_id: bytes, subject: str, data: bytes, size: int) -> list[Event]:
        state = self._state
        if subject == FRAG_SUBJECT and FRAG_1 in state.capabilities:
            return self._piece(frame_id, data, size)
        if subject == RESUME_SUBJECT and state.order is not None:
            return self._recovery.message(data)
        if subject == STREAM_SUBJECT and STREAM_1 in state.capabilities:
            covered = state.order is not None and data[:1] and data[0] in COVERED_STREAM_OPS
            if covered and not self._in_order(frame_id, size):
                return []
            return [StreamReceived(data)]
        if subject == DIRECT_SUBJECT and DIRECT_1 in state.capabilities and state.order is not None:
            return [DirectReceived(data)]
        state.reply_error(1003, f"{subject[:64]} is not agreed between both sides")
        return []

    def _piece(self, frame_id: bytes, data: bytes, size: int) -> list[Event]:
        state = self._state
        reassembler = state.reassembler
        frame = reassembler.add(data)
        if frame is None:
            if state.order is not None:
                state.order.count_piece(size)
            if self._recovery.settling:
                self._recovery.heard()
            if reassembler.refused:
                reassembler.refused = False
                return self._refused()
            return []
        inner = sbp_decode(frame, reassembler.max_frame)
        subject = inner.subject
        if inner.kind != _MESSAGE or subject in (FRAG_SUBJECT, RESUME_SUBJECT):
            raise SbpError(1000, "frag/1: only messages are sent in pieces, and no frag or resume messages")
        # The number is that of the last piece.
        return self._message(frame_id, subject or "", inner.data or b"", len(frame))

    def _refused(self) -> list[Event]:
        state = self._state
        state.note("frame dropped", "all connections together hold as many pieces as they may")
        if state.order is not None:
            state.order.missed(state.clock())
            return []
        return state.fail(2001, "overloaded: no room for messages in pieces, try again")

    def _other(self, decoded: SbpFrame) -> list[Event]:
        state = self._state
        kind, op = decoded.kind, decoded.op
        if kind == _ERROR:
            code = decoded.code or 0
            return [SbpErrorReceived(code, decoded.message or "", code in _FATAL)]
        if kind == _CONTROL and op == CONTROL_CLOSE:
            state.shut()
            state.control.clear()
            return [PeerClosed((decoded.data or b"").decode("utf-8", "replace"))]
        if state.remote is None:
            if kind != _CONTROL or op != CONTROL_HANDSHAKE:
                raise SbpError(1000, "the first frame has to be a handshake")
            remote = decode_handshake(decoded.data or b"")
            state.agree(remote)
            return [HandshakeReceived(remote)]
        if kind == _CONTROL and op == CONTROL_HANDSHAKE:
            raise SbpError(1000, "a second handshake came")
        if kind == _CONTROL and op == CONTROL_PING:
            state.reply_pong()
        return []


_CONTROL = 0
_MESSAGE = 1
_ERROR = 3
_FATAL = (1000, 1001)


def _text(error: SbpError) -> str:
    return str(error).partition(": ")[2] or str(error)
