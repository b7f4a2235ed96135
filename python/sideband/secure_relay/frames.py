"""SBRP frames and their typed payloads (docs/protocol/sbrp.md, "Frames").

Encoders return whole frames. Decoders take the `Frame` that `decode_frame` returned and refuse one of another type.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from sideband import _native
from sideband._native import MAX_FRAME_SIZE, MAX_PAYLOAD_SIZE, MAX_PLAINTEXT_SIZE
from sideband.errors import SbrpError, SbrpErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

__all__ = [
    "FRAME_HEADER_SIZE",
    "MAX_FRAME_SIZE",
    "MAX_PAYLOAD_SIZE",
    "MAX_PING_PAYLOAD_SIZE",
    "MAX_PLAINTEXT_SIZE",
    "ControlMessage",
    "EncryptedMessage",
    "Frame",
    "FrameDecoder",
    "FrameHeader",
    "FrameType",
    "HandshakeAccept",
    "HandshakeInit",
    "SignalCode",
    "SignalMessage",
    "SignalReason",
    "decode_control",
    "decode_data",
    "decode_frame",
    "decode_handshake_accept",
    "decode_handshake_init",
    "decode_ping",
    "decode_pong",
    "decode_signal",
    "encode_control",
    "encode_data",
    "encode_frame",
    "encode_handshake_accept",
    "encode_handshake_init",
    "encode_ping",
    "encode_pong",
    "encode_signal",
    "read_frame_header",
]

FRAME_HEADER_SIZE: Final = 13
"""Bytes before a frame's payload: type (1), payload length (4), session id (8)."""
MAX_PING_PAYLOAD_SIZE: Final = 8
"""Largest payload of a ping or pong in bytes."""


class FrameType(IntEnum):
    """The type byte of a frame."""

    HANDSHAKE_INIT = 0x01
    HANDSHAKE_ACCEPT = 0x02
    DATA = 0x03
    SIGNAL = 0x04
    PING = 0x10
    PONG = 0x11
    CONTROL = 0x20


class SignalCode(IntEnum):
    """What a daemon tells the relay about a session."""

    READY = 0
    CLOSE = 1


class SignalReason(IntEnum):
    """Why a daemon gives the signal."""

    NONE = 0
    STATE_LOST = 1
    SHUTDOWN = 2
    POLICY = 3
    ERROR = 4


class FrameHeader(NamedTuple):
    """A checked header: type, payload length in bytes, session id (0 for none)."""

    type: FrameType
    length: int
    session_id: int


class Frame(NamedTuple):
    """A decoded frame: type, session id (0 for none), payload."""

    type: FrameType
    session_id: int
    payload: bytes


class HandshakeInit(NamedTuple):
    """What the client sends first: its ephemeral X25519 key, 32 bytes. `bytes()` of it is the payload."""

    public_key: bytes

    def __bytes__(self) -> bytes:
        return self.public_key


class HandshakeAccept(NamedTuple):
    """The daemon's answer: identity key (32), ephemeral key (32), signature (64). `bytes()` of it is the payload."""

    identity_public_key: bytes
    accept_public_key: bytes
    signature: bytes

    def __bytes__(self) -> bytes:
        return self.identity_public_key + self.accept_public_key + self.signature


class EncryptedMessage(NamedTuple):
    """A Data payload with the sequence number that its nonce claims, unverified. `bytes()` of it is the payload."""

    sequence: int
    payload: bytes

    def __bytes__(self) -> bytes:
        return self.payload


class SignalMessage(NamedTuple):
    """What a Signal frame says."""

    signal: SignalCode
    reason: SignalReason


class ControlMessage(NamedTuple):
    """What a Control frame says; the text is for people and never parsed."""

    code: SbrpErrorCode
    message: str


def encode_frame(type: int, session_id: int, payload: Buffer) -> bytes:  # noqa: A002  (the name of the public API)
    """Return one frame with a type from 0 to 255, known or not.

    Raises:
        SbrpError: `malformed_frame` for a session id that a known type does not allow or that does not fit 64 bits,
            `payload_too_large` over 65,536 payload bytes (8 for ping and pong), `invalid_frame_type` over 255.
    """
    return _native.encode_frame(type, session_id, payload)


