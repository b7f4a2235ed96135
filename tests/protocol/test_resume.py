"""resume/1: messages, numbers, acks and the window."""

from collections.abc import Callable
from typing import Any

import pytest

from sideband._native import sbp_decode, sbp_encode_message
from sideband.errors import SbpError
from sideband.protocol.events import (
    ProtocolFailed,
)
from sideband.protocol.limits import SbpLimits
from sideband.protocol.resume import ACK, GAP, STATE, SentWindow, decode_resume, encode_resume
from tests.support.resume_frames import RESUME, covered, numbers, resume_messages, say

Join = Callable[..., Any]
# --- Messages of the extension ------------------------------------------------------------------


def test_the_nine_bytes() -> None:
    assert encode_resume(STATE, 0x0102030405060708) == bytes.fromhex("010807060504030201")
    assert decode_resume(bytes.fromhex("02ffffffffffffffff")) == (GAP, 2**64 - 1)


@pytest.mark.parametrize("data", [b"", b"\x00", bytes(8), bytes(10), b"\x03" + bytes(8), b"\xff" * 9])
def test_malformed_is_1000_and_the_end(join: Join, data: bytes) -> None:
    with pytest.raises(SbpError):
        decode_resume(data)
    joined = join()
    (event,) = joined.to_daemon([sbp_encode_message(bytes(16), RESUME, data)])
    assert (type(event), event.code) == (ProtocolFailed, 1000)


@pytest.mark.parametrize("kind", [ACK, STATE])
def test_naming_what_has_not_left_is_1000_and_the_end(join: Join, kind: int) -> None:
    joined = join()
    joined.daemon.send_notification("e")
    assert joined.to_daemon([say(kind, 0)]) == []  # it waits and has not left
    (event,) = joined.to_daemon([say(kind, 1)])
    assert (type(event), event.code) == (ProtocolFailed, 1000)


# --- Numbers ------------------------------------------------------------------------------------


def test_covered_messages_are_numbered_from_0_in_the_order_they_leave(join: Join) -> None:
    joined = join()
    joined.client.send_request("m")
    joined.client.send_notification("e")
    joined.client.send_app("app/x", b"")
    joined.client.send_cancel(b"unknown" + bytes(9))
    frames = joined.client.take(1 << 20)
    assert numbers(frames) == [0, 1, 2]
    assert len({sbp_decode(frame).frame_id[:8] for frame in frames}) == 1
    joined.client.send_result(bytes(16), 1)
    assert numbers(joined.client.take(1 << 20)) == [3]


def test_the_last_piece_carries_the_number(join: Join) -> None:
    joined = join()
    joined.client.send_notification("before")
    joined.client.send_app("app/x", b"x" * 150_000)
    joined.client.send_notification("after")
    frames = [sbp_decode(frame) for frame in joined.client.take(1 << 20)]
    assert [frame.subject for frame in frames] == ["event"] + ["app/sb.frag.v1"] * 3 + ["event"]
    ids = [int.from_bytes(frame.frame_id[8:], "little") for frame in frames]
    assert (ids[0], ids[3], ids[4]) == (0, 1, 2)
    assert frames[1].frame_id[:8] != frames[0].frame_id[:8]  # other pieces have ids of no meaning


def test_a_lower_number_is_a_repeat_and_dropped(join: Join) -> None:
    joined = join()
    assert len(joined.to_daemon([covered(0), covered(1)])) == 2
    assert joined.to_daemon([covered(0), covered(1)]) == []
    assert not joined.daemon.wants_write


def test_a_higher_number_is_dropped_and_answered_by_state_once_a_second(join: Join) -> None:
    joined = join()
    joined.to_daemon([covered(0)])
    assert joined.to_daemon([covered(2), covered(3)]) == []
    assert resume_messages(joined.daemon.take(1 << 20)) == [(STATE, 1)]
    joined.clock.now += 0.999
    joined.to_daemon([covered(4)])
    assert joined.daemon.take(1 << 20) == []
    at = joined.daemon.next_deadline()
    assert at == pytest.approx(joined.clock.now + 0.001)
    joined.clock.now = at
    assert joined.daemon.on_deadline(at) == []
    assert resume_messages(joined.daemon.take(1 << 20)) == [(STATE, 1)]
    assert len(joined.to_daemon([covered(1)])) == 1


def test_a_missing_message_is_sent_again_without_any_pause(join: Join) -> None:
    joined = join()
    for n in range(5):
        joined.client.send_notification("e", n)
    frames = joined.client.take(1 << 20)
    del frames[1:3]
    joined.to_daemon(frames)
    joined.settle()
    assert [event.data for event in joined.daemon_events] == [0, 1, 2, 3, 4]


def test_states_in_a_row_start_one_repetition(join: Join) -> None:
    joined = join()
    for n in range(3):
        joined.client.send_notification("e", n)
    joined.client.take(1 << 20)
    joined.to_client([say(STATE, 0)])
    assert len(joined.client.take(1)) == 1
    joined.to_client([say(STATE, 0)])
    assert len(joined.client.take(1 << 20)) == 2


