from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sideband._native import (
    decode_frame,
    decode_signal,
    encode_control,
    encode_frame,
    encode_handshake_init,
    encode_ping,
    encode_pong,
    encode_signal,
)
from sideband.errors import ConfigError, SbrpError, SbrpErrorCode
from sideband.secure_relay.client_endpoint import ClientEndpoint
from sideband.secure_relay.client_events import DataReceived
from sideband.secure_relay.daemon_endpoint import DaemonEndpoint
from sideband.secure_relay.daemon_events import (
    ConnectionFailed,
    RateLimited,
    SessionData,
    SessionEnded,
    SessionOpened,
    SessionPaused,
    SessionRefused,
    SessionResumed,
)
from sideband.secure_relay.limits import DaemonLimits, TokenBucket

READY, CLOSE = 0, 1
STATE_LOST, SHUTDOWN, POLICY, ERROR = 1, 2, 3, 4


def control(code: SbrpErrorCode, session_id: int = 0, text: str = "") -> bytes:
    assert code.wire is not None
    return encode_control(session_id, code.wire, text)


def signals(daemon: DaemonEndpoint) -> list[tuple[int, int, int]]:
    """Session, signal and reason of every Signal frame the daemon wants sent; nothing else may be among them."""
    found = []
    for frame in daemon.take_frames():
        kind, session_id, payload = decode_frame(frame)
        assert kind == 0x04
        found.append((session_id, *decode_signal(payload)))
    return found


def init_frame(session_id: int, clock: Callable[[], float]) -> bytes:
    return ClientEndpoint("d_edge", session_id, clock=clock).start()


def forged(frame: bytes) -> bytes:
    return frame[:-1] + bytes([frame[-1] ^ 1])


class TestHandshake:
    def test_opens_a_session(self, wire: Any, clock: Any) -> None:
        assert wire.daemon.receive(init_frame(5, clock)) == [SessionOpened(5)]
        (frame,) = wire.daemon.take_frames()
        assert decode_frame(frame)[:2] == (0x02, 5)
        assert wire.daemon.session_ids == (5,)
        assert wire.daemon.half_open == 1

    def test_a_second_init_is_ignored_and_counted_and_the_session_goes_on(self, wire: Any, clock: Any) -> None:
        client = wire.client(5)
        assert wire.daemon.receive(init_frame(5, clock)) == []
        assert wire.daemon.take_frames() == []
        assert wire.daemon.counters.repeated_inits == 1
        assert wire.daemon.receive_many(client.seal([b"on"])) == [SessionData(5, [b"on"])]

    @pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31)])
    def test_a_low_order_key_is_refused_and_the_others_go_on(self, wire: Any, key: bytes) -> None:
        other = wire.client(1)
        (refused,) = wire.daemon.receive(encode_handshake_init(5, key))
        assert isinstance(refused, SessionRefused)
        assert refused.code is SbrpErrorCode.HANDSHAKE_FAILED
        assert signals(wire.daemon) == [(5, CLOSE, ERROR)]
        assert wire.daemon.session_ids == (1,)
        assert wire.daemon.receive_many(other.seal([b"on"])) == [SessionData(1, [b"on"])]

    def test_the_256th_session_opens_and_the_257th_does_not(self, make_wire: Any, clock: Any) -> None:
        wire = make_wire(handshakes_per_second=1000)
        for session_id in range(1, 257):
            wire.confirmed_client(session_id)
        (refused,) = wire.daemon.receive(init_frame(257, clock))
        assert refused.code is SbrpErrorCode.RATE_LIMITED
        assert "256 sessions" in refused.message
        assert signals(wire.daemon) == [(257, CLOSE, POLICY)]
        wire.daemon.receive(control(SbrpErrorCode.SESSION_ENDED, 9))
        assert wire.daemon.receive(init_frame(257, clock)) == [SessionOpened(257)]

    def test_the_64th_half_open_session_opens_and_the_65th_does_not(self, make_wire: Any, clock: Any) -> None:
        wire = make_wire(handshakes_per_second=1000)
        for session_id in range(1, 65):
            wire.client(session_id)
        assert isinstance(wire.daemon.receive(init_frame(65, clock))[0], SessionRefused)
        wire.daemon.confirm(3)
        assert wire.daemon.receive(init_frame(65, clock)) == [SessionOpened(65)]

    def test_the_50th_handshake_of_a_second_opens_and_the_51st_does_not(self, wire: Any, clock: Any) -> None:
        for session_id in range(1, 51):
            wire.confirmed_client(session_id)
        assert isinstance(wire.daemon.receive(init_frame(51, clock))[0], SessionRefused)
        clock.advance(0.03)
        assert wire.daemon.receive(init_frame(51, clock)) == [SessionOpened(51)]
        assert isinstance(wire.daemon.receive(init_frame(52, clock))[0], SessionRefused)
        assert wire.daemon.counters.refused_handshakes == 2

    def test_the_inner_handshake_has_5_min(self, wire: Any, clock: Any) -> None:
        wire.client(1)
        clock.advance(1)
        wire.client(2)
        wire.confirmed_client(3)
        assert wire.daemon.deadline == clock.now + 299
        clock.advance(298.999)
        assert wire.daemon.on_timer() == []
        clock.advance(0.001)
        (ended,) = wire.daemon.on_timer()
        assert (ended.session_id, ended.code) == (1, SbrpErrorCode.HANDSHAKE_TIMEOUT)
        assert signals(wire.daemon) == [(1, CLOSE, POLICY)]
        wire.daemon.confirm(2)
        assert wire.daemon.deadline is None
        clock.advance(1e6)
        assert wire.daemon.on_timer() == []
        assert wire.daemon.session_ids == (2, 3)