def decode_frame(data: Buffer) -> Frame:
    """Decode exactly one frame, checked in the order of an endpoint.

    Raises:
        SbrpError: `invalid_frame_type`, `payload_too_large`, or `malformed_frame` for a bad session id, a frame that
            is not whole, or bytes after it.
    """
    frame_type, session_id, payload = _native.decode_frame(data)
    return Frame(FrameType(frame_type), session_id, payload)


def read_frame_header(data: Buffer) -> FrameHeader:
    """Check the header that `data` (13 bytes or more) begins with.

    Raises:
        SbrpError: `malformed_frame`, `invalid_frame_type` or `payload_too_large`.
    """
    frame_type, length, session_id = _native.decode_frame_header(data)
    return FrameHeader(FrameType(frame_type), length, session_id)


class FrameDecoder:
    """Splits a byte stream into frames.

    Holds at most one header and one payload. After an error it holds nothing and stays failed until `reset`.
    """

    def __init__(self) -> None:
        self._decoder = _native.FrameDecoder()

    def push(self, data: Buffer) -> Iterator[Frame]:
        """Take bytes in any pieces, at once, and return an iterator over the frames they complete.

        The iterator raises after the frames that came before a bad one.

        Raises:
            SbrpError: `invalid_frame_type`, `payload_too_large` or `malformed_frame`.
        """
        return self._deliver(self._decoder.push(data))

    def reset(self) -> None:
        """Forget everything buffered and any failure."""
        self._decoder.reset()

    @property
    def buffered_bytes(self) -> int:
        """Bytes of an unfinished frame; 0 after an error."""
        return self._decoder.buffered_bytes

    def _deliver(self, frames: list[tuple[int, int, bytes]]) -> Iterator[Frame]:
        for frame_type, session_id, payload in frames:
            yield Frame(FrameType(frame_type), session_id, payload)
        # Raises the error of a bad frame that followed the good ones.
        self._decoder.push(b"")


def encode_handshake_init(session_id: int, message: HandshakeInit | Buffer) -> bytes:
    """Return a HandshakeInit frame for the message, or its 32 bytes.

    Raises:
        SbrpError: `malformed_frame` for session id 0 or another length.
    """
    return _native.encode_handshake_init(session_id, message_bytes(message))


def decode_handshake_init(frame: Frame) -> HandshakeInit:
    """Return the message of a HandshakeInit frame.

    Raises:
        SbrpError: `invalid_frame_type` for another type, `malformed_frame` for another length than 32.
    """
    return HandshakeInit(_native.decode_handshake_init(_payload(frame, FrameType.HANDSHAKE_INIT)))


def encode_handshake_accept(session_id: int, message: HandshakeAccept | Buffer) -> bytes:
    """Return a HandshakeAccept frame for the message, or its 128 bytes.

    Raises:
        SbrpError: `malformed_frame` for session id 0 or a part of another length.
    """
    return _native.encode_handshake_accept(session_id, message_bytes(message))


def decode_handshake_accept(frame: Frame) -> HandshakeAccept:
    """Return the message of a HandshakeAccept frame.

    Raises:
        SbrpError: `invalid_frame_type` for another type, `malformed_frame` for another length than 128.
    """
    return HandshakeAccept(*_native.decode_handshake_accept(_payload(frame, FrameType.HANDSHAKE_ACCEPT)))


def encode_data(session_id: int, payload: EncryptedMessage | Buffer) -> bytes:
    """Return a Data frame around an encrypted payload (28 to 65,536 bytes).

    Raises:
        SbrpError: `malformed_frame` for session id 0 or under 28 bytes, `payload_too_large` over 65,536.
    """
    return _native.encode_data(session_id, message_bytes(payload))


