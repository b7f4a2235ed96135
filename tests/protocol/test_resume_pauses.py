"""resume/1: pauses, what is sent again after them, and gaps."""

from collections.abc import Callable
from typing import Any

import pytest

from sideband._native import sbp_decode, sbp_encode_message
from sideband.protocol.events import (
    AppReceived,
    CallsLost,
    EventsLost,
    NotificationReceived,
    ProtocolFailed,
    RequestReceived,
    ResultReceived,
    ResumeCompleted,
    ResumeFailed,
)
from sideband.protocol.limits import SbpLimits
from sideband.protocol.resume import ACK, GAP, STATE
from tests.support.resume_frames import RESUME, covered, numbers, resume_messages, say

Join = Callable[..., Any]


def test_nothing_leaves_while_paused_and_the_state_leaves_first(join: Join) -> None:
    joined = join()
    joined.to_client([covered(0)])
    joined.cut()
    joined.client.pause()
    joined.client.send_notification("e", 1)
    joined.client.receive(sbp_encode_message(bytes(16), "stream", b""))  # an answer waits as well
    assert not joined.client.wants_write
    assert joined.client.take(1 << 20) == []
    assert joined.client.resumed() == []
    frames = joined.client.take(1 << 20)
    assert [sbp_decode(frame).subject for frame in frames] == [RESUME, None]
    assert resume_messages(frames) == [(STATE, 1)]
    # Nothing covered before the other side's state.
    assert joined.client.take(1 << 20) == []
    joined.client.send_request("m")
    assert joined.client.take(1 << 20) == []
    assert joined.to_client([say(STATE, 0)]) == [ResumeCompleted(0)]
    assert numbers(joined.client.take(1 << 20)) == [0, 1]


def test_what_the_cut_swallowed_is_sent_again_with_the_same_numbers_then_what_is_new(join: Join) -> None:
    joined = join()
    for n in range(5):
        joined.client.send_notification("e", n)
    first = joined.client.take(1 << 20)
    joined.to_daemon(first[:2])
    joined.cut()
    joined.client.send_notification("e", 5)
    joined.client.resumed()
    joined.daemon.resumed()
    joined.client.take(1 << 20)
    (state,) = joined.daemon.take(1 << 20)
    assert joined.to_client([state]) == [ResumeCompleted(3)]
    joined.client.send_notification("e", 6)
    again = joined.client.take(1 << 20)
    assert again[:3] == first[2:]
    assert numbers(again) == [2, 3, 4, 5, 6]
    joined.to_daemon(again)
    assert [event.data for event in joined.daemon_events] == list(range(7))


def test_calls_under_way_are_answered_after_a_cut_in_either_direction(join: Join) -> None:
    joined = join()
    lost_request = joined.client.send_request("a")
    joined.client.take(1 << 20)
    joined.cut()
    _, daemon = joined.resume()
    (request,) = [event for event in daemon if isinstance(event, RequestReceived)]
    joined.daemon.send_result(request.cid, "b")
    joined.daemon.take(1 << 20)
    joined.cut()
    client, _ = joined.resume()
    assert [event for event in client if isinstance(event, ResultReceived)] == [ResultReceived(lost_request, "b")]


def test_a_large_message_begins_anew_after_a_cut(join: Join) -> None:
    joined = join()
    joined.client.send_app("app/x", b"x" * 400_000)
    joined.client.send_request("upload", "y" * 400_000)
    joined.to_daemon(joined.client.take(200_000))
    assert joined.budget.held > 0
    joined.cut()
    assert joined.budget.held == 0
    buffered = joined.client.buffered_bytes
    assert buffered > 800_000
    joined.resume()
    arrived = [type(event) for event in joined.daemon_events if not isinstance(event, ResumeCompleted)]
    assert arrived == [AppReceived, RequestReceived]
    assert joined.client.buffered_bytes == 0


def test_a_large_message_that_left_is_repeated_whole(join: Join) -> None:
    joined = join()
    joined.client.send_app("app/x", b"x" * 400_000)
    frames = joined.client.take(1 << 20)
    joined.to_daemon(frames[:-1])
    joined.cut()
    joined.resume()
    assert [e for e in joined.daemon_events if isinstance(e, AppReceived)] == [AppReceived("app/x", b"x" * 400_000)]


def test_a_large_repeat_that_had_arrived_is_dropped(join: Join) -> None:
    joined = join()
    joined.client.send_app("app/x", b"x" * 400_000)
    joined.to_daemon(joined.client.take(1 << 20))
    joined.to_client([say(STATE, 0)])  # as if it had not
    joined.settle()
    assert len(joined.daemon_events) == 1
    assert joined.budget.held == 0