class TestData:
    def test_sessions_are_kept_apart_in_one_batch(self, wire: Any) -> None:
        one, two = wire.client(1), wire.client(2)
        a, b = one.seal([b"1a", b"1b"])
        c, d = two.seal([b"2a", b"2b"])
        events = wire.daemon.receive_many([a, c, b, d])
        assert events == [SessionData(1, [b"1a", b"1b"]), SessionData(2, [b"2a", b"2b"])]

    def test_data_keeps_its_place_around_other_frames(self, wire: Any) -> None:
        one = wire.client(1)
        a, b = one.seal([b"a", b"b"])
        events = wire.daemon.receive_many([a, control(SbrpErrorCode.SESSION_ENDED, 1), b])
        assert events == [SessionData(1, [b"a"]), SessionEnded(1, SbrpErrorCode.SESSION_ENDED, "")]
        assert wire.daemon.counters.stray_frames == 1

    def test_replays_are_dropped_and_counted(self, wire: Any) -> None:
        client = wire.client(1)
        a, b, c = client.seal([b"a", b"b", b"c"])
        assert wire.daemon.receive_many([a, a, c, b, c]) == [SessionData(1, [b"a", b"c", b"b"])]
        assert wire.daemon.counters.sequence_errors == 2
        assert wire.daemon.receive(a) == []

    def test_late_inside_the_window_arrives_and_outside_is_dropped(self, wire: Any) -> None:
        frames = wire.client(1).seal([bytes([i]) for i in range(129)])
        wire.daemon.receive(frames[128])
        assert wire.daemon.receive(frames[1]) == [SessionData(1, [bytes([1])])]
        assert wire.daemon.receive(frames[0]) == []
        assert wire.daemon.counters.sequence_errors == 1

    def test_a_dropped_frame_is_no_error(self, wire: Any) -> None:
        a, _, c = wire.client(1).seal([b"a", b"b", b"c"])
        assert wire.daemon.receive_many([a, c]) == [SessionData(1, [b"a", b"c"])]

    def test_a_forged_message_ends_that_session_only(self, wire: Any) -> None:
        one, two = wire.client(1), wire.client(2)
        good, bad = one.seal([b"good", b"bad"])
        other = two.seal([b"other"])
        events = wire.daemon.receive_many([good, forged(bad), *other])
        assert events[0] == SessionData(1, [b"good"])
        assert isinstance(events[1], SessionEnded)
        assert (events[1].session_id, events[1].code) == (1, SbrpErrorCode.DECRYPT_FAILED)
        assert events[2] == SessionData(2, [b"other"])
        assert signals(wire.daemon) == [(1, CLOSE, ERROR)]
        assert wire.daemon.session_ids == (2,)
        assert wire.daemon.counters.decrypt_failures == 1

    def test_a_reflected_message_ends_that_session_only(self, wire: Any) -> None:
        wire.client(1)
        two = wire.client(2)
        (ended,) = wire.daemon.receive_many(wire.daemon.seal(1, [b"mine"]))
        assert (ended.session_id, ended.code) == (1, SbrpErrorCode.DECRYPT_FAILED)
        assert wire.daemon.receive_many(two.seal([b"on"])) == [SessionData(2, [b"on"])]

    def test_a_message_under_28_bytes_ends_that_session(self, wire: Any) -> None:
        wire.client(1)
        (ended,) = wire.daemon.receive(encode_frame(0x03, 1, bytes(27)))
        assert (ended.session_id, ended.code) == (1, SbrpErrorCode.DECRYPT_FAILED)

    def test_another_sessions_message_under_this_sid_ends_it(self, wire: Any) -> None:
        wire.client(1)
        (frame,) = wire.client(2).seal([b"x"])
        (ended,) = wire.daemon.receive(frame[:5] + (1).to_bytes(8, "big") + frame[13:])
        assert (ended.session_id, ended.code) == (1, SbrpErrorCode.DECRYPT_FAILED)

    def test_sealing_for_a_session_that_is_gone(self, wire: Any) -> None:
        with pytest.raises(SbrpError) as caught:
            wire.daemon.seal(9, [b"x"])
        assert caught.value.code is SbrpErrorCode.SESSION_CLEARED

    def test_exhaustion_ends_the_session(self, wire: Any) -> None:
        wire.client(1)
        wire.daemon._sessions[1].session._advance_send_sequence(2**64 - 2)
        wire.daemon.seal(1, [b"last"])
        with pytest.raises(SbrpError) as caught:
            wire.daemon.seal(1, [b"more"])
        assert caught.value.code is SbrpErrorCode.SEQUENCE_ERROR
        assert signals(wire.daemon) == [(1, CLOSE, ERROR)]
        assert wire.daemon.session_ids == ()

    def test_a_stray_is_answered_but_not_endlessly(self, make_wire: Any, clock: Any) -> None:
        wire = make_wire(handshakes_per_second=2)
        stray = encode_frame(0x03, 9, bytes(28))
        assert wire.daemon.receive_many([stray] * 5) == []
        assert signals(wire.daemon) == [(9, CLOSE, STATE_LOST)] * 2
        clock.advance(0.5)
        wire.daemon.receive_many([stray] * 5)
        assert signals(wire.daemon) == [(9, CLOSE, STATE_LOST)]
        assert wire.daemon.counters.stray_frames == 10


