"""The native core: SBRP frames, handshake and encrypted sessions, SBP frames.

Implements docs/protocol/sbrp.md and the framing of docs/protocol/sbp.md. Every argument annotated `Buffer` takes any
C-contiguous bytes-like object: `bytes`, and a `memoryview` over `bytes`, are read in place; anything else is copied
once before use, so changing it from another thread meanwhile is safe. Failures are the classes of `sideband.errors`;
an argument of a wrong type is a `TypeError`, a buffer that is not contiguous a `BufferError`.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NoReturn, final, overload

from typing_extensions import Buffer, disjoint_base

__all__ = [
    "BLOCK_SIZE",
    "HELPER_FROM",
    "MAX_FRAME_SIZE",
    "MAX_PAYLOAD_SIZE",
    "MAX_PLAINTEXT_SIZE",
    "NOISE_MAX_PAYLOAD",
    "NOISE_MAX_RECORD",
    "POOL_BLOCKS",
    "RELEASE_THRESHOLD",
    "SBP_MAX_FRAME_SIZE",
    "SBP_MAX_HANDSHAKE_SIZE",
    "SBP_MAX_SUBJECT_SIZE",
    "STREAM_DATA_PREFIX_SIZE",
    "Blake3",
    "ClientSession",
    "DaemonSession",
    "EphemeralKeyPair",
    "FrameDecoder",
    "IdentityKeyPair",
    "MessageBatch",
    "NoiseHandshake",
    "NoiseKeyPair",
    "NoiseSession",
    "ReplayWindow",
    "SbpFrame",
    "Session",
    "SessionKeys",
    "StreamFramer",
    "StreamWindow",
    "WebSocketInput",
    "WebSocketReceiver",
    "WireFrames",
    "aead_backend",
    "batch_threads",
    "compute_fingerprint",
    "decode_control",
    "decode_data",
    "decode_frame",
    "decode_frame_header",
    "decode_handshake_accept",
    "decode_handshake_init",
    "decode_signal",
    "encode_control",
    "encode_data",
    "encode_frame",
    "encode_handshake_accept",
    "encode_handshake_init",
    "encode_ping",
    "encode_pong",
    "encode_signal",
    "frame_messages",
    "inspect_frame",
    "process_handshake_accept",
    "process_handshake_init",
    "sbp_check_subject",
    "sbp_decode",
    "sbp_encode_ack",
    "sbp_encode_control",
    "sbp_encode_error",
    "sbp_encode_message",
    "sbp_frame_id_from_hex",
    "seal_websocket_frames",
    "set_batch_threads",
    "sign",
    "stream_data_of",
    "stream_decode",
    "stream_encode_accept",
    "stream_encode_done",
    "stream_encode_end",
    "stream_encode_open",
    "stream_encode_reset",
    "stream_encode_resume",
    "stream_encode_window",
    "verify_handshake_accept",
    "verify_signature",
]

HELPER_FROM: int
"""Bytes of plaintext from which a second thread may take part in sealing or opening a batch."""
BLOCK_SIZE: int
"""Bytes of the memory that WebSockets are read into and written from at once: ten of the largest SBRP frames."""
POOL_BLOCKS: int
"""Most blocks that are kept for reuse while nobody uses them: about 16 MiB."""
MAX_FRAME_SIZE: int
"""Largest SBRP frame: header and payload, 65,549 bytes."""
MAX_PAYLOAD_SIZE: int
"""Largest SBRP payload, 65,536 bytes."""
MAX_PLAINTEXT_SIZE: int
"""Largest plaintext of one Data message, 65,508 bytes."""
RELEASE_THRESHOLD: int
"""Single messages of this many bytes (16 KiB) and more are sealed and opened with the interpreter released."""
SBP_MAX_FRAME_SIZE: int
"""Largest SBP frame unless told otherwise, 1 MiB."""
SBP_MAX_HANDSHAKE_SIZE: int
"""Largest SBP handshake payload unless told otherwise, 8 KiB."""
SBP_MAX_SUBJECT_SIZE: int
"""Largest SBP subject unless told otherwise, 256 bytes."""
STREAM_DATA_PREFIX_SIZE: int
"""Bytes of a whole SBP frame before the bytes of the stream data message that it carries: 51."""

# --- SBRP frames ---

def encode_frame(frame_type: int, session_id: int, payload: Buffer) -> bytes:
    """Return one frame: header (13 bytes) and payload.

    The type is not required to be known (0 to 255). Known types must carry a session id as the table of frames says.

    Raises:
        SbrpError: `malformed_frame` for a session id that the type does not allow or that does not fit 64 bits,
            `payload_too_large` over 65,536 payload bytes (8 for ping and pong), `invalid_frame_type` for a type over
            255.
    """

def decode_frame(data: Buffer) -> tuple[int, int, bytes]:
    """Return type, session id and payload of exactly one frame, checked in the order of an endpoint.

    Raises:
        SbrpError: `malformed_frame`, `invalid_frame_type` or `payload_too_large`.
    """

def decode_frame_header(data: Buffer) -> tuple[int, int, int]:
    """Return type, payload length and session id of the header that `data` (13 bytes or more) begins with.

    Raises:
        SbrpError: `malformed_frame`, `invalid_frame_type` or `payload_too_large`.
    """

def inspect_frame(data: Buffer, sender: int) -> tuple[int, int]:
    """Return type and session id of one whole frame, checked in the order of a relay; the payload is not copied.

    Args:
        data: one WebSocket message.
        sender: who sent it: 0 a client, 1 a daemon.

    Raises:
        SbrpError: the first of `malformed_frame` (header), `payload_too_large`, `invalid_frame_type`,
            `invalid_session_id`, `disallowed_sender` (its `session_id` is the frame's, 0 for all others), then
            `malformed_frame` for a frame that is not whole, has bytes after it, or a wrong size for its type, and
            `payload_too_large` for a ping or pong over 8 bytes.
        ValueError: `sender` is neither 0 nor 1.
    """

def encode_handshake_init(session_id: int, public_key: Buffer) -> bytes:
    """Return a HandshakeInit frame holding the client's ephemeral key (32 bytes).

    Raises:
        SbrpError: `malformed_frame` for session id 0 or another length.
    """

def decode_handshake_init(payload: Buffer) -> bytes:
    """Return the ephemeral key (32 bytes) of a HandshakeInit payload.

    Raises:
        SbrpError: `malformed_frame` for another length.
    """

def encode_handshake_accept(session_id: int, accept: Buffer) -> bytes:
    """Return a HandshakeAccept frame; `accept` is identity key (32), ephemeral key (32) and signature (64) joined.

    Raises:
        SbrpError: `malformed_frame` for session id 0 or another length than 128.
    """

def decode_handshake_accept(payload: Buffer) -> tuple[bytes, bytes, bytes]:
    """Return identity key (32), ephemeral key (32) and signature (64) of a HandshakeAccept payload.

    Raises:
        SbrpError: `malformed_frame` for another length than 128.
    """

def encode_data(session_id: int, payload: Buffer) -> bytes:
    """Return a Data frame around a sealed payload (nonce, ciphertext, tag; 28 to 65,536 bytes).

    Raises:
        SbrpError: `malformed_frame` for session id 0 or under 28 bytes, `payload_too_large` over 65,536.
    """

def decode_data(payload: Buffer) -> int:
    """Check a Data payload's length (at least 28) and return the sequence number its nonce claims, unverified.

    Raises:
        SbrpError: `malformed_frame` under 28 bytes.
    """

def encode_ping(payload: Buffer = b"") -> bytes:
    """Return a Ping frame with up to 8 bytes of payload.

    Raises:
        SbrpError: `payload_too_large` over 8 bytes.
    """

def encode_pong(payload: Buffer = b"") -> bytes:
    """Return a Pong frame with the payload of the ping it answers, up to 8 bytes.

    Raises:
        SbrpError: `payload_too_large` over 8 bytes.
    """

def encode_control(session_id: int, wire: int, message: str = "") -> bytes:
    """Return a Control frame: the code's number (not required to be known) and a text for people.

    Raises:
        SbrpError: `payload_too_large` over 65,534 bytes of text, `malformed_frame` for a number over 65,535.
    """

def decode_control(payload: Buffer) -> tuple[int, str]:
    """Return number and text of a Control payload. Bad UTF-8 becomes U+FFFD; a leading byte-order mark is dropped.

    Raises:
        SbrpError: `malformed_frame` under 2 bytes or for an unknown code.
    """

def encode_signal(session_id: int, signal: int, reason: int = 0) -> bytes:
    """Return a Signal frame; the two bytes are not required to be known values.

    Raises:
        SbrpError: `malformed_frame` for session id 0 or a value over 255.
    """

def decode_signal(payload: Buffer) -> tuple[int, int]:
    """Return signal (0 ready, 1 close) and reason (0 to 4) of a Signal payload.

    Raises:
        SbrpError: `malformed_frame` for another length than 2 or an unknown value.
    """

@final
class WebSocketReceiver:
    """The receiving half of a WebSocket server (RFC 6455), without extensions. Used by one thread.

    With a `sender` it does what a relay does with each message: text is refused with close code 1003, a message is
    checked as one SBRP frame in the order of a relay, and Data and handshake frames that come one behind the other for
    one session are copied once, unmasked, into one `bytes` of WebSocket frames to send on.

    Args:
        sender: who sends: 0 a client, 1 a daemon; None for messages as they are.
        max_message: largest message in bytes without a sender, `MAX_FRAME_SIZE` with one. More is close code 1009.
    """

    def __new__(cls, sender: int | None = None, max_message: int = ...) -> WebSocketReceiver: ...
    def next(
        self, buffer: bytearray, size: int, max_messages: int = ..., max_bytes: int = ...
    ) -> tuple[int, int, int, int, Any] | None:
        """Return the next event of what was received, or None when nothing is left.

        Call it with the same arguments until it returns None, or give the rest to `keep`; the start of a frame is kept
        by itself. What was kept comes first. No other thread may use the buffer meanwhile.

        Args:
            buffer: what was received.
            size: bytes of it.
            max_messages: most messages in one event.
            max_bytes: the message with which an event has more bytes than this is its last.

        Returns:
            The kind, a number, messages, their bytes as SBRP frames, and a value:

            - 0 frames to forward: the session id, messages, bytes, and the WebSocket frames to send
            - 1 SBRP ping: 0, 1, bytes, and the payload
            - 2 SBRP pong: 0, 1, bytes, None
            - 3 Signal: the session id, 1, bytes, and the code as one byte
            - 4 a frame against the rules: the session id to answer with, 1, bytes, and the SBRP code's name
            - 5 WebSocket ping: 0, 0, 0, and the payload
            - 6 close: the code or 0 for none, 0, 0, None; nothing comes after it
            - 7 bytes against the rules: the close code, 0, 0, and a reason
            - 8 a message without a sender: whether it is text, 1, bytes, and the payload
        """

    def keep(self, buffer: bytearray, size: int) -> None:
        """Copy what `next` has not returned yet, so that the buffer may be used for other things."""

    def close(self) -> None:
        """From now on pass over everything but the other side's close, and keep nothing."""

    @property
    def held_bytes(self) -> int:
        """Bytes it holds now."""

@final
class WebSocketInput:
    """The receiving half of an endpoint's WebSocket (RFC 6455), without extensions. Used by one thread.

    What is read from a socket lies in blocks of `BLOCK_SIZE` bytes that are used again, and whole messages are left
    where they are, unmasked in place. While nothing is waiting it holds no block, at most 4 KiB of a frame that has
    begun.

    Args:
        max_message: largest message in bytes, less than 4 GiB; more is close code 1009, by the frame's header alone.
        masked: whether the other side is a client, whose frames are masked; anything else is close code 1002.
        text: whether text messages are taken, which are checked to be UTF-8; else they are close code 1003.
    """

    def __new__(cls, max_message: int, *, masked: bool, text: bool = ...) -> WebSocketInput: ...
    def room(self) -> memoryview:
        """Return the memory to read into next, never empty. Ask again for each read."""

    def received(self, size: int) -> list[tuple[int, int, Any]] | None:
        """Take the first `size` bytes of `room` apart. Messages wait to be taken; what else came is returned.

        Returns:
            None, or in order: a kind, a close code, and a value:

            - 0 ping: 0, and the payload to answer with
            - 1 close: the code or 0 for none, and the reason; nothing comes after it
            - 2 bytes against the rules: the close code, and a reason

        Raises:
            ValueError: `size` is more than there was room for.
        """

    def feed(self, data: bytes) -> list[tuple[int, int, Any]] | None:
        """As `received`, of bytes that came another way."""

    def take(self) -> MessageBatch | None:
        """Return the messages that wait, or None."""

    def close(self) -> None:
        """From now on pass over everything but the other side's close, and forget what waits."""

    @property
    def ready_cost(self) -> int:
        """Bytes of the messages that wait, and 64 more for each; 0 when none does."""

    @property
    def held_bytes(self) -> int:
        """Bytes it holds now, blocks as a whole."""

@final
class MessageBatch:
    """Messages that came together, in the memory they were read into: no object for each before one is asked for.

    It keeps the blocks of its messages from being used again as long as it lives.
    """

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int, /) -> bytes: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[bytes]: ...
    def __iter__(self) -> Iterator[bytes]: ...
    @property
    def nbytes(self) -> int:
        """Bytes of all messages."""

    def is_text(self, index: int) -> bool:
        """Whether the message was sent as text."""

    def session_of(self, index: int) -> int | None:
        """The session of the SBRP Data frame at `index`; None when that is none, by its type and a payload."""

    def data_run(self, start: int, session_id: int) -> int:
        """How many messages from `start` on are SBRP Data frames of this session, one behind the other."""

