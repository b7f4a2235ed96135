"""One session of a peer: frames go in, outcomes go to the peer, frames come out. Nothing here waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from sideband.errors import PeerError, SbpError
from sideband.peer.clock import Clock, Timer
from sideband.peer.lifecycle import SessionPaused, SessionPending, SessionResumed
from sideband.peer.link import LinkSignal
from sideband.protocol import events as sbp
from sideband.protocol.connection import SbpConnection
from sideband.protocol.handshake import HandshakePayload
from sideband.protocol.resume import RESUME_SUBJECT
from sideband.protocol.subjects import DIRECT_SUBJECT, STREAM_SUBJECT

if TYPE_CHECKING:
    from sideband.peer.peer import Peer
    from sideband.peer.streams import SessionStreams
    from sideband.peer.upgrade import PathUpgrade
    from sideband.protocol.streams.schedule import Frame

__all__ = ["MAX_HELD_BYTES", "MAX_HELD_FRAMES", "Session", "is_of_streams"]

MAX_HELD_FRAMES = 256
"""Frames that may come between the other side's handshake and the decision to accept it."""
MAX_HELD_BYTES = 1024 * 1024


class Session:
    """Binds an `SbpConnection` to a peer.

    Args:
        connection: a fresh one.
        clock: the same time that the connection was given.
        wake: called when there may be something to send.
        on_handshake: called once with the other side's handshake. Frames after it are held until `bind`.
        on_end: called once, at the moment the session ends, so that nobody takes it for active any more.
    """

    def __init__(
        self,
        connection: SbpConnection,
        clock: Clock,
        wake: Callable[[], None],
        on_handshake: Callable[[HandshakePayload], None],
        on_end: Callable[[Exception], None],
    ) -> None:
        self.connection = connection
        self._wake = wake
        self._wake_direct = wake
        self._direct = False
        self._moving = False
        self._dropping = False
        self.upgrade: PathUpgrade | None = None
        self.error: Exception | None = None
        self.streams: SessionStreams | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._clock = clock
        self._on_handshake = on_handshake
        self._on_end = on_end
        self._peer: Peer | None = None
        self._held: list[bytes] | None = None
        self._held_bytes = 0
        self._paused = False
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self._outcomes: dict[type[Any], Callable[[Any], None]] = {
            sbp.HandshakeReceived: self._handshake_received,
            sbp.PeerClosed: self._peer_closed,
            sbp.ProtocolFailed: self._protocol_failed,
            sbp.SbpErrorReceived: self._error_frame_received,
            sbp.ResumeFailed: self._resume_failed,
            sbp.ResumeCompleted: self._resume_completed,
            sbp.DirectReceived: self._direct_received,
        }

    def wake(self) -> None:
        """There may be something to send: tell whoever sends it now."""
        (self._wake_direct if self._direct else self._wake)()

    def bind(self, peer: Peer) -> None:
        """Give the session to its peer, and with it the frames that were held."""
        self._peer = peer
        rpc, events = peer.rpc, peer.events
        self._outcomes |= {
            sbp.RequestReceived: rpc.handlers.received,
            sbp.ResultReceived: lambda event: rpc.result_received(event.cid, event.value),
            sbp.ErrorReceived: lambda event: rpc.error_received(event.cid, event.code, event.message, event.data),
            sbp.CancelReceived: lambda event: rpc.handlers.cancelled(event.cid),
            sbp.CallsLost: lambda event: rpc.lost(event.cids),
            sbp.NotificationReceived: lambda event: events.received(event.name, event.data, event.size),
            sbp.EventsLost: peer.events_lost,
            sbp.AppReceived: lambda event: peer.app_received(event.subject, event.data),
            sbp.StreamReceived: lambda event: peer.stream_received(event.data),
        }
        held, self._held = self._held, None
        if held:
            self.receive(held)

    def receive(self, frames: Iterable[bytes]) -> None:
        """Take in frames of the other side."""
        receive, outcomes = self.connection.receive, self._outcomes
        streams = None if self.error is not None else self.streams
        for frame in filter(self._passes, frames) if self._dropping else frames:
            if self._held is not None:
                self._hold(frame)
                continue
            if streams is not None and streams.receive_frame(frame):
                continue
            for event in receive(frame):
                outcomes[type(event)](event)
            if self.error is not None:
                break
        self._settle()

    def signal(self, signal: LinkSignal) -> None:
        """Take in news about the link. What makes no sense at the moment, as a relay may send, is ignored."""
        if self.error is not None:
            return
        if signal is LinkSignal.PAUSED:
            if self.upgrade is not None and self.upgrade.relay_paused():
                return
            self._dropping = False
            self._paused = True
            self.connection.pause()
            if self.streams is not None:
                self.streams.pause()
            if self._peer is None:
                self.fail(PeerError("not_connected", "the session was cut before its handshake was finished"))
            else:
                self._peer.apply(SessionPaused())
        elif not self._paused:
            if signal is LinkSignal.RESUMED and self.upgrade is not None:
                self.upgrade.relay_resumed()
            return
        elif signal is LinkSignal.RESUMED:
            self._paused = False
            # First the connection: what the peer sends on becoming active queues behind what is repeated.
            for event in self.connection.resumed():
                self._outcomes[type(event)](event)
            if self._peer is not None and not self.ended.done():
                self._peer.apply(SessionResumed())
        elif self._peer is not None:
            self._peer.apply(SessionPending())
        self._settle()

    @property
    def wants_write(self) -> bool:
        """Whether `take` would return something now. May be True once when a full window turns out to hold all back."""
        return self.connection.wants_write or (
            self.streams is not None and self.error is None and not self.connection.holding and self.streams.wants_write
        )

    @property
    def lost(self) -> bool:
        """Whether the session ended without a word of either side, so that another may go on where it ended."""
        error = self.error
        return not self.connection.closed or (isinstance(error, PeerError) and error.code == "not_connected")

    def move(self, make: Callable[[int], bytes], wake: Callable[[], None]) -> None:
        """Let this side's frames leave by the direct way, after one last message on the relay.

        Args:
            make: returns that message for the number of the next covered frame; called when it leaves.
            wake: called from then on when there may be something to send.
        """

        def moving(number: int) -> bytes:
            self._moving = True
            return make(number)

        self._wake_direct = wake
        self.connection.queue_switch(moving)
        self.wake()

    def stay(self) -> None:
        """Send by the relay, and forget about `move`."""
        self._direct = self._moving = False
        self.connection.queue_switch(None)

    def rewind(self, farewell: bytes) -> None:
        """Go back to the relay: say so there, and repeat what the other side tells that it has not got.

        What comes by the relay until `welcome_back` was sent before the other side knew, and is dropped: all of it is
        repeated as well.
        """
        self.stay()
        if self.error is not None or self.connection.closed:
            return
        self.connection.send_direct(farewell, urgent=True)
        self._dropping = True
        if self._paused:
            return
        self.connection.pause()
        if self.streams is not None:
            self.streams.pause()
        for event in self.connection.resumed():
            self._outcomes[type(event)](event)
        self._settle()
        self.wake()

    def welcome_back(self) -> None:
        """The other side has gone back as well: what it sends from here on counts."""
        self._dropping = False

    def take(self, max_bytes: int, *, direct: bool = False) -> list[Frame]:
        """Return frames to send now, at most `max_bytes` together (one may be more); empty when there are none.

        The bytes of streams come last. Beside calls and events they leave a chunk at a time, so that nothing else is
        sealed behind more than one.

        Args:
            max_bytes: bytes that may leave at once.
            direct: the way that they would take; nothing leaves by another than the session's present one.
        """
        if direct is not self._direct:
            return []
        streams = None if self.error is not None else self.streams
        if streams is not None:
            streams.settle()
        frames: list[Frame] = [*self.connection.take(max_bytes)]
        if self._moving:
            self._moving, self._direct = False, True
            self._wake_direct()
            self._arm()
            return frames
        if self._peer is not None:
            self._peer.events.flush()
        if streams is not None and not self.connection.holding and not self.connection.wants_write:
            frames += streams.take(behind_others=not all(map(is_of_streams, frames)))
        self._arm()
        return frames

    def fail(self, error: Exception) -> None:
        """End the session; the first error counts. The connection's last frames can still be taken."""
        if self.error is None:
            self.error = error
            self._disarm()
            self.ended.set_result(None)
            self._on_end(error)

    def close(self, reason: str) -> None:
        """End the session from this side: the other one is told the reason."""
        if not self.connection.closed:
            self.connection.close(reason)
        self.fail(
            PeerError("peer_closed", f"closed here: {reason or 'no reason given'}", details={"closed_here": reason})
        )
        self.wake()

    def _passes(self, frame: bytes) -> bool:
        if not self._dropping or frame[:1] != b"\x01":
            return True
        begin = 26 if frame[1:2] == b"\x01" else 18
        return frame[begin : begin + len(_DIRECT)] == _DIRECT

    def _hold(self, frame: bytes) -> None:
        assert self._held is not None  # noqa: S101  (narrows the type; the caller has looked)
        self._held_bytes += len(frame)
        if len(self._held) >= MAX_HELD_FRAMES or self._held_bytes > MAX_HELD_BYTES:
            self.fail(PeerError("buffer_overflow", "the other side sent too much before it was accepted"))
        else:
            self._held.append(frame)

    def _settle(self) -> None:
        if self.streams is not None and self.error is None:
            self.streams.settle()
        if self.wants_write:
            self.wake()
        self._arm()

    def _handshake_received(self, event: sbp.HandshakeReceived) -> None:
        self._held = []
        self._on_handshake(event.payload)

    def _peer_closed(self, event: sbp.PeerClosed) -> None:
        reason = event.reason or "no reason given"
        self.fail(
            PeerError("peer_closed", f"the other side closed the session: {reason}", details={"reason": event.reason})
        )

    def _protocol_failed(self, event: sbp.ProtocolFailed) -> None:
        self.fail(SbpError(event.code, event.message, fatal=event.code < 2000))

    def _error_frame_received(self, event: sbp.SbpErrorReceived) -> None:
        error = SbpError(event.code, f"the other side reported: {event.message[:256]}", fatal=event.fatal)
        if event.fatal:
            self.fail(error)
        elif self._peer is not None:
            self._peer.report(error)

    def _direct_received(self, event: sbp.DirectReceived) -> None:
        if self.upgrade is not None:
            self.upgrade.received(event.data)

    def _resume_completed(self, _event: sbp.ResumeCompleted) -> None:
        if self.streams is not None:
            self.streams.resumed()

    def _resume_failed(self, event: sbp.ResumeFailed) -> None:
        self.connection.close("resume failed")
        self.fail(PeerError("not_connected", f"the session could not be resumed: {event.message}"))

    def _arm(self) -> None:
        due = self.connection.next_deadline()
        if due is None or self.error is not None or (self._timer is not None and self._timer_due <= due):
            return
        self._disarm()
        self._timer_due = due
        self._timer = self._clock.call_later(max(0.0, due - self._clock.time()), self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock.time()
        due = self.connection.next_deadline()
        if due is not None and due <= now:
            for event in self.connection.on_deadline(now):
                self._outcomes[type(event)](event)
        self._settle()


def is_of_streams(frame: Frame) -> bool:
    """Whether nobody waits for what this side's frame says but streams, whose own control messages these are."""
    return isinstance(frame, bytes) and frame.startswith(_OF_STREAMS, 18)


_DIRECT = len(DIRECT_SUBJECT).to_bytes(4, "little") + DIRECT_SUBJECT.encode()
_OF_STREAMS = tuple(len(name).to_bytes(4, "little") + name.encode() for name in (STREAM_SUBJECT, RESUME_SUBJECT))
