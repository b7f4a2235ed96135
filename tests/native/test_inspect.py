"""What a relay checks of a frame, in its order (docs/protocol/sbrp.md, "Frames")."""

import pytest

from sideband import _native
from sideband.errors import SbrpError

CLIENT, DAEMON = 0, 1
SAMPLES = {
    0x01: _native.encode_handshake_init(7, bytes(32)),
    0x02: _native.encode_handshake_accept(7, bytes(128)),
    0x03: _native.encode_data(7, bytes(28)),
    0x04: _native.encode_signal(7, 1, 99),
    0x10: _native.encode_ping(b"12345678"),
    0x11: _native.encode_pong(),
}
SENDERS = {0x01: {CLIENT}, 0x02: {DAEMON}, 0x03: {CLIENT, DAEMON}, 0x04: {DAEMON}, 0x10: {CLIENT, DAEMON}}
SENDERS[0x11] = SENDERS[0x10]


def refusal(frame: bytes, sender: int) -> tuple[str, int]:
    with pytest.raises(SbrpError) as caught:
        _native.inspect_frame(frame, sender)
    return caught.value.code.value, caught.value.session_id


def raw(frame_type: int, length: int, session_id: int, payload: bytes = b"") -> bytes:
    return bytes([frame_type]) + length.to_bytes(4, "big") + session_id.to_bytes(8, "big") + payload


@pytest.mark.parametrize("frame_type", SAMPLES, ids=hex)
@pytest.mark.parametrize("sender", [CLIENT, DAEMON])
def test_who_may_send_what(frame_type: int, sender: int) -> None:
    frame = SAMPLES[frame_type]
    if sender in SENDERS[frame_type]:
        session_id = 0 if frame_type >= 0x10 else 7
        assert _native.inspect_frame(frame, sender) == (frame_type, session_id)
        assert _native.inspect_frame(bytearray(frame), sender) == (frame_type, session_id)
    else:
        assert refusal(frame, sender) == ("disallowed_sender", 7)


@pytest.mark.parametrize("sender", [CLIENT, DAEMON])
@pytest.mark.parametrize("session_id", [0, 5])
def test_nobody_sends_control_to_a_relay(sender: int, session_id: int) -> None:
    assert refusal(_native.encode_control(session_id, 0x0601), sender) == ("disallowed_sender", session_id)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        # Each is wrong in the named way and in every way that is checked later.
        (b"", "malformed_frame"),
        (raw(0x99, 65537, 0)[:12], "malformed_frame"),
        (raw(0x99, 65537, 0), "payload_too_large"),
        (raw(0x99, 65536, 0), "invalid_frame_type"),
        (raw(0x02, 65536, 0), "invalid_session_id"),
        (raw(0x10, 65536, 1), "invalid_session_id"),
        (raw(0x02, 5, 9), "disallowed_sender"),
        (raw(0x01, 33, 9, bytes(32)), "malformed_frame"),
        (raw(0x01, 31, 9, bytes(32)), "malformed_frame"),
        (raw(0x01, 31, 9, bytes(31)), "malformed_frame"),
        (raw(0x03, 27, 9, bytes(27)), "malformed_frame"),
        (raw(0x10, 9, 0, bytes(8)), "malformed_frame"),
        (raw(0x10, 9, 0, bytes(9)), "payload_too_large"),
        (raw(0x11, 9, 0, bytes(9)), "payload_too_large"),
    ],
)
def test_the_first_failure_is_reported(frame: bytes, code: str) -> None:
    expected_id = 9 if code == "disallowed_sender" else 0
    assert refusal(frame, CLIENT) == (code, expected_id)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_signal_size(size: int) -> None:
    assert refusal(raw(0x04, size, 9, bytes(size)), DAEMON) == ("malformed_frame", 0)


def test_largest_frame() -> None:
    frame = _native.encode_data(2**64 - 1, bytes(65536))
    assert len(frame) == _native.MAX_FRAME_SIZE
    assert _native.inspect_frame(frame, CLIENT) == (3, 2**64 - 1)
    assert refusal(frame + b"\0", CLIENT) == ("malformed_frame", 0)


@pytest.mark.parametrize("sender", [2, 255])
def test_sender_is_client_or_daemon(sender: int) -> None:
    with pytest.raises(ValueError, match="client"):
        _native.inspect_frame(SAMPLES[0x10], sender)