@final
class WireFrames:
    """WebSocket frames that are ready to be sent. Their memory is used again when this and all its views are dropped.

    `len()` is bytes on the wire.
    """

    def __len__(self) -> int: ...
    def view(self) -> memoryview:
        """The bytes, read-only."""

    @property
    def messages(self) -> int:
        """How many messages it holds."""

    @property
    def payload_bytes(self) -> int:
        """Their bytes without WebSocket headers."""

def frame_messages(messages: Iterable[Buffer | tuple[Buffer, ...]], masked: bool, opcode: int = ...) -> WireFrames:
    """Make WebSocket frames of messages, one of each; a tuple is one message in parts.

    Args:
        messages: the payloads.
        masked: as a client has to, each with a key of its own that nobody can foresee.
        opcode: 2 for binary messages, 1 for text.

    Raises:
        ValueError: another opcode.
    """

def seal_websocket_frames(
    session: Session, session_id: int, buffers: Iterable[Buffer | tuple[Buffer, ...]], masked: bool
) -> WireFrames:
    """As `Session.seal_frames`, straight into the memory that goes to the socket: one WebSocket message of each frame.

    The plaintext is copied once; sealing and masking happen there, the interpreter released. Same errors, and as there
    nothing is sealed when one message is too large.
    """

@final
class FrameDecoder:
    """Splits a byte stream into frames. Holds at most one header and one payload; stays failed until `reset`."""

    def __new__(cls) -> FrameDecoder: ...
    def push(self, data: Buffer) -> list[tuple[int, int, bytes]]:
        """Take bytes in any pieces and return the frames they complete, each as type, session id and payload.

        When a bad frame follows good ones, the good ones are returned and the next call (also with `b""`) raises.

        Raises:
            SbrpError: `malformed_frame`, `invalid_frame_type` or `payload_too_large`, on every call until `reset`.
        """

    def reset(self) -> None:
        """Forget everything buffered and any failure."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes of an unfinished frame; 0 after a failure."""

