"""The state of one connection that sending, receiving and recovery share, and how a message gets into the outbox."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sideband._native import sbp_encode_control, sbp_encode_error, sbp_encode_message
from sideband.errors import PeerError
from sideband.protocol.events import Event, ProtocolFailed
from sideband.protocol.fragments import FragmentBudget, Reassembler
from sideband.protocol.handshake import BIN_1, FRAG_1, MAX_FRAME_KEY, RESUME_1, HandshakePayload
from sideband.protocol.limits import MAX_PLAIN_FRAME_BYTES, SbpLimits, SendBudget
from sideband.protocol.outbox import FrameIds, Outbox
from sideband.protocol.resume import ReceiveOrder, SentWindow

__all__ = ["CONTROL_CLOSE", "CONTROL_HANDSHAKE", "CONTROL_PING", "CONTROL_PONG", "ConnectionState"]

CONTROL_HANDSHAKE = 0
CONTROL_PING = 1
CONTROL_PONG = 2
CONTROL_CLOSE = 3

logger = logging.getLogger("sideband.protocol")


class ConnectionState:
    """What both directions of one connection know.

    Attributes:
        offered: the capabilities in our handshake.
        urgent: frames that go ahead of everything else.
        control: frames that go ahead of every message.
        order: with resume/1, which covered message comes next.
        calls: cids of our calls under way.
        calls_at_cut: those of them that had left when the session was last paused, or our last state left.
        closed: a close was sent or came, or the protocol failed.
        paused: between a pause and the resume after it.
        awaiting_state: until when the other side's state is awaited, or None.
    """

    __slots__ = (
        "_noted",
        "awaiting_state",
        "binary",
        "calls",
        "calls_at_cut",
        "capabilities",
        "clock",
        "closed",
        "control",
        "ids",
        "limits",
        "max_message",
        "offered",
        "order",
        "outbox",
        "paused",
        "reassembler",
        "remote",
        "urgent",
        "whole",
    )

    def __init__(
        self,
        *,
        offered: frozenset[str],
        max_payload: int,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        budget: FragmentBudget,
        send_budget: SendBudget,
        limits: SbpLimits,
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.offered = offered
        self.ids = FrameIds(random)
        self.outbox = Outbox(self.ids, limits, max_payload, send_budget)
        self.urgent: list[bytes] = []
        self.control: list[bytes] = []
        self.reassembler = Reassembler(limits, budget)
        self.order: ReceiveOrder | None = None
        self.calls: set[bytes] = set()
        self.calls_at_cut: frozenset[bytes] = frozenset()
        self.remote: HandshakePayload | None = None
        self.capabilities: frozenset[str] = frozenset()
        self.binary = False
        self.whole = self.max_message = min(max_payload, MAX_PLAIN_FRAME_BYTES)
        self.closed = False
        self.paused = False
        self.awaiting_state: float | None = None
        self._noted: tuple[str, ...] = ()

    def agree(self, remote: HandshakePayload) -> None:
        """Take the other side's handshake: from here on both know what is used."""
        self.remote = remote
        self.capabilities = self.offered.intersection(remote.caps)
        self.binary = BIN_1 in self.capabilities
        if FRAG_1 in self.capabilities:
            theirs = remote.metadata.get(MAX_FRAME_KEY)
            limit = min(self.limits.max_frame, self.limits.unfinished_bytes)
            self.max_message = min(limit, theirs) if type(theirs) is int and theirs > 0 else limit
            self.whole = min(self.whole, self.max_message)
            self.reassembler.max_frame = self.max_message
        if RESUME_1 in self.capabilities:
            self.outbox.window = SentWindow(self.limits)
            self.order = ReceiveOrder(self.limits)

    def check_open(self) -> None:
        """Refuse to send.

        Raises:
            PeerError: `peer_closed` after a close or a failure, `not_connected` before the handshake has come.
        """
        if self.closed:
            raise PeerError("peer_closed", "the connection is closed; connect again to send")
        if self.remote is None:
            raise PeerError("not_connected", "the other side's handshake has not come yet; wait until it is ready")

    def covered_id(self) -> bytes:
        """The frame id for the next covered message that fits one payload. It is spent only by queueing the message."""
        outbox = self.outbox
        return self.ids.fresh() if outbox.window is None else self.ids.numbered(outbox.next_number)

    def queue(self, subject: str, data: bytes, *, loose: bool) -> None:
        """Queue a covered message; a `loose` one may be overtaken when it needs pieces.

        Raises:
            PeerError: `message_too_large` or `buffer_overflow`; nothing is queued then.
        """
        size = _MESSAGE_OVERHEAD + len(subject) + len(data)
        if size <= self.whole and subject.isascii():
            self.check_buffer(size)
            self.outbox.append(sbp_encode_message(self.covered_id(), subject, data))
            return
        frame = sbp_encode_message(self.covered_id(), subject, data)
        if len(frame) <= self.whole:
            self.check_buffer(len(frame))
            self.outbox.append(frame)
        else:
            self.check_size(len(frame))
            self.outbox.append_large(sbp_encode_message(self.ids.fresh(), subject, data), loose=loose)

    def check_size(self, size: int) -> None:
        """Refuse a frame of `size` bytes that is too large, or finds too much waiting before it.

        Raises:
            PeerError: `message_too_large` or `buffer_overflow`.
        """
        if size > self.max_message:
            raise PeerError(
                "message_too_large",
                f"the message takes {size} bytes, at most {self.max_message} can be sent"
                + ("" if FRAG_1 in self.capabilities else "; the other side does not take messages in pieces (frag/1)"),
                details={"size": size, "limit": self.max_message},
            )
        self.check_buffer(size)

    def check_buffer(self, size: int) -> None:
        """Refuse `size` more bytes when too many wait.

        Raises:
            PeerError: `buffer_overflow`.
        """
        if not self.outbox.reserve(size):
            waiting, most = self.outbox.buffered, self.limits.send_buffer_bytes
            raise PeerError(
                "buffer_overflow",
                f"{waiting} bytes wait to be sent, at most {most} may; slow down"
                if waiting + size > most
                else "too much waits to be sent on all connections of this process together; slow down",
            )

    def reply_pong(self) -> None:
        """Answer a ping, unless too many answers wait already."""
        if self._may_reply():
            self.control.append(sbp_encode_control(self.ids.fresh(), CONTROL_PONG))

    def reply_error(self, code: int, message: str) -> None:
        """Tell the other side what was wrong and go on, unless too many answers wait already."""
        if self._may_reply():
            self.control.append(sbp_encode_error(self.ids.fresh(), code, message))

    def fail(self, code: int, message: str) -> list[Event]:
        """End the connection: queue an error frame as the last thing to send."""
        if self.closed:
            return []
        self.shut()
        self.control.append(sbp_encode_error(self.ids.fresh(), code, message))
        return [ProtocolFailed(code, message)]

    def shut(self) -> None:
        """Let go of everything that waits, besides control frames."""
        self.closed = True
        self.paused = False
        self.awaiting_state = None
        self.outbox.clear()
        self.reassembler.clear()
        self.calls.clear()
        self.calls_at_cut = frozenset()

    def note(self, cause: str, detail: str) -> None:
        """Log something dropped: the first of its kind as a warning, the rest for debugging only."""
        level = logging.DEBUG if cause in self._noted else logging.WARNING
        if cause not in self._noted:
            self._noted += (cause,)
        logger.log(level, "%s: %s", cause, detail)

    def _may_reply(self) -> bool:
        if len(self.control) < self.limits.pending_replies:
            return True
        self.note("answer dropped", f"{self.limits.pending_replies} control frames wait to be sent")
        return False


_MESSAGE_OVERHEAD = 18 + 4