class TestEnd:
    def test_ends_with_policy_or_shutdown(self, wire: Any) -> None:
        wire.client(1)
        wire.client(2)
        wire.daemon.end(1)
        wire.daemon.end(2, shutdown=True)
        wire.daemon.end(2)
        assert signals(wire.daemon) == [(1, CLOSE, POLICY), (2, CLOSE, SHUTDOWN)]

    def test_close_ends_all(self, wire: Any) -> None:
        for session_id in (1, 2, 3):
            wire.client(session_id)
        wire.daemon.close()
        assert signals(wire.daemon) == [(sid, CLOSE, SHUTDOWN) for sid in (1, 2, 3)]
        assert wire.daemon.session_ids == ()

    def test_while_disconnected_nothing_is_queued_and_the_relay_is_told_on_return(self, wire: Any) -> None:
        wire.confirmed_client(1)
        wire.daemon.on_disconnected()
        wire.daemon.end(1)
        assert wire.daemon.take_frames() == []
        wire.daemon.on_reconnected()
        assert wire.daemon.receive(control(SbrpErrorCode.SESSION_PENDING, 1)) == []
        assert signals(wire.daemon) == [(1, CLOSE, STATE_LOST)]


class TestResume:
    def test_keeps_keys_counters_and_window_over_a_cut(self, wire: Any) -> None:
        client = wire.confirmed_client(1)
        before = client.seal([b"before"])
        wire.daemon.receive_many(before)
        client.receive_many(wire.daemon.seal(1, [b"down"]))
        assert wire.daemon.on_disconnected() == [SessionPaused(1)]
        assert wire.daemon.on_disconnected() == []
        with pytest.raises(SbrpError) as caught:
            wire.daemon.seal(1, [b"meanwhile"])
        assert caught.value.code is SbrpErrorCode.SESSION_PAUSED
        assert wire.daemon.on_reconnected() == []
        assert signals(wire.daemon) == [(1, READY, 0)]
        assert wire.daemon.receive(control(SbrpErrorCode.SESSION_PENDING, 1)) == [SessionResumed(1)]
        assert wire.daemon.receive(control(SbrpErrorCode.SESSION_PENDING, 1)) == []
        assert wire.daemon.receive_many(before) == [], "the window remembers"
        assert wire.daemon.receive_many(client.seal([b"after"])) == [SessionData(1, [b"after"])]
        assert client.receive_many(wire.daemon.seal(1, [b"up"])) == [DataReceived([b"up"])]
        assert signals(wire.daemon) == []

    def test_fifty_sessions_are_all_readied(self, wire: Any) -> None:
        for session_id in range(1, 51):
            wire.confirmed_client(session_id)
        wire.daemon.on_disconnected()
        wire.daemon.on_reconnected()
        assert signals(wire.daemon) == [(session_id, READY, 0) for session_id in range(1, 51)]

    def test_data_of_the_client_confirms_too(self, wire: Any) -> None:
        client = wire.confirmed_client(1)
        wire.daemon.on_disconnected()
        wire.daemon.on_reconnected()
        assert wire.daemon.receive_many(client.seal([b"hi"])) == [SessionResumed(1), SessionData(1, [b"hi"])]
        assert wire.daemon.deadline is None

    def test_a_pending_session_that_is_not_held_is_closed(self, wire: Any) -> None:
        assert wire.daemon.receive(control(SbrpErrorCode.SESSION_PENDING, 77)) == []
        assert signals(wire.daemon) == [(77, CLOSE, STATE_LOST)]

    def test_what_is_not_confirmed_within_120_s_is_dropped(self, wire: Any, clock: Any) -> None:
        wire.confirmed_client(1)
        wire.confirmed_client(2)
        wire.daemon.on_disconnected()
        clock.advance(3600)
        assert wire.daemon.on_timer() == []
        wire.daemon.on_reconnected()
        wire.daemon.take_frames()
        wire.daemon.receive(control(SbrpErrorCode.SESSION_PENDING, 2))
        assert wire.daemon.deadline == clock.now + 120
        clock.advance(119.999)
        assert wire.daemon.on_timer() == []
        clock.advance(0.001)
        (ended,) = wire.daemon.on_timer()
        assert (ended.session_id, ended.code) == (1, SbrpErrorCode.SESSION_EXPIRED)
        assert signals(wire.daemon) == [(1, CLOSE, STATE_LOST)]
        assert wire.daemon.session_ids == (2,)

    def test_a_session_the_relay_no_longer_knows_is_dropped_at_once(self, wire: Any) -> None:
        wire.confirmed_client(1)
        wire.daemon.on_disconnected()
        wire.daemon.on_reconnected()
        wire.daemon.take_frames()
        events = wire.daemon.receive(control(SbrpErrorCode.SESSION_ENDED, 1))
        assert events == [SessionEnded(1, SbrpErrorCode.SESSION_ENDED, "")]
        assert signals(wire.daemon) == []
        assert wire.daemon.deadline is None

    def test_a_session_cut_in_its_handshake_is_given_up_on_return(self, wire: Any) -> None:
        wire.client(1)
        wire.confirmed_client(2)
        wire.daemon.on_disconnected()
        (ended,) = wire.daemon.on_reconnected()
        assert (ended.session_id, ended.code) == (1, SbrpErrorCode.SESSION_EXPIRED)
        assert signals(wire.daemon) == [(1, CLOSE, STATE_LOST), (2, READY, 0)]

    def test_a_damaged_session_is_given_up_on_return(self, wire: Any) -> None:
        wire.confirmed_client(1)
        wire.confirmed_client(2)
        wire.daemon.on_disconnected()
        wire.daemon._sessions[1].session.clear()
        (ended,) = wire.daemon.on_reconnected()
        assert (ended.session_id, ended.code) == (1, SbrpErrorCode.INTERNAL_ERROR)
        assert signals(wire.daemon) == [(1, CLOSE, STATE_LOST), (2, READY, 0)]

    def test_a_return_without_a_noticed_loss_pauses_first(self, wire: Any) -> None:
        wire.confirmed_client(1)
        assert wire.daemon.on_reconnected() == [SessionPaused(1)]
        assert signals(wire.daemon) == [(1, READY, 0)]

    def test_frames_of_the_old_connection_are_forgotten(self, wire: Any, clock: Any) -> None:
        wire.daemon.receive(encode_ping(b"old"))
        wire.daemon.on_disconnected()
        wire.daemon.on_reconnected()
        assert wire.daemon.take_frames() == []

    def test_several_cuts_in_a_row(self, wire: Any) -> None:
        client = wire.confirmed_client(1)
        for turn in range(3):
            wire.daemon.on_disconnected()
            wire.daemon.on_reconnected()
            if turn == 1:
                continue
            wire.daemon.receive(control(SbrpErrorCode.SESSION_PENDING, 1))
            message = b"%d" % turn
            assert wire.daemon.receive_many(client.seal([message])) == [SessionData(1, [message])]