# --- Replay window ---

@final
class ReplayWindow:
    """Remembers which of the newest `size` sequence numbers were seen; constant memory and time.

    Args:
        size: 64 to 65,536, a multiple of 64.

    Raises:
        ConfigError: for another size.
    """

    def __new__(cls, size: int = 128) -> ReplayWindow: ...
    def check(self, sequence: int) -> bool:
        """Return whether `sequence` (0 to 2^64-1) is new and not too old. Changes nothing."""

    def mark(self, sequence: int) -> bool:
        """Record `sequence` as seen; return False, and change nothing, when `check` refuses it."""

    def reset(self) -> None:
        """Forget everything seen; the size stays."""

    @property
    def size(self) -> int:
        """How many sequence numbers the window covers."""

    @property
    def highest(self) -> int | None:
        """The highest sequence number seen, or None."""

    @property
    def bitmap(self) -> int:
        """What was seen, as an int: bit i stands for `highest - i`. For tests and diagnostics."""

# --- Keys and handshake ---

@final
class IdentityKeyPair:
    """A daemon's long-lived Ed25519 key pair. Its repr shows the public key only; it cannot be copied or pickled."""

    @staticmethod
    def generate() -> IdentityKeyPair:
        """Return a new key pair from the operating system's randomness.

        Raises:
            OSError: the system gave none.
        """

    @staticmethod
    def from_private_bytes(private_key: Buffer) -> IdentityKeyPair:
        """Return the key pair of an Ed25519 seed (32 bytes).

        Raises:
            SbrpError: `handshake_failed` for another length.
        """

    def private_bytes(self) -> bytes:
        """Return the seed (32 bytes), for storing it. The copy is the caller's to protect."""

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""

    def __reduce__(self) -> NoReturn: ...