def test_an_ack_during_repeats_spares_what_is_left_of_them(join: Join) -> None:
    joined = join()
    for n in range(5):
        joined.client.send_notification("e", n)
    joined.client.take(1 << 20)
    joined.to_client([say(STATE, 0)])
    joined.client.take(1)
    joined.to_client([say(ACK, 4)])
    assert numbers(joined.client.take(1 << 20)) == [4]


def test_the_other_sides_state_may_come_before_we_know_of_our_resume(join: Join) -> None:
    joined = join()
    joined.client.send_notification("e")
    joined.client.take(1 << 20)
    joined.client.pause()
    assert joined.to_client([say(STATE, 0)]) == []
    assert joined.client.resumed() == [ResumeCompleted(1)]
    frames = joined.client.take(1 << 20)
    assert resume_messages(frames) == [(STATE, 0)]
    assert numbers(frames) == [0]


def test_an_early_state_that_lies_is_the_end(join: Join) -> None:
    joined = join()
    joined.client.pause()
    joined.to_client([say(STATE, 1)])
    (event,) = joined.client.resumed()
    assert (type(event), event.code) == (ProtocolFailed, 1000)


def test_without_the_other_sides_state_the_session_ends_after_10_s(join: Join) -> None:
    joined = join()
    joined.cut()
    joined.clock.now += 100
    joined.client.resumed()
    joined.client.take(1 << 20)
    at = joined.client.next_deadline()
    assert at == joined.clock.now + 10.0
    assert joined.client.on_deadline(at - 0.01) == []
    (event,) = joined.client.on_deadline(at)
    assert isinstance(event, ResumeFailed)
    assert joined.client.closed
    assert joined.client.next_deadline() is None


def test_a_second_cut_before_the_state_starts_over(join: Join) -> None:
    joined = join()
    joined.client.send_notification("e", 1)
    joined.client.take(1 << 20)
    for _ in range(3):
        joined.cut()
        assert joined.client.next_deadline() is None
        joined.client.resumed()
        joined.daemon.resumed()
        joined.client.take(1 << 20)
    joined.cut()
    joined.resume()
    assert [e.data for e in joined.daemon_events if isinstance(e, NotificationReceived)] == [1]


def test_a_resume_without_a_known_pause_is_one(join: Join) -> None:
    joined = join()
    joined.client.send_notification("e")
    joined.client.take(1 << 20)
    assert joined.client.resumed() == []
    assert resume_messages(joined.client.take(1 << 20)) == [(STATE, 0)]
    assert joined.to_client([say(STATE, 0)]) == [ResumeCompleted(1)]


def test_a_cut_before_the_handshake_is_finished_cannot_be_resumed(join: Join) -> None:
    joined = join()
    fresh = type(joined.client)(
        local=joined.client.remote, opener=True, max_frame_payload=65_508, resumable=True, clock=joined.clock
    )
    fresh.start()
    fresh.pause()
    (event,) = fresh.resumed()
    assert isinstance(event, ResumeFailed)
    assert fresh.closed


def test_without_the_capability_calls_under_way_at_the_cut_fail_at_resume(join: Join) -> None:
    joined = join(caps=())
    answered, lost = joined.client.send_request("a"), joined.client.send_request("b")
    joined.settle()
    joined.daemon.send_result(answered)
    joined.settle()
    joined.cut()
    queued = joined.client.send_request("c")
    client, daemon = joined.resume()
    assert client == [CallsLost((lost,))]
    assert [event.cid for event in daemon] == [queued]
    joined.daemon.send_result(lost)
    joined.daemon.send_result(queued, 1)
    assert joined.settle()[0] == [ResultReceived(queued, 1)]


def test_pausing_and_resuming_a_closed_connection_does_nothing(join: Join) -> None:
    joined = join()
    joined.client.close("bye")
    joined.client.pause()
    assert joined.client.resumed() == []
    assert len(joined.client.take(1 << 20)) == 1


# --- Gaps ---------------------------------------------------------------------------------------


def roll(joined: Any) -> None:
    """Let 6 of the client's messages be pushed out of a window of 4."""
    joined.client.take(1 << 20)
    joined.client.take(1 << 20)
    joined.clock.now += 30.0
    joined.client.on_deadline(joined.clock.now)
    joined.client.take(1 << 20)
    assert joined.client.buffered_bytes == 0