class TestRelay:
    def test_pings_are_answered(self, wire: Any) -> None:
        assert wire.daemon.receive_many([encode_ping(b"abc"), encode_pong(b"")]) == []
        assert wire.daemon.take_frames() == [encode_pong(b"abc")]

    def test_rate_limited_is_told(self, wire: Any) -> None:
        assert wire.daemon.receive(control(SbrpErrorCode.RATE_LIMITED)) == [RateLimited()]

    @pytest.mark.parametrize(
        "code", [code for code in SbrpErrorCode if code.wire is not None and code.terminal], ids=str
    )
    def test_a_terminal_code_fails_the_connection_and_no_session(self, wire: Any, code: SbrpErrorCode) -> None:
        wire.confirmed_client(1)
        (failed,) = wire.daemon.receive(control(code, 1, "why"))
        assert isinstance(failed, ConnectionFailed)
        assert failed.error.code is code
        assert wire.daemon.session_ids == (1,)

    @pytest.mark.parametrize("code", [SbrpErrorCode.SESSION_PAUSED, SbrpErrorCode.SESSION_RESUMED])
    def test_codes_meant_for_clients_mean_nothing(self, wire: Any, code: SbrpErrorCode) -> None:
        wire.confirmed_client(1)
        assert wire.daemon.receive(control(code, 1)) == []

    def test_session_ended_of_an_unknown_session_means_nothing(self, wire: Any) -> None:
        assert wire.daemon.receive(control(SbrpErrorCode.SESSION_ENDED, 99)) == []

    @pytest.mark.parametrize(
        "message",
        [
            b"",
            b"\x03",
            b"\x7f" + bytes(12),
            encode_control(0, 0x9999),
            encode_signal(1, READY),
            encode_frame(0x02, 1, bytes(128)),
            b"\x03\x00\x00\x00\x05" + (1).to_bytes(8, "big") + b"x",
        ],
    )
    def test_ten_malformed_frames_in_a_row_fail_the_connection_and_no_session(self, wire: Any, message: bytes) -> None:
        client = wire.confirmed_client(1)
        assert wire.daemon.receive_many([message] * 9) == []
        assert wire.daemon.receive_many(client.seal([b"good"])) == [SessionData(1, [b"good"])]
        assert wire.daemon.receive_many([message] * 9) == []
        (failed,) = wire.daemon.receive_many([message])
        assert isinstance(failed, ConnectionFailed)
        assert wire.daemon.counters.malformed_frames == 19
        assert wire.daemon.session_ids == (1,)

    def test_a_malformed_frame_among_good_ones_costs_none_of_them(self, wire: Any) -> None:
        a, b = wire.confirmed_client(1).seal([b"a", b"b"])
        bad = b"\x03\x00\x00\x00\x05" + (1).to_bytes(8, "big") + b"x"
        assert wire.daemon.receive_many([a, bad, b]) == [SessionData(1, [b"a"]), SessionData(1, [b"b"])]
        assert wire.daemon.counters.malformed_frames == 1


class TestLimits:
    @pytest.mark.parametrize("name", ["sessions", "half_open", "handshakes_per_second", "replay_window"])
    @pytest.mark.parametrize("value", [0, -1])
    def test_are_positive(self, name: str, value: int) -> None:
        with pytest.raises(ConfigError, match=name):
            DaemonLimits(**{name: value})

    def test_a_bucket_refills_but_never_over_its_burst(self) -> None:
        bucket = TokenBucket(2, now=0)
        assert [bucket.take(0) for _ in range(3)] == [True, True, False]
        assert [bucket.take(0.5) for _ in range(2)] == [True, False]
        assert [bucket.take(1000) for _ in range(3)] == [True, True, False]
        assert not bucket.take(900), "a clock that goes back gives nothing"

    def test_a_slow_bucket_still_lets_one_through(self) -> None:
        bucket = TokenBucket(0.1, now=0)
        assert bucket.take(0)
        assert not bucket.take(9.9)
        assert bucket.take(20)
