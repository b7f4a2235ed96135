"""The daemon's end of all its relayed sessions, without I/O (docs/protocol/sbrp.md and peer.md, "Session pause").

It outlives its relay connection: keys, counters and replay windows stay in memory while the connection is gone. The
owner moves bytes and time: it calls `on_disconnected` and `on_reconnected`, hands every received message to `receive`,
sends what `take_frames` and `seal` return, and calls `on_timer` once `deadline` has passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from typing_extensions import Buffer

from sideband._native import (
    ClientSession,
    IdentityKeyPair,
    MessageBatch,
    WireFrames,
    decode_control,
    decode_frame,
    encode_handshake_accept,
    encode_pong,
    encode_signal,
    process_handshake_init,
    seal_websocket_frames,
)
from sideband.daemon_id import check_daemon_id
from sideband.errors import SbrpError, SbrpErrorCode
from sideband.secure_relay.daemon_events import (
    ConnectionFailed,
    DaemonCounters,
    DaemonEvent,
    RateLimited,
    SessionData,
    SessionEnded,
    SessionOpened,
    SessionPaused,
    SessionRefused,
    SessionResumed,
)
from sideband.secure_relay.held_session import HeldSession
from sideband.secure_relay.limits import DaemonLimits, HandshakeGate, TokenBucket

__all__ = ["DaemonEndpoint"]

_BULK_BYTES = 4096
"""Messages of this size on average are opened where they lie; of smaller ones those of a session are put together."""

_HANDSHAKE_INIT = 0x01
_DATA = 0x03
_PING = 0x10
_PONG = 0x11
_CONTROL = 0x20

_READY = 0
_CLOSE = 1
_STATE_LOST = 1
_SHUTDOWN = 2
_POLICY = 3
_ERROR = 4


class DaemonEndpoint:
    """Every session of a daemon.

    Not thread-safe: one task owns it.

    Args:
        daemon_id: 1 to 255 UTF-8 bytes, the `did` of the daemon's tokens.
        identity: the daemon's identity key pair.
        clock: seconds, such as `time.monotonic`; only differences count.
        limits: see `DaemonLimits`.

    Raises:
        ConfigError: `daemon_id` is not a daemon id.
    """

    def __init__(
        self,
        daemon_id: str,
        identity: IdentityKeyPair,
        *,
        clock: Callable[[], float],
        limits: DaemonLimits | None = None,
    ) -> None:
        self.daemon_id = check_daemon_id(daemon_id)
        self.limits = limits or DaemonLimits()
        self.counters = DaemonCounters()
        self.connected = False
        self._identity = identity
        self._clock = clock
        self._sessions: dict[int, HeldSession] = {}
        self._by_sid_bytes: dict[bytes, int] = {}
        # Both in the order of their deadlines: the first is the next one due.
        self._half_open: dict[int, float] = {}
        self._unconfirmed: dict[int, float] = {}
        self._gate = HandshakeGate(self.limits, clock())
        self._strays = TokenBucket(self.limits.handshakes_per_second, clock())
        self._malformed_in_a_row = 0
        self._outbox: list[bytes] = []

    @property
    def session_ids(self) -> tuple[int, ...]:
        """The sessions held, oldest first."""
        return tuple(self._sessions)

    @property
    def half_open(self) -> int:
        """How many sessions wait for `confirm`."""
        return len(self._half_open)

    def on_reconnected(self) -> list[DaemonEvent]:
        """Tell that a relay connection stands, the first one too.

        Queues Signal ready for every session that is held and sound. A session whose inner handshake was not done is
        given up instead (Signal close, state_lost): what the cut swallowed of it cannot be sent again, and the client
        begins anew at once rather than wait for a timeout. So is one whose state is damaged.
        """
        # An owner that missed the loss of the old connection must not leave its sessions unpaused.
        events: list[DaemonEvent] = self.on_disconnected() if self.connected else []
        self.connected = True
        self._malformed_in_a_row = 0
        # What the old connection did not take is nothing to the new one.
        self._outbox = []
        due = self._clock() + self.limits.resume_confirm_seconds
        self._unconfirmed = {}
        for sid in self.session_ids:
            if sid in self._half_open:
                self._drop(sid, SbrpErrorCode.SESSION_EXPIRED, "cut during the handshake", events, signal=_STATE_LOST)
            elif not self._sessions[sid].session.check_integrity():
                self._drop(sid, SbrpErrorCode.INTERNAL_ERROR, "session state damaged", events, signal=_STATE_LOST)
            else:
                self._unconfirmed[sid] = due
                self._outbox.append(encode_signal(sid, _READY))
        return events

    def on_disconnected(self) -> list[DaemonEvent]:
        """Tell that the relay connection is gone; every session pauses, none is lost."""
        self.connected = False
        self._outbox = []
        self._unconfirmed = {}
        events: list[DaemonEvent] = []
        for sid, held in self._sessions.items():
            if not held.paused:
                held.paused = True
                events.append(SessionPaused(sid))
        return events

    def receive(self, message: bytes) -> list[DaemonEvent]:
        """Take one message of the relay connection and return what it led to."""
        return self.receive_many((message,))

    def receive_many(self, messages: Sequence[bytes] | MessageBatch) -> list[DaemonEvent]:
        """Take messages of the relay connection, in order, and return what they led to.

        The Data frames of one session that lie between two other frames are opened in one call.
        """
        if isinstance(messages, MessageBatch) and messages.nbytes >= _BULK_BYTES * len(messages):
            return self._receive_bulk(messages)
        events: list[DaemonEvent] = []
        touched: list[int] = []
        for message in messages:
            if len(message) > 13 and message[0] == _DATA:
                sid = self._by_sid_bytes.get(message[5:13])
                if sid is not None:
                    waiting = self._sessions[sid].data_waiting
                    if not waiting:
                        touched.append(sid)
                    waiting.append(message)
                    continue
            self._open_waiting(touched, events)
            self._receive_other(message, events)
        self._open_waiting(touched, events)
        return events

    def confirm(self, session_id: int) -> None:
        """Tell that the inner handshake of a session is done; it no longer counts as half-open."""
        self._half_open.pop(session_id, None)

    def seal(self, session_id: int, plaintexts: Iterable[Buffer | tuple[Buffer, ...]]) -> list[bytes]:
        """Return Data frames for `plaintexts`, 0 to 65,508 bytes each, all or nothing.

        Raises:
            SbrpError: `session_cleared` when the session is not held (any more), `session_paused` while it is paused
                (nothing was spent), `payload_too_large` (nothing was spent), `sequence_error` when the sequence numbers
                are used up; the session is over then.
        """
        session = self._sealing_session(session_id)
        try:
            return session.seal_frames(session_id, plaintexts)
        except SbrpError as error:
            self._check_exhausted(session_id, error)
            raise

    def seal_framed(
        self, session_id: int, plaintexts: Iterable[Buffer | tuple[Buffer, ...]], *, masked: bool
    ) -> WireFrames:
        """As `seal`, as WebSocket frames in the memory that goes to the socket (`Connection.send_framed`)."""
        session = self._sealing_session(session_id)
        try:
            return seal_websocket_frames(session, session_id, plaintexts, masked)
        except SbrpError as error:
            self._check_exhausted(session_id, error)
            raise

    def end(self, session_id: int, *, shutdown: bool = False) -> None:
        """End a session from this side, wipe its keys, and queue Signal close (shutdown or policy) for the relay.

        Nothing happens when it is not held.
        """
        if session_id in self._sessions:
            reason = _SHUTDOWN if shutdown else _POLICY
            self._drop(session_id, SbrpErrorCode.SESSION_ENDED, "", [], signal=reason)

    def close(self) -> None:
        """End every session (shutdown); `take_frames` then holds the farewells."""
        for sid in self.session_ids:
            self.end(sid, shutdown=True)

    def take_frames(self) -> list[bytes]:
        """Return the frames this endpoint wants sent by itself (accepts, signals, pongs), in order, and forget them."""
        frames, self._outbox = self._outbox, []
        return frames

    @property
    def has_frames(self) -> bool:
        """Whether `take_frames` would return any."""
        return bool(self._outbox)

    @property
    def deadline(self) -> float | None:
        """The clock's time at which `on_timer` has to be called, or None."""
        due = [next(iter(waiting.values())) for waiting in (self._half_open, self._unconfirmed) if waiting]
        return min(due, default=None)

    def on_timer(self) -> list[DaemonEvent]:
        """Drop what is overdue: sessions whose inner handshake is not done, and unconfirmed ones after a return."""
        now = self._clock()
        events: list[DaemonEvent] = []
        for sid in [sid for sid, due in self._half_open.items() if due <= now]:
            text = f"the inner handshake was not done within {self.limits.inner_handshake_seconds:g} s"
            self._drop(sid, SbrpErrorCode.HANDSHAKE_TIMEOUT, text, events, signal=_POLICY)
        for sid in [sid for sid, due in self._unconfirmed.items() if due <= now]:
            text = f"not confirmed within {self.limits.resume_confirm_seconds:g} s of the relay connection's return"
            self._drop(sid, SbrpErrorCode.SESSION_EXPIRED, text, events, signal=_STATE_LOST)
        return events

    def _open_waiting(self, touched: list[int], events: list[DaemonEvent]) -> None:
        for sid in touched:
            held = self._sessions[sid]
            frames, held.data_waiting = held.data_waiting, []
            self._open(sid, held, frames, 0, len(frames), events)
        touched.clear()

    def _receive_bulk(self, batch: MessageBatch) -> list[DaemonEvent]:
        events: list[DaemonEvent] = []
        place, size = 0, len(batch)
        while place < size:
            sid = batch.session_of(place)
            held = None if sid is None else self._sessions.get(sid)
            if sid is None or held is None:
                self._receive_other(batch[place], events)
                place += 1
            else:
                stop = place + batch.data_run(place, sid)
                self._open(sid, held, batch, place, stop, events)
                place = stop
        return events

    def _sealing_session(self, session_id: int) -> ClientSession:
        held = self._sessions.get(session_id)
        if held is None:
            raise SbrpError(SbrpErrorCode.SESSION_CLEARED, "the session has ended", session_id=session_id)
        if held.paused:
            text = "the relay connection is gone; send after it is back"
            raise SbrpError(SbrpErrorCode.SESSION_PAUSED, text, session_id=session_id)
        return held.session

    def _check_exhausted(self, session_id: int, error: SbrpError) -> None:
        if error.code is SbrpErrorCode.SEQUENCE_ERROR:
            self._drop(session_id, error.code, "", [], signal=_ERROR)

    def _open(
        self,
        sid: int,
        held: HeldSession,
        frames: list[bytes] | MessageBatch,
        start: int,
        stop: int,
        events: list[DaemonEvent],
    ) -> None:
        opened, repeated, failure, failed_at = held.open_run(frames, start, stop)
        self.counters.sequence_errors += repeated
        if opened:
            self._malformed_in_a_row = 0
            self._confirmed(sid, events)
            events.append(SessionData(sid, opened))
        if failure is None:
            return
        if failure.code is SbrpErrorCode.DECRYPT_FAILED:
            self.counters.decrypt_failures += 1
            self._drop(sid, failure.code, "a message did not decrypt", events, signal=_ERROR)
        else:
            # The frame itself is malformed: the relay's doing, not the client's, so the session stays.
            self._malformed(failure, events)
            self._open(sid, held, frames, failed_at + 1, stop, events)

    def _receive_other(self, message: bytes, events: list[DaemonEvent]) -> None:
        try:
            kind, sid, payload = decode_frame(message)
            if kind == _HANDSHAKE_INIT:
                self._receive_init(sid, payload, events)
            elif kind == _CONTROL:
                self._receive_control(sid, payload, events)
            elif kind == _PING:
                self._outbox.append(encode_pong(payload))
            elif kind == _DATA:
                self._stray(sid)
            elif kind != _PONG:
                text = f"frame type 0x{kind:02x} is never sent to a daemon"
                raise SbrpError(SbrpErrorCode.DISALLOWED_SENDER, text, session_id=sid)
        except SbrpError as error:
            self._malformed(error, events)
        else:
            self._malformed_in_a_row = 0

    def _receive_init(self, sid: int, payload: bytes, events: list[DaemonEvent]) -> None:
        if sid in self._sessions:
            self.counters.repeated_inits += 1
            return
        refusal = self._gate.refusal(len(self._sessions), len(self._half_open), self._clock())
        if refusal is not None:
            self._refuse(sid, SbrpErrorCode.RATE_LIMITED, refusal, _POLICY, events)
            return
        try:
            accept, keys = process_handshake_init(payload, self.daemon_id, self._identity)
        except SbrpError as error:
            self._refuse(sid, error.code, "the client's key was refused", _ERROR, events)
            return
        sid_bytes = sid.to_bytes(8, "big")
        session = ClientSession(f"{sid:016x}", keys, self.limits.replay_window)
        self._sessions[sid] = HeldSession(session, sid_bytes)
        self._by_sid_bytes[sid_bytes] = sid
        self._half_open[sid] = self._clock() + self.limits.inner_handshake_seconds
        self._outbox.append(encode_handshake_accept(sid, accept))
        events.append(SessionOpened(sid))

    def _refuse(self, sid: int, code: SbrpErrorCode, message: str, reason: int, events: list[DaemonEvent]) -> None:
        self.counters.refused_handshakes += 1
        self._outbox.append(encode_signal(sid, _CLOSE, reason))
        events.append(SessionRefused(sid, code, message))

    def _receive_control(self, sid: int, payload: bytes, events: list[DaemonEvent]) -> None:
        wire, message = decode_control(payload)
        code = SbrpErrorCode.from_wire(wire)
        if code is SbrpErrorCode.SESSION_PENDING:
            if sid in self._sessions:
                self._confirmed(sid, events)
            else:
                self._outbox.append(encode_signal(sid, _CLOSE, _STATE_LOST))
        elif code is SbrpErrorCode.SESSION_ENDED:
            if sid in self._sessions:
                self._drop(sid, code, message, events, signal=None)
        elif code is SbrpErrorCode.RATE_LIMITED:
            events.append(RateLimited())
        elif code.terminal:
            events.append(ConnectionFailed(SbrpError(code, message, session_id=sid)))

    def _confirmed(self, sid: int, events: list[DaemonEvent]) -> None:
        self._unconfirmed.pop(sid, None)
        held = self._sessions[sid]
        if held.paused:
            held.paused = False
            events.append(SessionResumed(sid))

    def _stray(self, sid: int) -> None:
        # The relay believes in a session that is not here, so its client waits for nothing; tell, but not endlessly.
        self.counters.stray_frames += 1
        if self._strays.take(self._clock()):
            self._outbox.append(encode_signal(sid, _CLOSE, _STATE_LOST))

    def _malformed(self, error: SbrpError, events: list[DaemonEvent]) -> None:
        self.counters.malformed_frames += 1
        self._malformed_in_a_row += 1
        if self._malformed_in_a_row == self.limits.malformed_in_a_row:
            events.append(ConnectionFailed(error))

    def _drop(
        self, sid: int, code: SbrpErrorCode, message: str, events: list[DaemonEvent], *, signal: int | None
    ) -> None:
        held = self._sessions.pop(sid)
        del self._by_sid_bytes[held.sid_bytes]
        self._half_open.pop(sid, None)
        self._unconfirmed.pop(sid, None)
        held.session.clear()
        if signal is not None and self.connected:
            self._outbox.append(encode_signal(sid, _CLOSE, signal))
        events.append(SessionEnded(sid, code, message))