@final
class EphemeralKeyPair:
    """An X25519 key pair of one handshake. The private key is wiped by its first use, also when that use fails."""

    @staticmethod
    def generate() -> EphemeralKeyPair:
        """Return a new key pair from the operating system's randomness.

        Raises:
            OSError: the system gave none.
        """

    @staticmethod
    def from_private_bytes(private_key: Buffer) -> EphemeralKeyPair:
        """Return the key pair of an X25519 scalar (32 bytes).

        Raises:
            SbrpError: `handshake_failed` for another length.
        """

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes; stays readable after use."""

    @property
    def consumed(self) -> bool:
        """Whether the private key was used, and so wiped."""

    def __reduce__(self) -> NoReturn: ...

@final
class SessionKeys:
    """The two directional keys of a session.

    Making a session moves them into it: a second one is refused, because it would repeat nonces.
    """

    @staticmethod
    def from_bytes(client_to_daemon: Buffer, daemon_to_client: Buffer) -> SessionKeys:
        """Return keys from bytes (32 each); for tests and vectors.

        Raises:
            SbrpError: `handshake_failed` for another length.
        """

    @property
    def consumed(self) -> bool:
        """Whether a session took the keys."""

    def __eq__(self, value: object, /) -> bool:
        """Compare in constant time; consumed keys equal nothing."""

    def __ne__(self, value: object, /) -> bool: ...
    def __reduce__(self) -> NoReturn: ...

    __hash__ = None  # type: ignore[assignment]  # secret and changeable: not a dictionary key

def process_handshake_init(
    init: Buffer, daemon_id: str, identity: IdentityKeyPair, ephemeral_key_pair: EphemeralKeyPair | None = None
) -> tuple[bytes, SessionKeys]:
    """Answer a HandshakeInit payload on the daemon: return the HandshakeAccept payload (128 bytes) and the keys.

    The ephemeral key pair, a new one by default, is consumed.

    Raises:
        SbrpError: `handshake_failed` for another length than 32, a low-order client key, or a used key pair.
        OSError: the system gave no randomness.
    """

def verify_handshake_accept(accept: Buffer, daemon_id: str, client_ephemeral_public: Buffer) -> bytes:
    """Verify the signature of a HandshakeAccept payload strictly, and return the identity key (32 bytes) it proves.

    Nothing is pinned and no key derived: on first contact the caller decides on the key, and only then calls
    `process_handshake_accept` with it.

    Raises:
        SbrpError: `handshake_failed` for a wrong length, signature, or identity key (small-order, non-canonical).
    """

def process_handshake_accept(
    accept: Buffer, daemon_id: str, pinned_key: Buffer | None, ephemeral_key_pair: EphemeralKeyPair
) -> SessionKeys:
    """Finish the handshake on the client and return the session keys.

    The ephemeral key pair is consumed on any outcome.

    Args:
        accept: the HandshakeAccept payload, 128 bytes.
        daemon_id: as given to the daemon, any length, no normalisation.
        pinned_key: the identity key (32 bytes) to expect, or None on first contact.
        ephemeral_key_pair: the one whose public key was sent in HandshakeInit.

    Raises:
        SbrpError: `identity_key_changed` when the accept holds another key than the pinned one, else
            `handshake_failed`.
    """

def compute_fingerprint(public_key: Buffer) -> str:
    """Return `SHA256:` and the SHA-256 of an identity key as 32 uppercase hex pairs joined by colons.

    Raises:
        SbrpError: `handshake_failed` for another length than 32.
    """

def sign(identity: IdentityKeyPair, message: Buffer) -> bytes:
    """Return the Ed25519 signature (64 bytes, RFC 8032) of `message`."""

def verify_signature(public_key: Buffer, message: Buffer, signature: Buffer) -> bool:
    """Return whether an Ed25519 signature is valid, strictly: canonical key, R and S, no small-order points.

    Wrong lengths are False.
    """

# --- Sessions ---

@disjoint_base
class Session:
    """One side of an established session; made as `ClientSession` or `DaemonSession`.

    Safe to share between threads: each direction has its own lock and sequence number, and no nonce is used twice. It
    cannot be copied or pickled.
    """

    def seal(self, plaintext: Buffer) -> bytes:
        """Encrypt one message (0 to 65,508 bytes) and return the Data payload: nonce, ciphertext, tag.

        Raises:
            SbrpError: `payload_too_large` (no sequence number is spent), `session_cleared`, or `sequence_error` when
                2^64-2 was used up; then the session is cleared.
        """

    def open(self, payload: Buffer) -> bytes:
        """Decrypt one Data payload and mark its sequence number as seen.

        Raises:
            SbrpError: `decrypt_failed` (under 28 or over 65,536 bytes, another direction, or a wrong tag; the window
                stays as it was), `sequence_error` (seen, or older than the window), `session_cleared`.
        """

    def seal_frame(self, session_id: int, buffer: Buffer) -> bytes:
        """Like `seal`, but return a whole Data frame.

        Raises:
            SbrpError: as `seal`, and `malformed_frame` for session id 0.
        """

    def open_frame(self, frame: Buffer) -> bytes:
        """Decode one whole Data frame and decrypt it. The frame's session id is the caller's to check.

        Raises:
            SbrpError: as `decode_frame` and `open`; `invalid_frame_type` for another type than Data.
        """

    def seal_frames(self, session_id: int, buffers: Iterable[Buffer | tuple[Buffer, ...]]) -> list[bytes]:
        """Encrypt many messages in one call, the interpreter released, and return ready Data frames in order.

        A tuple of buffers is one message, its parts in order. All or nothing: every size is checked before the first
        sequence number is spent.

        Raises:
            SbrpError: as `seal_frame`.
        """

    def open_frames(self, frames: Iterable[Buffer] | MessageBatch, start: int = ..., stop: int = ...) -> list[bytes]:
        """Decrypt many whole Data frames in one call, the interpreter released, and return the plaintexts in order.

        Of a `MessageBatch` they are read where they lie. Only those from `start` on and before `stop` are taken; by
        default all. The `index` of an error counts from `start`.

        Raises:
            SbrpBatchError: at the first bad frame, with the code `open_frame` gives, its `index`, and `opened`, the
                plaintexts of the frames before it, which count as received.
        """

    def check_integrity(self) -> bool:
        """Return whether the session can be resumed: not cleared, counters in range, window consistent."""

    def clear(self) -> None:
        """Wipe both keys; every later seal and open raises `session_cleared`. Clearing twice is fine."""

    @property
    def send_sequence(self) -> int:
        """The sequence number the next sealed message gets."""

    @property
    def highest_received(self) -> int | None:
        """The highest sequence number opened, or None."""

    @property
    def cleared(self) -> bool:
        """Whether the session was cleared."""

    def _advance_send_sequence(self, sequence: int) -> None:
        """Skip to a later sequence number, to test exhaustion. It only goes forward, so no nonce can repeat.

        Raises:
            ValueError: `sequence` is lower than `send_sequence`.
        """

    def __reduce__(self) -> NoReturn: ...

@final
class ClientSession(Session):
    """A session as the daemon holds it: opens client to daemon, seals daemon to client.

    Args:
        client_id: a name for the client, for the application's own use.
        keys: consumed.
        replay_window: 64 to 65,536, a multiple of 64.

    Raises:
        SbrpError: `session_cleared` when the keys already made a session.
        ConfigError: for another window size; the keys are not consumed.
    """

    def __new__(cls, client_id: str, keys: SessionKeys, replay_window: int = 128) -> ClientSession: ...
    @property
    def client_id(self) -> str:
        """The name given at construction."""

@final
class DaemonSession(Session):
    """A session as the client holds it: seals client to daemon, opens daemon to client.

    Args:
        keys: consumed.
        replay_window: 64 to 65,536, a multiple of 64.

    Raises:
        SbrpError: `session_cleared` when the keys already made a session.
        ConfigError: for another window size; the keys are not consumed.
    """

    def __new__(cls, keys: SessionKeys, replay_window: int = 128) -> DaemonSession: ...

def aead_backend() -> tuple[str, str, int, bool, tuple[str, ...]]:
    """Return (small, bulk, bulk_from, forced, available): which encryption is in use (docs/adr/0060).

    Chosen when the module is loaded, for the CPU or by the environment variable SIDEBAND_BACKEND; a name there that
    cannot be had makes the import raise ConfigError.
    """

def batch_threads() -> int | None:
    """Return how many threads were asked for by `set_batch_threads` or SIDEBAND_BATCH_THREADS; None for automatic."""

def set_batch_threads(threads: int | None) -> None:
    """Let 1 or 2 threads work on a batch of at least HELPER_FROM bytes; None for 2 where the machine has 4 cores.

    The bytes are the same, and in the same order. The environment variable SIDEBAND_BATCH_THREADS (1, 2 or auto) sets
    it when the module is loaded; another value there makes the import raise ConfigError.
    """

# --- SBP frames ---

@final
class SbpFrame:
    """One decoded SBP frame. Attributes that its kind does not have are None."""

    @property
    def kind(self) -> int:
        """0 control, 1 message, 2 ack, 3 error."""

    @property
    def frame_id(self) -> bytes:
        """16 bytes."""

    @property
    def timestamp(self) -> int | None:
        """Milliseconds since the epoch, or None."""

    @property
    def op(self) -> int | None:
        """Of a control frame: 0 handshake, 1 ping, 2 pong, 3 close."""

    @property
    def subject(self) -> str | None:
        """Of a message frame."""

    @property
    def data(self) -> bytes | None:
        """Of a message frame (perhaps empty), of a handshake, and of a close with a reason."""

    @property
    def ack_id(self) -> bytes | None:
        """Of an ack frame: the 16-byte id of the frame it confirms."""

    @property
    def code(self) -> int | None:
        """Of an error frame, 0 to 65,535."""

    @property
    def message(self) -> str | None:
        """Of an error frame; bad UTF-8 became U+FFFD, a leading byte-order mark was dropped."""

    @property
    def details(self) -> bytes | None:
        """Of an error frame, None when empty."""

def sbp_encode_message(frame_id: Buffer, subject: str, data: Buffer, timestamp: int | None = None) -> bytes:
    """Return a message frame. The subject is not checked: `sbp_check_subject` does that.

    Raises:
        SbpError: 1002 for a frame id that is not 16 bytes or a timestamp that does not fit 64 bits.
    """

def sbp_encode_control(frame_id: Buffer, op: int, data: Buffer | None = None, timestamp: int | None = None) -> bytes:
    """Return a control frame: op 0 handshake (data required), 1 ping and 2 pong (no data), 3 close (optional reason).

    Raises:
        SbpError: 1002 for an unknown op, missing or superfluous data, a bad frame id or timestamp.
    """

def sbp_encode_ack(frame_id: Buffer, ack_id: Buffer, timestamp: int | None = None) -> bytes:
    """Return an ack frame that confirms the frame `ack_id` (16 bytes).

    Raises:
        SbpError: 1002 for an id that is not 16 bytes or a bad timestamp.
    """

def sbp_encode_error(
    frame_id: Buffer, code: int, message: str, details: Buffer = b"", timestamp: int | None = None
) -> bytes:
    """Return an error frame. As in the reference, only the low 16 bits of the code travel.

    Raises:
        SbpError: 1002 for a bad frame id or timestamp.
    """

def sbp_decode(data: Buffer, max_frame: int = 1048576, max_handshake: int = 8192, max_subject: int = 256) -> SbpFrame:
    """Decode exactly one SBP frame.

    Args:
        data: the plaintext of one Data message, or one WebSocket message.
        max_frame: largest frame, bytes.
        max_handshake: largest data of a handshake frame, bytes.
        max_subject: largest subject, bytes.

    Raises:
        SbpError: 1002 for anything malformed; 1000 over a limit, or for a subject that is not allowed, not UTF-8, or
            begins with a byte-order mark.
    """

def sbp_check_subject(subject: str, max_subject: int = 256) -> None:
    """Check that a subject is `rpc`, `event`, `stream`, or begins with `app/`, holds no NUL and is not too long.

    Raises:
        SbpError: 1000.
    """

def sbp_frame_id_from_hex(text: str) -> bytes:
    """Return the 16 bytes of a frame id written as 32 lowercase hex digits.

    Raises:
        SbpError: 1002 for anything else.
    """

# --- Byte streams ---

def stream_decode(data: Buffer) -> tuple[int, int, int, Any]:
    """Return (op, stream id, offset, body) of a stream message (docs/protocol/streams.md).

    The body by op: open (token, window, name, metadata); accept the window; data the bytes; window the limit; end the
    digest or None; reset (code, reason); resume (token, limit); done None.

    Raises:
        SbpError: 1002 when it is cut short, too long, over a limit, or of an unknown op.
    """

def stream_encode_open(stream_id: int, token: Buffer, window: int, name: str, metadata: Buffer = b"") -> bytes:
    """Return the message of a new stream.

    Raises:
        SbpError: 1002 for a name that has not 1 to 1,024 bytes, or metadata over 8 KiB.
        ValueError: for a token that has not 16 bytes.
    """

def stream_encode_accept(stream_id: int, window: int) -> bytes:
    """Return the message that takes a stream."""

def stream_encode_window(stream_id: int, offset: int, limit: int) -> bytes:
    """Return the message that gives credit: bytes are taken up to `limit`, and were consumed up to `offset`."""

def stream_encode_end(stream_id: int, offset: int, digest: Buffer | None = None) -> bytes:
    """Return the message that ends one direction at `offset`, with the BLAKE3 digest of what came before, 32 bytes.

    Raises:
        ValueError: for a digest of another size.
    """

def stream_encode_reset(stream_id: int, code: int, reason: str = "") -> bytes:
    """Return the message that gives a stream up; a reason over 1,024 bytes is cut off."""

def stream_encode_resume(stream_id: int, offset: int, token: Buffer, limit: int) -> bytes:
    """Return the message that takes a stream up after a pause: received up to `offset`, bytes are taken up to `limit`.

    Raises:
        ValueError: for a token that has not 16 bytes.
    """

def stream_encode_done(stream_id: int, offset: int) -> bytes:
    """Return the message that says: everything up to `offset` was consumed, and the digest was right."""

def stream_data_of(frame: Buffer) -> tuple[int, int] | None:
    """Return (stream id, offset) when `frame` is a whole SBP frame with a stream data message and nothing special.

    Its bytes begin at STREAM_DATA_PREFIX_SIZE. None for every other frame, also for a broken one: decode those.
    """

@final
class StreamFramer:
    """Makes the SBP frames of stream messages. Frame ids are `random` (8 bytes, unused elsewhere) and a counter."""

    def __new__(cls, random: Buffer) -> StreamFramer: ...
    def data_prefix(self, stream_id: int, offset: int) -> bytes:
        """Return what stands before the bytes of a data message, 51 bytes: send the bytes right after it."""

    def frame(self, message: Buffer) -> bytes:
        """Return a whole frame with a stream message."""

@final
class StreamWindow:
    """The credit that the receiver of one direction gives, in bytes; `now` is seconds on any steady clock.

    It doubles while a full window is consumed within twice the smallest round trip, up to `largest`.
    """

    def __new__(cls, initial: int, largest: int, now: float) -> StreamWindow: ...
    def arrive(self, offset: int, size: int, now: float) -> tuple[int, float | None]:
        """Take in a data message's position.

        First: 0 the next bytes, which count as received; 1 elsewhere inside the window, drop them; 2 past the window.
        Second: an upper bound of the round trip in seconds, now and then.
        """

    def consume(self, size: int, now: float, round_trip: float | None = None, may_grow: bool = True) -> int | None:
        """Count `size` bytes as taken by the application; returns the new limit when it is worth telling."""

    def count(self, size: int, now: float) -> tuple[bool, float | None]:
        """Count bytes of a session, whatever their offsets: whether they were inside the limit, and as `arrive`."""

    def renew(self, now: float) -> int:
        """Return the limit to tell after a pause."""

    def restart(self, now: float) -> None:
        """Count anew from 0, with the first size."""

    @property
    def received(self) -> int:
        """The offset of the next byte."""

    @property
    def consumed(self) -> int:
        """Up to where bytes were taken."""

    @property
    def limit(self) -> int:
        """Up to where the sender may send."""

    @property
    def size(self) -> int:
        """Bytes that may be under way or wait to be taken."""

@final
class Blake3:
    """BLAKE3, 32 bytes. From 16 KiB on, hashing releases the interpreter."""

    def __new__(cls) -> Blake3: ...
    def update(self, data: Buffer) -> None:
        """Hash more bytes."""

    def digest(self) -> bytes:
        """Return the digest of what was hashed so far; more may follow."""

NOISE_MAX_PAYLOAD: int
"""Largest payload of the handshake messages 2 and 3 in bytes: 4,000."""
NOISE_MAX_RECORD: int
"""Largest sealed record of a direct session in bytes, its type byte on the wire not counted: 1 MiB + 17."""

@final
class NoiseKeyPair:
    """A static X25519 key pair for direct sessions (docs/protocol/sbdp.md). The private key is wiped when it is freed.

    It cannot be copied or pickled, and `repr` shows the fingerprint of the public key only.
    """

    @staticmethod
    def generate() -> NoiseKeyPair:
        """Make a fresh pair from the operating system's randomness.

        Raises:
            OSError: there is none.
        """

    @staticmethod
    def from_private_bytes(private_key: Buffer) -> NoiseKeyPair:
        """Make the pair of a 32 byte private key.

        Raises:
            SbrpError: `handshake_failed` for another length.
        """

    def private_bytes(self) -> bytes:
        """Return the 32 byte private key, for storing it."""

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""

    def __reduce__(self) -> NoReturn: ...

@final
class NoiseHandshake:
    """One side of a Noise_XX_25519_ChaChaPoly_SHA256 handshake, without I/O. After a failure it stays failed.

    Args:
        key_pair: this side's static key.
        initiator: whether this side sends messages 1 and 3.
        prologue: what both sides have to agree on besides; not sent.
        ephemeral: 32 byte private key of this handshake, for tests; fresh randomness by default.
    """

    def __new__(
        cls, key_pair: NoiseKeyPair, *, initiator: bool, prologue: Buffer, ephemeral: Buffer | None = None
    ) -> NoiseHandshake: ...
    def write(self, payload: Buffer | None = None) -> bytes:
        """Return the next message. The payload of messages 2 and 3 is encrypted; message 1 carries none.

        Raises:
            SbdpError: `message_too_large` over 4,000 bytes of payload, with nothing changed; `handshake_failed` out of
                turn or after a failure.
        """

    def read(self, message: Buffer) -> bytes:
        """Take the other side's next message and return its payload.

        Raises:
            SbdpError: `handshake_failed` when it is too long, out of turn, changed, or of another prologue.
        """

    @property
    def hash(self) -> bytes:
        """The hash of all that was exchanged so far, 32 bytes."""

    @property
    def remote_key(self) -> bytes | None:
        """The other side's static key, 32 bytes, once it has come."""

    @property
    def finished(self) -> bool:
        """Whether all three messages were exchanged and the keys were not taken yet."""

    def session(
        self, *, max_record: int = 1048593, rekey_records: int = 4294967296, rekey_bytes: int = 68719476736
    ) -> NoiseSession:
        """Take the keys of the finished handshake, once.

        Args:
            max_record: largest sealed record in bytes, both ways; 18 to `NOISE_MAX_RECORD`.
            rekey_records: records under one key, at least 2.
            rekey_bytes: plaintext bytes under one key.

        Raises:
            SbdpError: `handshake_failed` before the end, and the second time.
            ValueError: for another `max_record`.
        """

    def __reduce__(self) -> NoReturn: ...