def test_a_gap_names_the_first_number_held_and_both_sides_learn_what_is_gone(join: Join) -> None:
    joined = join(limits=SbpLimits(window_frames=4))
    early = joined.client.send_request("early")
    for n in range(5):
        joined.client.send_notification("e", n)
    late = joined.client.send_request("late")
    for n in range(3):
        joined.client.send_notification("e", 10 + n)
    theirs = joined.daemon.send_request("theirs")
    joined.to_client(joined.daemon.take(1 << 20))
    roll(joined)
    joined.cut()
    joined.daemon.resumed()
    joined.client.resumed()
    frames = joined.client.take(1 << 20)
    client = joined.to_client(joined.daemon.take(1 << 20))
    assert EventsLost(5, sent=True) in client
    assert CallsLost((early,)) in client
    frames += joined.client.take(1 << 20)
    assert resume_messages(frames) == [(STATE, 1), (GAP, 6)]
    assert numbers(frames) == [6, 7, 8, 9]
    daemon = joined.to_daemon(frames)
    assert EventsLost(6, sent=False) in daemon
    assert [e.cid for e in daemon if isinstance(e, RequestReceived)] == [late]
    # The answer to the daemon's own call may have been among what is gone: it is waited for, then given up.
    at = joined.daemon.next_deadline()
    while at is not None and CallsLost((theirs,)) not in daemon:
        joined.clock.now = at
        daemon += joined.daemon.on_deadline(at)
        joined.daemon.take(1 << 20)
        at = joined.daemon.next_deadline()
    assert CallsLost((theirs,)) in daemon
    assert joined.clock.now <= 1000.0 + 30.0 + 10.0


def test_an_answer_among_the_repeats_after_a_gap_counts(join: Join) -> None:
    joined = join(limits=SbpLimits(window_frames=4))
    theirs = joined.daemon.send_request("theirs")
    joined.to_client(joined.daemon.take(1 << 20))
    for n in range(9):
        joined.client.send_notification("e", n)
    joined.client.send_result(theirs, "found")
    roll(joined)
    joined.cut()
    _, daemon = joined.resume()
    assert ResultReceived(theirs, "found") in daemon
    joined.clock.now += 100
    assert joined.daemon.on_deadline(joined.clock.now) == []


def test_a_call_made_after_the_resume_is_not_hit_by_a_gap(join: Join) -> None:
    joined = join()
    joined.cut()
    joined.daemon.resumed()
    joined.daemon.take(1 << 20)
    joined.to_daemon([say(STATE, 0)])
    joined.daemon.send_request("new")
    joined.daemon.take(1 << 20)
    assert joined.to_daemon([say(GAP, 5)]) == [EventsLost(5, sent=False)]
    joined.clock.now += 100
    assert joined.daemon.on_deadline(joined.clock.now) == []


@pytest.mark.parametrize("number", [0, 2])
def test_a_gap_below_what_is_expected_means_nothing(join: Join, number: int) -> None:
    joined = join()
    joined.to_daemon([covered(0), covered(1)])
    assert joined.to_daemon([say(GAP, number)]) == []
    assert len(joined.to_daemon([covered(2)])) == 1


def test_silence_after_a_gap_is_measured_from_the_last_message(join: Join) -> None:
    joined = join()
    call = joined.daemon.send_request("m")
    joined.daemon.take(1 << 20)
    joined.cut()
    joined.daemon.resumed()
    joined.daemon.take(1 << 20)
    joined.to_daemon([say(STATE, 1), say(GAP, 5)])
    start = joined.clock.now
    for n in range(4):
        joined.clock.now += 1.9
        assert joined.daemon.on_deadline(joined.clock.now) == []
        joined.to_daemon([covered(5 + n)])
    joined.clock.now += 1.9
    assert joined.daemon.on_deadline(joined.clock.now) == []
    joined.to_daemon([covered(9)])
    joined.clock.now = start + 10.0
    assert joined.daemon.on_deadline(joined.clock.now) == [CallsLost((call,))]


def test_a_state_below_what_was_acknowledged_gets_a_gap(join: Join) -> None:
    joined = join()
    for n in range(3):
        joined.client.send_notification("e", n)
    joined.client.take(1 << 20)
    joined.to_client([say(ACK, 2), say(STATE, 0)])
    frames = joined.client.take(1 << 20)
    assert resume_messages(frames) == [(GAP, 2)]
    assert numbers(frames) == [2]
