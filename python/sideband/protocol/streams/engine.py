"""The byte streams of one session, without I/O (docs/protocol/streams.md).

Stands beside an `SbpConnection` and leaves the order of things to it:

    for event in connection.receive(frame): ...         # unless streams.receive_frame(frame) took it
        streams.receive(event.data)                     # of StreamReceived
    for message in streams.take_control(): connection.send_stream_control(message)
    out = connection.take(room)                         # control and messages first,
    if not connection.wants_write: out += streams.take(CHUNK)   # then stream data, a chunk at a time
    for event in streams.poll(): ...

It never reads a clock, a random source or a socket of its own, and is not thread-safe.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from sideband._native import (
    STREAM_DATA_PREFIX_SIZE,
    StreamFramer,
    stream_data_of,
    stream_encode_accept,
    stream_encode_done,
    stream_encode_end,
    stream_encode_open,
    stream_encode_reset,
    stream_encode_resume,
    stream_encode_window,
)
from sideband.errors import PeerError
from sideband.protocol.streams.admission import Admission
from sideband.protocol.streams.backlog import Backlog
from sideband.protocol.streams.credit import Credit
from sideband.protocol.streams.dispatch import Dispatch
from sideband.protocol.streams.events import StreamEvent, StreamFailed, StreamWritable
from sideband.protocol.streams.kept import KeptStreams
from sideband.protocol.streams.limits import (
    DEFAULT_STREAM_LIMITS,
    PROCESS_STREAMS,
    PROCESS_UNREAD,
    ResetCode,
    StreamBudget,
    StreamLimits,
)
from sideband.protocol.streams.metadata import pack_metadata
from sideband.protocol.streams.receiving import Incoming
from sideband.protocol.streams.schedule import Frame, Schedule
from sideband.protocol.streams.sending import Outgoing
from sideband.protocol.streams.stream import ByteStream

__all__ = ["Streams"]


class Streams:
    """All streams of one session, once both handshakes have listed `stream/1`.

    Args:
        opener: True on the side that opened the connection (the client).
        max_frame_payload: the largest SBP frame one message of the transport carries.
        kept: where the streams live on when the session is lost; by default they don't outlive it.
        limits: every bound, see `StreamLimits`.
        budget: bounds what was written and not consumed in all sessions that share it; by default one for the process.
        unread_budget: bounds what came and was not read, likewise.
        clock: seconds, monotonic.
        random: returns so many random bytes.
        wake: called when there is something to take or to poll that no call of the driver's brought about, such as
            after a write.
    """

    def __init__(
        self,
        *,
        opener: bool,
        max_frame_payload: int,
        kept: KeptStreams | None = None,
        limits: StreamLimits = DEFAULT_STREAM_LIMITS,
        budget: StreamBudget = PROCESS_STREAMS,
        unread_budget: StreamBudget = PROCESS_UNREAD,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], bytes] = os.urandom,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._random = random
        self._wake = wake
        self._budget = budget
        self._unread_budget = unread_budget
        self._credit = Credit(limits, clock, unread_budget, wake)
        self._kept = kept if kept is not None else KeptStreams(limits, budget, random, unread_budget)
        self._framer = StreamFramer(random(8))
        chunk = min(limits.chunk_bytes, max_frame_payload) - STREAM_DATA_PREFIX_SIZE
        self._schedule = Schedule(self._framer, chunk, limits.session_window)
        self._live: dict[int, ByteStream] = {}
        self._admission = Admission(limits, self._live)
        self._next_id = 2 if opener else 1
        self._paused = False
        self._events: list[StreamEvent] = []
        self._control: list[bytes] = []
        self._refused = 0
        self._backlog = Backlog(limits, budget, chunk, self._live, self._has_room, wake)
        self._resumes: dict[ByteStream, None] = {}
        self._dispatch = Dispatch(self, remote_parity=1 if opener else 0)

    @property
    def live(self) -> list[ByteStream]:
        """The streams that are not over."""
        return [*self._live.values(), *self._admission.unopened]

    @property
    def held_bytes(self) -> int:
        """Bytes written on this session's streams that the other side has not consumed."""
        return self._backlog.held

    @property
    def unread_bytes(self) -> int:
        """Bytes that came and wait to be read."""
        return self._credit.unread

    @property
    def round_trip(self) -> float | None:
        """The smallest of the latest round trips in seconds; None before the first."""
        return self._credit.round_trip

    @property
    def wants_write(self) -> bool:
        """Whether `take` would return something now. May be True once when there turns out to be no credit."""
        if self._paused:
            return False
        return bool(self._schedule or self._credit or self._resumes)

    def open(self, name: str, metadata: Mapping[str, Any] | None = None, *, digest: bool = False) -> ByteStream:
        """Open a stream. It can be written to at once; bytes leave when the other side has accepted it.

        Args:
            name: what it is for, 1 to 1,024 bytes of UTF-8.
            metadata: goes along, at most 8 KiB of MessagePack.
            digest: end both directions with a digest that the receiver checks.

        Raises:
            PeerError: `buffer_overflow` when as many streams are open as may be; `message_too_large` for the metadata.
            ValueError: for a name of another size, or metadata that MessagePack cannot carry.
        """
        if not 1 <= len(name.encode()) <= _MAX_NAME_BYTES:
            raise ValueError(f"a stream's name has 1 to {_MAX_NAME_BYTES} bytes of UTF-8")
        packed = pack_metadata(metadata, digest=digest)
        if not self._admission.takes_ours:
            raise PeerError("buffer_overflow", f"{self._limits.streams} streams are open; end one to open another")
        stream = ByteStream(
            ours=True,
            name=name,
            metadata=dict(metadata or {}),
            packed=packed,
            token=self._random(16),
            outgoing=Outgoing(limit=0, digest=digest),
            incoming=Incoming(self._credit.new_window(), digest=digest),
            kept=self._kept,
        )
        stream._streams = self
        self._kept._add(stream)
        self._admission.unopened.append(stream)
        self._open_next()
        self._wake()
        return stream

    def receive(self, message: bytes) -> None:
        """Take in one message of stream/1. Never raises for what the other side sent; ask `poll` what came of it."""
        self._dispatch.message(message)

    def receive_frame(self, frame: bytes) -> bool:
        """Take in a whole SBP frame if it is a plain data message, without a copy; False leaves it to the caller."""
        found = stream_data_of(frame)
        if found is None:
            return False
        self._dispatch.data(found[0], found[1], memoryview(frame)[STREAM_DATA_PREFIX_SIZE:])
        return True

    def poll(self) -> list[StreamEvent]:
        """Return what has happened since the last call."""
        self._backlog.settle()
        events, self._events = self._events, []
        return events

    def take_control(self) -> list[bytes]:
        """Return messages for `SbpConnection.send_stream_control`, in order."""
        if not self._control:
            return []
        control, self._control = self._control, []
        self._refused = 0
        return control

    def take(self, max_bytes: int) -> list[Frame]:
        """Return whole SBP frames to seal now, together at most `max_bytes` (one may be more); a tuple is one in parts.

        Credit and resumes first, then data, the streams taking turns. Empty while paused. What is returned counts as
        sent. Only take when the connection itself has nothing to send: data must not overtake a repeated `open`.
        """
        out: list[Frame] = []
        if self._paused:
            return out
        frame = self._framer.frame
        for stream in self._resumes:
            window = stream._incoming.window
            limit = window.renew(self._clock())
            out.append(frame(stream_encode_resume(stream.id, window.received, stream._token, limit)))
            if window.consumed:
                # The last word of it may be lost, and a sender that holds all it may waits for nothing else.
                out.append(frame(stream_encode_window(stream.id, window.consumed, limit)))
        self._resumes.clear()
        self._credit.take(out, self._framer)
        self._schedule.take(out, max_bytes - sum(map(len, out)))
        return out

    def observe_round_trip(self, seconds: float) -> None:
        """Tell a round trip that was measured; the smallest of the latest decides about the growth of windows."""
        self._credit.observe_round_trip(seconds)

    def pause(self) -> None:
        """The session is cut but may come back with the same keys. Idempotent."""
        self._paused = True
        self._credit.pause()
        self._resumes.clear()
        self._schedule.clear()
        for stream in self._live.values():
            stream._outgoing.suspended = True

    def resumed(self) -> None:
        """The session is back on the same keys. Call when the connection's own repeats are queued."""
        self.pause()
        self._paused = False
        self._credit.restart()
        self._schedule.restart()
        for stream in self._live.values():
            if stream.ours and not stream.accepted and not stream._reviving:
                # Its `open` may still be on the way: the resume follows when `accept` has come, and none is due to us.
                stream._owes_resume = True
                stream._outgoing.suspended = False
            else:
                self._resumes[stream] = None

    def detach(self) -> None:
        """The session is lost for good: its streams wait in `kept` for the next one. This object is over."""
        self.pause()
        now = self._clock()
        live = self.live
        self._admission.unopened.clear()
        for stream in live:
            self._leave(stream)
            self._kept._keep(stream, now)
        self._control.clear()

    def revive(self) -> None:
        """After the handshake of a new session: go on with the streams in `kept` that this side opened."""
        for stream in self._kept._to_revive(self._clock()):
            self._join(stream)
            if stream.accepted or stream.closed:
                stream.id = self._new_id()
                self._live[stream.id] = stream
                stream._reviving = True
                self._resumes[stream] = None
            else:
                stream._owes_resume = True
                self._admission.unopened.append(stream)
        self._open_next()

    def close(self, code: int = ResetCode.CANCELLED, reason: str = "the connection was closed") -> None:
        """Give up all streams: the session ends on purpose."""
        for stream in self.live:
            self._fail(stream, code, reason, remote=False, tell=False)

    # What streams call.

    def _accept(self, stream: ByteStream) -> None:
        self._credit.granted -= stream._incoming.window.size
        window = self._credit.new_window()
        stream._incoming.window = window
        self._settled(stream)
        self._control.append(stream_encode_accept(stream.id, window.limit))
        self._add_ready(stream)
        self._wake()

    def _wrote(self, stream: ByteStream, taken: int) -> None:
        self._backlog.take(stream, taken)
        if taken and not stream._scheduled and self._add_ready(stream):
            self._wake()

    def _ended(self, stream: ByteStream) -> None:
        self._backlog.ended(stream)
        if stream.id and not stream._reviving:
            self._send_end(stream)
            self._wake()

    def _consumed(self, stream: ByteStream, size: int) -> None:
        told = self._credit.read(stream, size)
        incoming = stream._incoming
        if incoming.end is not None and incoming.drained:
            self._send_done(stream)
        if told or self._control:
            self._wake()

    def _confirmed(self, stream: ByteStream) -> None:
        self._send_done(stream)
        self._wake()

    def _reset(self, stream: ByteStream, code: int, reason: str) -> None:
        self._fail(stream, code, reason, remote=False, tell=True)
        self._wake()

    # What the dispatch and this class share.

    def _new_id(self) -> int:
        self._next_id += 2
        return self._next_id - 2

    def _open_next(self) -> None:
        while (stream := self._admission.next_to_open()) is not None:
            stream.id = self._new_id()
            self._live[stream.id] = stream
            self._admission.waits(stream)
            stream._outgoing.suspended = False
            window = stream._incoming.window
            self._control.append(
                stream_encode_open(stream.id, stream._token, window.limit, stream.name, stream._packed)
            )
            if stream._outgoing.ended:
                self._send_end(stream)

    def _send_end(self, stream: ByteStream) -> None:
        outgoing = stream._outgoing
        self._control.append(stream_encode_end(stream.id, outgoing.written, outgoing.digest))

    def _send_done(self, stream: ByteStream) -> None:
        incoming = stream._incoming
        if stream._reviving or incoming.finished or incoming.withheld:
            return
        incoming.finished = True
        self._control.append(stream_encode_done(stream.id, incoming.window.consumed))
        self._close_if_over(stream)

    def _close_if_over(self, stream: ByteStream) -> None:
        if stream.closed and stream.id:
            self._leave(stream)
            self._kept._finish(stream, self._clock())

    def _add_ready(self, stream: ByteStream) -> bool:
        return not self._paused and self._schedule.add(stream)

    def _fail(self, stream: ByteStream, code: int, reason: str, *, remote: bool, tell: bool) -> None:
        if tell and stream.id and not stream._reviving:
            self._control.append(stream_encode_reset(stream.id, code, reason))
        self._leave(stream)
        self._kept._remove(stream)
        self._budget.release(stream._outgoing.drop())
        self._unread_budget.release(stream._incoming.drop())
        self._credit.settle(self._clock())
        stream.failure = StreamFailed(stream, code, reason, remote)
        self._events.append(stream.failure)
        self._backlog.tell_all()

    def _has_room(self, stream: ByteStream) -> None:
        self._events.append(StreamWritable(stream))

    def _leave(self, stream: ByteStream) -> None:
        """The stream is no longer one of this session's; what it holds stays with it."""
        if stream.id:
            del self._live[stream.id]
            self._settled(stream)
        elif stream in self._admission.unopened:
            self._admission.unopened.remove(stream)
        self._resumes.pop(stream, None)
        self._schedule.remove(stream)
        self._backlog.remove(stream)
        self._credit.remove(stream)
        stream._outgoing.suspended = True
        stream._streams = None
        stream._reviving = False
        stream.id = 0

    def _join(self, stream: ByteStream) -> None:
        """A stream of an earlier session is one of this session's."""
        earlier = stream._streams
        if earlier is not None:
            earlier._leave(stream)
        self._kept._taken_up(stream)
        self._backlog.add(stream)
        self._credit.add(stream)
        stream._outgoing.suspended = True
        stream._streams = self

    def _settled(self, stream: ByteStream) -> None:
        """A stream no longer waits to be accepted."""
        if self._admission.settled(stream):
            self._open_next()


_MAX_NAME_BYTES = 1024
