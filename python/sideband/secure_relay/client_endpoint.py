"""The client's end of a relayed session, without I/O (docs/protocol/sbrp.md, docs/protocol/peer.md "Session pause").

The owner moves bytes and time: it sends the frames that `start`, `seal` and `take_frames` return, hands every received
message to `receive`, and calls `on_timer` once `deadline` has passed. What happened comes back as events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum

from typing_extensions import Buffer

from sideband._native import (
    DaemonSession,
    EphemeralKeyPair,
    MessageBatch,
    WireFrames,
    compute_fingerprint,
    decode_control,
    decode_frame,
    encode_handshake_init,
    encode_pong,
    process_handshake_accept,
    seal_websocket_frames,
    verify_handshake_accept,
)
from sideband.daemon_id import check_daemon_id
from sideband.errors import SbrpBatchError, SbrpError, SbrpErrorCode
from sideband.secure_relay.client_events import (
    AcceptVerified,
    ClientEvent,
    DataReceived,
    Ended,
    Established,
    Failed,
    Paused,
    Pending,
    RateLimited,
    Resumed,
)

__all__ = ["DEFAULT_HANDSHAKE_TIMEOUT", "MAX_HELD_FRAMES", "ClientEndpoint", "ClientState"]

DEFAULT_HANDSHAKE_TIMEOUT = 30.0
"""Seconds from `start` until the daemon's accept has verified; the time the trust policy takes is not counted."""

MAX_HELD_FRAMES = 64
"""Data frames that may come before the trust policy has decided; more end the handshake."""

_HEADER_BYTES = 13
_HANDSHAKE_ACCEPT = 0x02
_DATA = 0x03
_PING = 0x10
_PONG = 0x11
_CONTROL = 0x20


class ClientState(Enum):
    """Where the endpoint stands."""

    IDLE = "idle"
    HANDSHAKE = "handshake"
    """HandshakeInit is sent, the accept has not come."""
    DECIDING = "deciding"
    """The accept's signature has verified; the owner decides whether its key is trusted."""
    ACTIVE = "active"
    PAUSED = "paused"
    """The daemon's relay connection is gone; keys and counters are kept."""
    ENDED = "ended"


