"""The receiver's edges that only Python can reach; RFC 6455 itself is tested in rust/core/tests/ws.rs."""

import pytest

from sideband._native import WebSocketReceiver, encode_data, encode_ping, encode_signal

MASK = b"\x01\x02\x03\x04"


def frame(payload: bytes, first: int = 0x82) -> bytearray:
    assert len(payload) < 126
    body = bytes(byte ^ MASK[n % 4] for n, byte in enumerate(payload))
    return bytearray(bytes((first, 0x80 | len(payload))) + MASK + body)


def events(receiver: WebSocketReceiver, wire: bytearray, *limits: int) -> list[tuple]:
    told = []
    while (event := receiver.next(wire, len(wire), *limits)) is not None:
        told.append(event)
    return told


def unmasked(*messages: bytes) -> bytes:
    return b"".join(bytes((0x82, len(message))) + message for message in messages)


def test_frames_of_one_session_are_one_event() -> None:
    one, two, other = encode_data(1, bytes(28)), encode_data(1, bytes(40)), encode_data(2, bytes(30))
    wire = frame(one) + frame(two) + frame(other) + frame(one)
    assert events(WebSocketReceiver(1), wire) == [
        (0, 1, 2, 41 + 53, unmasked(one, two)),
        (0, 2, 1, 43, unmasked(other)),
        (0, 1, 1, 41, unmasked(one)),
    ]


@pytest.mark.parametrize(("limits", "runs"), [((2, 1000), [2, 2, 1]), ((1, 1000), [1] * 5), ((9, 81), [2, 2, 1])])
def test_an_event_ends_with_the_message_that_goes_over_a_limit(limits: tuple[int, int], runs: list[int]) -> None:
    wire = frame(encode_data(1, bytes(28))) * 5
    assert [event[2] for event in events(WebSocketReceiver(0), wire, *limits)] == runs


def test_at_least_one_message_is_taken_whatever_the_limits() -> None:
    assert len(events(WebSocketReceiver(0), frame(encode_data(1, bytes(28))) * 3, 0, 0)) == 3


def test_other_events() -> None:
    wire = frame(encode_ping(b"abc")) + frame(encode_signal(7, 1)) + frame(b"x", 0x89) + frame(bytes(12))
    wire += frame(b"\x10\xe1", 0x88)
    assert events(WebSocketReceiver(1), wire) == [
        (1, 0, 1, 16, b"abc"),
        (3, 7, 1, 15, b"\x01"),
        (5, 0, 0, 0, b"x"),
        (4, 0, 1, 12, "malformed_frame"),
        (6, 4321, 0, 0, None),
    ]
    assert events(WebSocketReceiver(0), frame(encode_signal(7, 1))) == [(4, 7, 1, 15, "disallowed_sender")]
    assert events(WebSocketReceiver(0), frame(b"x", 0x81)) == [(7, 1003, 0, 0, "binary messages only")]
    assert events(WebSocketReceiver(), frame(b"x", 0x81)) == [(8, 1, 1, 1, b"x")]


def test_what_is_kept_comes_before_what_is_new() -> None:
    receiver = WebSocketReceiver()
    wire = frame(b"one") + frame(b"two") + frame(b"three")
    assert receiver.next(wire, len(wire)) == (8, 0, 1, 3, b"one")
    receiver.keep(wire, len(wire))
    assert receiver.held_bytes >= len(wire) - len(frame(b"one"))
    wire[:] = bytes(len(wire))
    assert [event[4] for event in events(receiver, frame(b"four"))] == [b"two", b"three", b"four"]
    assert receiver.held_bytes == 0


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="sender is 0"):
        WebSocketReceiver(2)
    with pytest.raises(ValueError, match="the buffer has 3 bytes, not 4"):
        WebSocketReceiver().next(bytearray(3), 4)
    with pytest.raises(TypeError):
        WebSocketReceiver().next(b"bytes can be shared", 4)  # type: ignore[arg-type]  (what is tested)
