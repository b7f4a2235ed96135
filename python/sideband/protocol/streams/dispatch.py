"""What a message of stream/1 from the other side leads to (docs/protocol/streams.md)."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sideband._native import StreamWindow, stream_decode, stream_encode_reset
from sideband.errors import SbpError
from sideband.protocol.streams.events import StreamAccepted, StreamDelivered, StreamOpened, StreamReadable
from sideband.protocol.streams.limits import ResetCode
from sideband.protocol.streams.metadata import unpack_metadata
from sideband.protocol.streams.receiving import Incoming
from sideband.protocol.streams.sending import Outgoing
from sideband.protocol.streams.stream import ByteStream

if TYPE_CHECKING:
    from sideband.protocol.streams.engine import Streams

__all__ = ["Dispatch"]


class Dispatch:
    """Takes in the messages of one session.

    Args:
        streams: whose state they change.
        remote_parity: the lowest bit of the ids that the other side gives.
    """

    __slots__ = ("_handlers", "_highest", "_remote_parity", "_skipped", "_streams")

    def __init__(self, streams: Streams, *, remote_parity: int) -> None:
        self._streams = streams
        self._remote_parity = remote_parity
        self._highest = 0
        self._skipped: set[int] = set()
        self._handlers: dict[int, Callable[[ByteStream, int, Any], None]] = {
            _ACCEPT: self._accept,
            _WINDOW: self._window,
            _END: self._end,
            _RESET: self._reset,
            _DONE: self._done,
        }

    def message(self, message: bytes) -> None:
        """See `Streams.receive`."""
        try:
            op, stream_id, offset, body = stream_decode(message)
        except SbpError as error:
            if len(message) >= _ID_END:
                self._violation(int.from_bytes(message[1:_ID_END], "little"), str(error))
            return
        if op == _DATA:
            self.data(stream_id, offset, memoryview(body))
        elif op == _OPEN:
            self._open(stream_id, *body)
        elif op == _RESUME:
            self._resume(stream_id, offset, *body)
        elif stream_id == 0:
            self._session_window(offset, body)
        elif (stream := self._streams._live.get(stream_id)) is None:
            if op != _RESET:
                self._unknown(stream_id)
        else:
            self._handlers[op](stream, offset, body)

    def data(self, stream_id: int, offset: int, chunk: memoryview) -> None:
        """Take in bytes; the hot path."""
        streams = self._streams
        now = streams._clock()
        size = chunk.nbytes
        credit = streams._credit
        if not credit.arrived(size, now):
            self._violation(stream_id, "it ignores the session's window")
            return
        stream = streams._live.get(stream_id)
        if stream is None:
            self._unknown(stream_id)
        else:
            incoming = stream._incoming
            arrival, round_trip = incoming.window.arrive(offset, size, now)
            if arrival == _NEXT:
                if round_trip is not None:
                    credit.observe_round_trip(round_trip)
                if incoming.end is not None and offset + size > incoming.end:
                    self._violation(stream_id, "bytes come after its end")
                else:
                    self._add(stream, chunk)
            elif arrival == _PAST:
                self._violation(stream_id, "it ignores the window")
        credit.settle(now)

    def _add(self, stream: ByteStream, chunk: memoryview) -> None:
        streams, incoming = self._streams, stream._incoming
        if not incoming.buffered:
            streams._events.append(StreamReadable(stream))
        incoming.add(chunk)
        streams._credit.keep(chunk.nbytes)
        if incoming.end is not None and incoming.complete and not incoming.intact():
            self._corrupt(stream)

    def _open(self, stream_id: int, token: bytes, window: int, name: str, packed: bytes) -> None:
        streams = self._streams
        if not self._claim(stream_id):
            self._violation(stream_id, "its id was used before, or is not for the side that opens it")
            return
        known = streams._kept._find(token)
        if known is not None:
            self._open_again(known, stream_id, window)
            return
        if not streams._admission.takes_theirs:
            self._refuse(stream_id, ResetCode.LIMIT, "too many streams are open")
            return
        try:
            metadata, digest = unpack_metadata(packed)
        except ValueError as error:
            self._refuse(stream_id, ResetCode.PROTOCOL, f"its metadata is broken: {error}")
            return
        stream = ByteStream(
            ours=False,
            name=name,
            metadata=metadata,
            packed=packed,
            token=token,
            outgoing=Outgoing(limit=window, digest=digest),
            # Nothing may come before it is accepted.
            incoming=Incoming(StreamWindow(0, 0, streams._clock()), digest=digest),
            kept=streams._kept,
        )
        stream._streams = streams
        stream.id = stream_id
        streams._live[stream_id] = stream
        streams._admission.waits(stream)
        streams._kept._add(stream)
        streams._events.append(StreamOpened(stream))

    def _open_again(self, stream: ByteStream, stream_id: int, window: int) -> None:
        """The opener never heard that its stream was accepted, so nothing has come on it.

        What left may have come, so the opener still says by a resume from where to go on.
        """
        streams = self._streams
        if stream.ours or stream._incoming.window.received:
            self._refuse(stream_id, ResetCode.PROTOCOL, "its token is in use")
            return
        self._take_up(stream, stream_id)
        stream._outgoing.allow(window, 0)
        streams._admission.waits(stream)
        if stream.accepted:
            streams._accept(stream)
        self._repeat(stream)

    def _accept(self, stream: ByteStream, _offset: int, window: int) -> None:
        streams = self._streams
        if not stream.ours or stream.accepted:
            self._violation(stream.id, "accept comes twice, or from the side that opened it")
            return
        stream.accepted = True
        stream._outgoing.allow(window, 0)
        if stream._owes_resume:
            stream._owes_resume = False
            streams._resumes[stream] = None
        streams._events.append(StreamAccepted(stream))
        streams._settled(stream)
        streams._add_ready(stream)
        streams._backlog.tell(stream)

    def _window(self, stream: ByteStream, offset: int, limit: int) -> None:
        streams, outgoing = self._streams, stream._outgoing
        if offset > outgoing.furthest:
            self._violation(stream.id, f"it has consumed {offset} bytes of {outgoing.furthest}")
            return
        streams._backlog.release(outgoing.consumed(offset))
        outgoing.allow(limit, offset)
        streams._add_ready(stream)
        streams._backlog.tell(stream)

    def _session_window(self, offset: int, limit: int) -> None:
        self._streams._schedule.allow(offset, limit)

    def _end(self, stream: ByteStream, offset: int, digest: bytes | None) -> None:
        streams, incoming = self._streams, stream._incoming
        again = incoming.end is not None
        if not incoming.finish(offset, digest):
            self._violation(stream.id, "its end contradicts what came before, or its digest what was agreed")
            return
        if again:
            self._repeat_done(stream)
            return
        if incoming.complete and not incoming.intact():
            self._corrupt(stream)
            return
        if incoming.complete:
            streams._credit.due.pop(stream, None)
        if incoming.drained:
            streams._events.append(StreamReadable(stream))
            streams._send_done(stream)

    def _reset(self, stream: ByteStream, _offset: int, body: tuple[int, str]) -> None:
        code, reason = body
        if stream.closed:
            # Only its last word was to be said again, and the other side needs it no more.
            self._streams._leave(stream)
            return
        self._streams._fail(stream, code, reason, remote=True, tell=False)

    def _done(self, stream: ByteStream, offset: int, _body: Any) -> None:
        streams, outgoing = self._streams, stream._outgoing
        if not outgoing.ended or offset != outgoing.written or offset != outgoing.furthest:
            self._violation(stream.id, f"it is done with {offset} bytes of {outgoing.furthest}")
            return
        if not outgoing.delivered:
            outgoing.delivered = True
            streams._backlog.release(outgoing.consumed(offset))
            streams._events.append(StreamDelivered(stream))
        if stream._reviving and stream.closed:
            # This is the other side's last word, said again in a new session; it may not have heard ours either.
            stream._reviving = False
            self._repeat_done(stream)
        streams._close_if_over(stream)

    def _resume(self, stream_id: int, offset: int, token: bytes, limit: int) -> None:
        streams = self._streams
        stream = streams._live.get(stream_id)
        fresh = stream is None
        if stream is None:
            known = streams._kept._find(token) if self._claim(stream_id) else None
            if known is None or known.ours:
                self._refuse(stream_id, ResetCode.UNKNOWN, "no stream with this token is kept here")
                return
            stream = known
            self._take_up(stream, stream_id)
            streams._resumes[stream] = None
        elif not hmac.compare_digest(stream._token, token):
            self._violation(stream_id, "its token is another stream's")
            return
        outgoing = stream._outgoing
        if not outgoing.base <= offset <= outgoing.furthest:
            span = f"{outgoing.base} to {outgoing.furthest}"
            self._violation(stream_id, f"it goes on from {offset}, and {span} can be repeated")
            return
        if outgoing.suspended:
            # Otherwise nothing was lost since the last one, and what left meanwhile is still under way.
            outgoing.go_on_from(offset)
            outgoing.suspended = False
        outgoing.allow(limit, offset)
        if fresh or stream._reviving:
            stream._reviving = False
            self._repeat(stream)
        streams._add_ready(stream)
        streams._backlog.tell(stream)

    def _take_up(self, stream: ByteStream, stream_id: int) -> None:
        """A stream of an earlier session goes on in this one; the older copy ends."""
        self._streams._join(stream)
        stream.id = stream_id
        self._streams._live[stream_id] = stream

    def _repeat(self, stream: ByteStream) -> None:
        """Say again in a new session what was said last, as the other side may not have heard it."""
        if stream._outgoing.ended and not stream._outgoing.delivered:
            self._streams._send_end(stream)
        self._repeat_done(stream)

    def _repeat_done(self, stream: ByteStream) -> None:
        if stream._incoming.drained and not stream._reviving:
            stream._incoming.finished = False
            self._streams._send_done(stream)

    def _corrupt(self, stream: ByteStream) -> None:
        reason = "the digest of what came is not that of what was sent"
        self._streams._fail(stream, ResetCode.INTEGRITY, reason, remote=False, tell=True)

    def _claim(self, stream_id: int) -> bool:
        """Note that an id of the other side is used; False when it cannot be.

        A resume under a fresh id can be overtaken by an `open` with a later one, so the ids between them stay free.
        """
        if stream_id & 1 != self._remote_parity:
            return False
        if stream_id <= self._highest:
            if stream_id not in self._skipped:
                return False
            self._skipped.remove(stream_id)
            return True
        between = range(self._highest + 2 if self._highest else 2 - self._remote_parity, stream_id, 2)
        if len(self._skipped) + len(between) > self._streams._limits.streams:
            return False
        self._skipped.update(between)
        self._highest = stream_id
        return True

    def _unknown(self, stream_id: int) -> None:
        """Messages for streams that are over may still be under way; for those that never were they cannot be."""
        ours = stream_id & 1 != self._remote_parity
        if stream_id >= self._streams._next_id if ours else stream_id > self._highest:
            self._refuse(stream_id, ResetCode.UNKNOWN, "no such stream was opened")

    def _violation(self, stream_id: int, reason: str) -> None:
        stream = self._streams._live.get(stream_id)
        if stream is not None:
            self._streams._fail(stream, ResetCode.PROTOCOL, reason, remote=False, tell=True)
        else:
            self._refuse(stream_id, ResetCode.PROTOCOL, reason)

    def _refuse(self, stream_id: int, code: ResetCode, reason: str) -> None:
        streams = self._streams
        if stream_id and streams._refused < streams._limits.refusals:
            streams._refused += 1
            streams._control.append(stream_encode_reset(stream_id, code, reason))


_OPEN, _ACCEPT, _DATA, _WINDOW, _END, _RESET, _RESUME, _DONE = range(8)
_NEXT, _PAST = 0, 2
_ID_END = 5