# --- Acks ---------------------------------------------------------------------------------------


def test_an_ack_after_64_messages(join: Join) -> None:
    joined = join()
    joined.to_daemon([covered(n) for n in range(63)])
    assert not joined.daemon.wants_write
    joined.to_daemon([covered(63)])
    assert resume_messages(joined.daemon.take(1 << 20)) == [(ACK, 64)]
    assert not joined.daemon.wants_write


@pytest.mark.parametrize(("short", "due"), [(1, False), (0, True)])
def test_an_ack_after_256_kib(join: Join, short: int, due: bool) -> None:
    joined = join()
    overhead = len(covered(0, b"", "app/x"))
    sizes = [65_536, 65_536, 65_536, 65_536 - short]
    joined.to_daemon([covered(n, b"x" * (size - overhead), "app/x") for n, size in enumerate(sizes)])
    assert joined.daemon.wants_write == due


def test_an_ack_after_a_second_with_something_new(join: Join) -> None:
    joined = join()
    assert joined.daemon.next_deadline() is None
    joined.to_daemon([covered(0)])
    joined.clock.now += 0.5
    joined.to_daemon([covered(1)])
    at = joined.daemon.next_deadline()
    assert at == pytest.approx(joined.clock.now + 0.5)
    joined.daemon.on_deadline(at - 0.01)
    assert not joined.daemon.wants_write
    joined.daemon.on_deadline(at)
    assert resume_messages(joined.daemon.take(1 << 20)) == [(ACK, 2)]
    assert joined.daemon.next_deadline() is None


def test_acks_are_not_acknowledged_and_release_what_is_kept(join: Join) -> None:
    joined = join()
    for _ in range(64):
        joined.client.send_notification("e", "x" * 100)
    frames = joined.client.take(1 << 20)
    assert joined.client.retained_bytes == sum(map(len, frames))
    joined.to_daemon(frames)
    joined.to_client(joined.daemon.take(1 << 20))
    assert joined.client.retained_bytes == 0
    assert joined.client.next_deadline() is None
    assert not joined.client.wants_write
    joined.to_client([say(ACK, 5)])  # an old one changes nothing
    assert joined.client.retained_bytes == 0


def test_what_precedes_a_large_message_is_acknowledged_while_its_pieces_come(join: Join) -> None:
    joined = join()
    joined.client.send_notification("small")
    joined.client.send_app("app/x", b"x" * 1_000_000)
    joined.to_daemon(joined.client.take(400_000))
    assert (ACK, 1) in resume_messages(joined.daemon.take(1 << 20))


# --- The window ---------------------------------------------------------------------------------


def test_a_full_window_of_1024_messages_holds_the_next_back_until_an_ack(join: Join) -> None:
    joined = join()
    for n in range(1030):
        joined.client.send_notification("e", n)
    frames = []
    while more := joined.client.take(1 << 16):
        frames += more
    assert len(frames) == 1024
    assert not joined.client.wants_write
    assert joined.client.buffered_bytes > 0
    joined.to_client([say(ACK, 3)])
    assert joined.client.wants_write
    assert numbers(joined.client.take(1 << 20)) == [1024, 1025, 1026]


@pytest.mark.parametrize(("extra", "fits"), [(0, True), (1, False)])
def test_a_full_window_of_4_mib(extra: int, fits: bool) -> None:
    window = SentWindow(SbpLimits())
    mib = 1024 * 1024
    for _ in range(3):
        window.push(b"x" * mib, mib)
    window.push(b"x" * (mib - 100), mib - 100)
    assert window.has_room(100 + extra) == fits


def test_one_larger_message_is_kept_besides() -> None:
    window = SentWindow(SbpLimits(window_bytes=1000))
    window.push(b"x" * 900, 900)
    assert window.has_room(1001)
    window.push(b"y" * 5000, 5000)
    assert window.has_room(100)
    assert not window.has_room(101)
    assert not window.has_room(1001)
    assert window.held_bytes == 5900
    window.acknowledge(2)
    assert (window.held_bytes, window.base, window.left) == (0, 2, 2)
    assert window.has_room(1001)


def test_a_window_that_nobody_acknowledges_rolls_after_30_s(join: Join) -> None:
    joined = join(limits=SbpLimits(window_frames=4))
    for n in range(10):
        joined.client.send_notification("e", n)
    assert numbers(joined.client.take(1 << 20)) == [0, 1, 2, 3]
    assert joined.client.take(1 << 20) == []
    at = joined.client.next_deadline()
    assert at == joined.clock.now + 30.0
    joined.client.on_deadline(at - 0.1)
    assert not joined.client.wants_write
    joined.clock.now = at
    joined.client.on_deadline(at)
    assert numbers(joined.client.take(1 << 20)) == [4, 5, 6, 7, 8, 9]
    # The first ack makes it a window again.
    joined.to_client([say(ACK, 8)])
    for n in range(10):
        joined.client.send_notification("e", n)
    assert numbers(joined.client.take(1 << 20)) == [10, 11]