class ClientEndpoint:
    """One session of a client, on one relay connection.

    Not thread-safe: one task owns it. After `Ended` or `Failed` nothing more happens; a new session takes a new
    endpoint.

    Args:
        daemon_id: the daemon to reach, 1 to 255 UTF-8 bytes.
        session_id: the token's `sid`, non-zero.
        clock: seconds, such as `time.monotonic`; only differences count.
        handshake_timeout: seconds from `start` until the accept has verified; default 30.
        replay_window: sequence numbers remembered, 64 to 65,536 in multiples of 64; default 128.

    Raises:
        ConfigError: `daemon_id` is not a daemon id.
        SbrpError: `invalid_session_id` when `session_id` is not 1 to 2^64-1.
    """

    def __init__(
        self,
        daemon_id: str,
        session_id: int,
        *,
        clock: Callable[[], float],
        handshake_timeout: float = DEFAULT_HANDSHAKE_TIMEOUT,
        replay_window: int = 128,
        ephemeral_key_pair: EphemeralKeyPair | None = None,
    ) -> None:
        if not 0 < session_id < 1 << 64:
            raise SbrpError(SbrpErrorCode.INVALID_SESSION_ID, f"a session id is 1 to 2^64-1, got {session_id}")
        self.daemon_id = check_daemon_id(daemon_id)
        self.session_id = session_id
        self.state = ClientState.IDLE
        self.dropped_frames = 0
        """Frames that were refused without harm: replayed, duplicated, or older than the replay window."""
        self._sid_bytes = session_id.to_bytes(8, "big")
        self._clock = clock
        self._handshake_timeout = handshake_timeout
        self._replay_window = replay_window
        self._ephemeral: EphemeralKeyPair | None = ephemeral_key_pair
        self._session: DaemonSession | None = None
        self._accept = b""
        self._verified: AcceptVerified | None = None
        self._started_at = 0.0
        self._handshake_seconds = 0.0
        self._paused = False
        self._held: list[bytes] = []
        self._outbox: list[bytes] = []

    def start(self) -> bytes:
        """Return the HandshakeInit frame to send; the handshake's time runs from here.

        Raises:
            SbrpError: `handshake_failed` when it was started before.
        """
        if self.state is not ClientState.IDLE:
            raise SbrpError(SbrpErrorCode.HANDSHAKE_FAILED, "an endpoint makes one handshake; use a new one")
        if self._ephemeral is None:
            self._ephemeral = EphemeralKeyPair.generate()
        self.state = ClientState.HANDSHAKE
        self._started_at = self._clock()
        return encode_handshake_init(self.session_id, self._ephemeral.public_key)

    def receive(self, message: bytes) -> list[ClientEvent]:
        """Take one message of the relay connection and return what it led to."""
        return self.receive_many((message,))

    def receive_many(self, messages: Sequence[bytes] | MessageBatch) -> list[ClientEvent]:
        """Take messages of the relay connection, in order, and return what they led to.

        Neighbouring Data frames are opened in one call, so that bulk data costs little more than its cryptography.
        """
        events: list[ClientEvent] = []
        place, size = 0, len(messages)
        while place < size and not self.ended:
            run = self._data_run(messages, place)
            if run:
                if isinstance(messages, MessageBatch):
                    self._receive_data(messages, place, place + run, events)
                else:
                    self._receive_data(messages[place : place + run], 0, run, events)
                place += run
            else:
                self._receive_other(messages[place], events)
                place += 1
        return events

    def establish(self) -> list[ClientEvent]:
        """Derive the session keys from the verified accept; call it once the identity key is trusted and pinned.

        Returns `Established`, then what came meanwhile; or `Failed` (low-order point). Empty when the session ended
        while the owner was deciding.

        Raises:
            SbrpError: `handshake_failed` when no accept has verified.
        """
        if self.ended:
            return []
        verified, ephemeral = self._verified, self._ephemeral
        if self.state is not ClientState.DECIDING or verified is None or ephemeral is None:
            raise SbrpError(SbrpErrorCode.HANDSHAKE_FAILED, "no accept has verified yet")
        accept, self._accept, self._ephemeral = self._accept, b"", None
        try:
            keys = process_handshake_accept(accept, self.daemon_id, verified.identity_key, ephemeral)
            self._session = DaemonSession(keys, self._replay_window)
        except SbrpError as error:
            return [self._fail(error)]
        self.state = ClientState.PAUSED if self._paused else ClientState.ACTIVE
        events: list[ClientEvent] = [
            Established(verified.identity_key, verified.fingerprint, self._handshake_seconds),
        ]
        held, self._held = self._held, []
        if held:
            self._receive_data(held, 0, len(held), events)
        return events

    def seal(self, plaintexts: Iterable[Buffer | tuple[Buffer, ...]]) -> list[bytes]:
        """Return Data frames for `plaintexts`, 0 to 65,508 bytes each, all or nothing.

        Raises:
            SbrpError: `session_paused` (nothing was spent; try again after `Resumed`), `session_cleared` before
                `Established` and after the end, `payload_too_large` (nothing was spent), `sequence_error` when the
                sequence numbers are used up; the session is over then.
        """
        session = self._sealing_session()
        try:
            return session.seal_frames(self.session_id, plaintexts)
        except SbrpError as error:
            self._check_exhausted(error)
            raise

    def seal_framed(self, plaintexts: Iterable[Buffer | tuple[Buffer, ...]], *, masked: bool) -> WireFrames:
        """As `seal`, as WebSocket frames in the memory that goes to the socket (`Connection.send_framed`)."""
        session = self._sealing_session()
        try:
            return seal_websocket_frames(session, self.session_id, plaintexts, masked)
        except SbrpError as error:
            self._check_exhausted(error)
            raise

    @property
    def ended(self) -> bool:
        """Whether the session is over, for whatever cause."""
        return self.state is ClientState.ENDED

    def take_frames(self) -> list[bytes]:
        """Return the frames this endpoint wants sent by itself (pongs), and forget them."""
        frames, self._outbox = self._outbox, []
        return frames

    @property
    def deadline(self) -> float | None:
        """The clock's time at which `on_timer` has to be called, or None."""
        return self._started_at + self._handshake_timeout if self.state is ClientState.HANDSHAKE else None

    def on_timer(self) -> list[ClientEvent]:
        """Return `Failed(handshake_timeout)` when the handshake's time is over, else nothing."""
        deadline = self.deadline
        if deadline is None or self._clock() < deadline:
            return []
        text = f"the daemon did not answer within {self._handshake_timeout:g} s; it may be overloaded, try again"
        return [self._fail(SbrpError(SbrpErrorCode.HANDSHAKE_TIMEOUT, text))]

    def close(self) -> None:
        """End the session from this side and wipe its keys; also to refuse a key. Calling it again is fine."""
        self.state = ClientState.ENDED
        self._ephemeral = None
        self._held = []
        if self._session is not None:
            self._session.clear()
            self._session = None

    def _sealing_session(self) -> DaemonSession:
        if self._session is None:
            raise SbrpError(SbrpErrorCode.SESSION_CLEARED, f"there is no session to send on ({self.state.value})")
        if self.state is ClientState.PAUSED:
            raise SbrpError(SbrpErrorCode.SESSION_PAUSED, "the daemon lost its relay connection; send after it is back")
        return self._session

    def _check_exhausted(self, error: SbrpError) -> None:
        if error.code is SbrpErrorCode.SEQUENCE_ERROR:
            self.close()

    def _data_run(self, messages: Sequence[bytes] | MessageBatch, start: int) -> int:
        if isinstance(messages, MessageBatch):
            return messages.data_run(start, self.session_id)
        place = start
        while place < len(messages):
            message = messages[place]
            if len(message) <= _HEADER_BYTES or message[0] != _DATA or message[5:13] != self._sid_bytes:
                break
            place += 1
        return place - start

    def _receive_data(
        self, frames: Sequence[bytes] | MessageBatch, start: int, stop: int, events: list[ClientEvent]
    ) -> None:
        if self._session is None:
            self._hold(frames[start:stop], events)
            return
        opened: list[bytes] = []
        try:
            while start < stop:
                try:
                    opened += self._session.open_frames(frames, start, stop)
                    break
                except SbrpBatchError as error:
                    opened += error.opened
                    if error.code is not SbrpErrorCode.SEQUENCE_ERROR:
                        raise
                    self.dropped_frames += 1
                    start += error.index + 1
        except SbrpError as error:
            if opened:
                events.append(DataReceived(opened))
            events.append(self._fail(SbrpError(error.code, _reason(error), session_id=self.session_id)))
            return
        if opened:
            events.append(DataReceived(opened))

    def _hold(self, frames: Sequence[bytes], events: list[ClientEvent]) -> None:
        # Data may follow the accept at once, while a user is still comparing fingerprints.
        if self.state is not ClientState.DECIDING:
            text = "the daemon sent data before its accept"
        elif len(self._held) + len(frames) > MAX_HELD_FRAMES:
            text = f"the daemon sent more than {MAX_HELD_FRAMES} messages before its key was trusted"
        else:
            self._held += frames
            return
        events.append(self._fail(SbrpError(SbrpErrorCode.HANDSHAKE_FAILED, text)))

    def _receive_other(self, message: bytes, events: list[ClientEvent]) -> None:
        try:
            kind, session_id, payload = decode_frame(message)
            if kind == _CONTROL:
                self._receive_control(session_id, payload, events)
            elif kind == _PING:
                self._outbox.append(encode_pong(payload))
            elif kind == _HANDSHAKE_ACCEPT and session_id == self.session_id:
                self._receive_accept(payload, events)
            elif kind in (_HANDSHAKE_ACCEPT, _DATA):
                text = f"the relay delivered a frame of session {session_id} to session {self.session_id}"
                raise SbrpError(SbrpErrorCode.INVALID_SESSION_ID, text)
            elif kind != _PONG:
                text = f"frame type 0x{kind:02x} is never sent to a client"
                raise SbrpError(SbrpErrorCode.DISALLOWED_SENDER, text)
        except SbrpError as error:
            events.append(self._fail(error))

    def _receive_accept(self, payload: bytes, events: list[ClientEvent]) -> None:
        if self.state is not ClientState.HANDSHAKE or self._ephemeral is None:
            # A relay that repeats the accept must not be able to end a session with it.
            self.dropped_frames += 1
            return
        events.extend(self.on_timer())
        if self.ended:
            return
        identity_key = verify_handshake_accept(payload, self.daemon_id, self._ephemeral.public_key)
        self._handshake_seconds = self._clock() - self._started_at
        self._accept = payload
        self._verified = AcceptVerified(identity_key, compute_fingerprint(identity_key))
        self.state = ClientState.DECIDING
        events.append(self._verified)

    def _receive_control(self, session_id: int, payload: bytes, events: list[ClientEvent]) -> None:
        wire, message = decode_control(payload)
        code = SbrpErrorCode.from_wire(wire)
        # A terminal code may name the session of the frame that was refused; the connection is over in any case.
        if session_id not in (0, self.session_id) and not code.terminal:
            text = f"the relay sent {code} of session {session_id} to session {self.session_id}"
            raise SbrpError(SbrpErrorCode.INVALID_SESSION_ID, text)
        if code is SbrpErrorCode.SESSION_PAUSED:
            self._set_paused(True, events)
        elif code is SbrpErrorCode.SESSION_RESUMED:
            self._set_paused(False, events)
        elif code is SbrpErrorCode.SESSION_PENDING:
            events.append(Pending())
        elif code is SbrpErrorCode.RATE_LIMITED:
            events.append(RateLimited())
        else:
            self.close()
            events.append(Ended(code, message))

    def _set_paused(self, paused: bool, events: list[ClientEvent]) -> None:
        if self._paused == paused:
            return
        self._paused = paused
        if self._session is not None:
            self.state = ClientState.PAUSED if paused else ClientState.ACTIVE
        events.append(Paused() if paused else Resumed())

    def _fail(self, error: SbrpError) -> Failed:
        self.close()
        return Failed(error)


def _reason(error: SbrpError) -> str:
    return str(error).removeprefix(error.code.value).removeprefix(": ")