@final
class NoiseSession:
    """The sealed records of a direct session (docs/protocol/sbdp.md, "Records"). The two directions share nothing.

    Next-key records are made where they are due, and acted upon where they come. From 16 KiB on the interpreter is
    released.
    """

    @property
    def max_content(self) -> int:
        """Largest content of a record in bytes."""

    def seal_stream(self, contents: Iterable[Buffer | tuple[Buffer, ...]]) -> bytes:
        """Seal data records for a byte stream, each with its length, all in one buffer. A tuple is one in parts.

        Raises:
            SbdpError: `message_too_large` with nothing sealed; `session_cleared`.
        """

    def seal_messages(self, contents: Iterable[Buffer | tuple[Buffer, ...]]) -> list[bytes]:
        """Seal data records for a message transport, one message each. Same errors as `seal_stream`."""

    def seal_control(self, kind: int, content: Buffer) -> list[bytes]:
        """Seal a control record (1 ping, 2 pong, 3 close), and before it the next-key record that is due.

        Returns:
            Messages without lengths, in the order in which they have to leave.

        Raises:
            SbdpError: `session_cleared`.
            ValueError: for another kind.
        """

    def push(self, data: Buffer) -> list[bytes | tuple[int, bytes]]:
        """Take bytes of a stream, in any pieces, and return what they complete: data, or (kind, content) of a control.

        Raises:
            SbdpError: `protocol_violation` or `decrypt_failed`, once everything before was returned; then always.
            RuntimeError: another thread is reading.
        """

    def open_messages(self, messages: Iterable[Buffer]) -> list[bytes | tuple[int, bytes]]:
        """Open messages of a message transport. Result and errors are those of `push`."""

    def clear(self) -> None:
        """Wipe the keys of both directions."""

    @property
    def sent(self) -> tuple[int, int]:
        """How many keys this side has used up, and the sequence number of its next record."""

    @property
    def received(self) -> tuple[int, int]:
        """The same of the other side."""

    def __reduce__(self) -> NoReturn: ...