def decode_data(frame: Frame) -> EncryptedMessage:
    """Return the encrypted message of a Data frame.

    Raises:
        SbrpError: `invalid_frame_type` for another type, `malformed_frame` under 28 bytes.
    """
    payload = _payload(frame, FrameType.DATA)
    return EncryptedMessage(_native.decode_data(payload), payload)


def encode_signal(session_id: int, signal: SignalCode | int, reason: SignalReason | int = SignalReason.NONE) -> bytes:
    """Return a Signal frame; the two bytes need not be known values.

    Raises:
        SbrpError: `malformed_frame` for session id 0 or a value over 255.
    """
    return _native.encode_signal(session_id, signal, reason)


def decode_signal(frame: Frame) -> SignalMessage:
    """Return what a Signal frame says.

    Raises:
        SbrpError: `invalid_frame_type` for another type, `malformed_frame` for another length or an unknown value.
    """
    signal, reason = _native.decode_signal(_payload(frame, FrameType.SIGNAL))
    return SignalMessage(SignalCode(signal), SignalReason(reason))


def encode_ping(payload: Buffer = b"") -> bytes:
    """Return a Ping frame with up to 8 bytes.

    Raises:
        SbrpError: `payload_too_large` over 8 bytes.
    """
    return _native.encode_ping(payload)


def decode_ping(frame: Frame) -> bytes:
    """Return the payload of a Ping frame.

    Raises:
        SbrpError: `invalid_frame_type` for another type.
    """
    return _payload(frame, FrameType.PING)


def encode_pong(payload: Buffer = b"") -> bytes:
    """Return a Pong frame with the payload of the ping it answers.

    Raises:
        SbrpError: `payload_too_large` over 8 bytes.
    """
    return _native.encode_pong(payload)


def decode_pong(frame: Frame) -> bytes:
    """Return the payload of a Pong frame.

    Raises:
        SbrpError: `invalid_frame_type` for another type.
    """
    return _payload(frame, FrameType.PONG)


def encode_control(session_id: int, code: SbrpErrorCode | int, message: str = "") -> bytes:
    """Return a Control frame for a code, or a code's number, known or not, with a text for people.

    Raises:
        SbrpError: `payload_too_large` over 65,534 bytes of text, `malformed_frame` for a number over 65,535.
        ValueError: the code is one that never travels, such as `decrypt_failed`.
    """
    wire = code.wire if isinstance(code, SbrpErrorCode) else code
    if wire is None:
        msg = f"{code} is raised by endpoints only and never travels"
        raise ValueError(msg)
    return _native.encode_control(session_id, wire, message)


def decode_control(frame: Frame) -> ControlMessage:
    """Return what a Control frame says. Bad UTF-8 becomes U+FFFD, and a leading byte-order mark is dropped.

    Raises:
        SbrpError: `invalid_frame_type` for another type, `malformed_frame` under 2 bytes or for an unknown code.
    """
    wire, message = _native.decode_control(_payload(frame, FrameType.CONTROL))
    return ControlMessage(SbrpErrorCode.from_wire(wire), message)


def message_bytes(message: HandshakeInit | HandshakeAccept | EncryptedMessage | Buffer) -> Buffer:
    """Return the payload of a typed message; a bytes-like object is returned as it is.

    Raises:
        SbrpError: `malformed_frame` when a part of a HandshakeAccept has a wrong length.
    """
    if isinstance(message, HandshakeAccept):
        lengths = tuple(len(part) for part in message)
        # The parts' sum alone would let a short key and a long one pass for each other.
        if lengths != (32, 32, 64):
            raise SbrpError(SbrpErrorCode.MALFORMED_FRAME, f"an accept has parts of 32, 32, 64 bytes, got {lengths}")
        return bytes(message)
    if isinstance(message, (HandshakeInit, EncryptedMessage)):
        return bytes(message)
    return message


def _payload(frame: Frame, expected: FrameType) -> bytes:
    if frame.type != expected:
        raise SbrpError(
            SbrpErrorCode.INVALID_FRAME_TYPE, f"expected a {expected.name} frame, got {FrameType(frame.type).name}"
        )
    return frame.payload
