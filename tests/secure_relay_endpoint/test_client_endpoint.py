from __future__ import annotations

from typing import Any

import pytest

from sideband._native import (
    EphemeralKeyPair,
    IdentityKeyPair,
    compute_fingerprint,
    encode_control,
    encode_frame,
    encode_handshake_accept,
    encode_ping,
    encode_pong,
    encode_signal,
    process_handshake_init,
)
from sideband.errors import ConfigError, SbrpError, SbrpErrorCode
from sideband.secure_relay.client_endpoint import MAX_HELD_FRAMES, ClientEndpoint, ClientState
from sideband.secure_relay.client_events import (
    AcceptVerified,
    DataReceived,
    Ended,
    Established,
    Failed,
    Paused,
    Pending,
    RateLimited,
    Resumed,
)

ID = "d_edge"
SID = 7


def started(clock: Any) -> tuple[ClientEndpoint, bytes]:
    client = ClientEndpoint(ID, SID, clock=clock)
    return client, client.start()


def accept_frame(init: bytes, identity: IdentityKeyPair | None = None, daemon_id: str = ID) -> bytes:
    accept, _ = process_handshake_init(init[13:], daemon_id, identity or IdentityKeyPair.generate())
    return encode_handshake_accept(SID, accept)


def control(code: SbrpErrorCode, session_id: int = SID, text: str = "") -> bytes:
    assert code.wire is not None
    return encode_control(session_id, code.wire, text)


def failure(events: list[Any]) -> SbrpErrorCode:
    (event,) = events
    assert isinstance(event, Failed)
    return event.error.code


class TestHandshake:
    def test_verifies_reports_and_only_then_derives(self, clock: Any) -> None:
        identity = IdentityKeyPair.generate()
        client, init = started(clock)
        assert client.state is ClientState.HANDSHAKE
        clock.advance(0.25)
        (verified,) = client.receive(accept_frame(init, identity))
        assert verified == AcceptVerified(identity.public_key, compute_fingerprint(identity.public_key))
        assert client.state is ClientState.DECIDING
        with pytest.raises(SbrpError) as caught:
            client.seal([b"too early"])
        assert caught.value.code is SbrpErrorCode.SESSION_CLEARED
        clock.advance(60)
        (established,) = client.establish()
        assert isinstance(established, Established)
        assert established.identity_key == identity.public_key
        assert established.handshake_seconds == pytest.approx(0.25)
        assert client.state is ClientState.ACTIVE

    def test_times_out_at_30_s_and_not_before(self, clock: Any) -> None:
        client, init = started(clock)
        assert client.deadline == clock.now + 30
        clock.advance(29.999)
        assert client.on_timer() == []
        clock.advance(0.001)
        assert failure(client.on_timer()) is SbrpErrorCode.HANDSHAKE_TIMEOUT
        assert client.ended
        assert client.deadline is None
        assert client.receive(accept_frame(init)) == []

    def test_an_accept_that_comes_late_is_too_late_whether_or_not_the_timer_ran(self, clock: Any) -> None:
        client, init = started(clock)
        accept = accept_frame(init)
        clock.advance(30)
        assert failure(client.receive(accept)) is SbrpErrorCode.HANDSHAKE_TIMEOUT

    def test_the_owners_thinking_does_not_count(self, clock: Any) -> None:
        client, init = started(clock)
        client.receive(accept_frame(init))
        clock.advance(3600)
        assert client.deadline is None
        assert client.on_timer() == []
        assert isinstance(client.establish()[0], Established)

    @pytest.mark.parametrize("position", [0, 31, 32, 63, 64, 127])
    def test_a_changed_accept_fails(self, clock: Any, position: int) -> None:
        client, init = started(clock)
        accept = bytearray(accept_frame(init))
        accept[13 + position] ^= 0x01
        assert failure(client.receive(bytes(accept))) is SbrpErrorCode.HANDSHAKE_FAILED
        assert client.ended

    def test_an_accept_for_another_daemon_or_another_client_fails(self, clock: Any) -> None:
        client, init = started(clock)
        assert failure(client.receive(accept_frame(init, daemon_id="d_other"))) is SbrpErrorCode.HANDSHAKE_FAILED
        client, _ = started(clock)
        _, other_init = started(clock)
        assert failure(client.receive(accept_frame(other_init))) is SbrpErrorCode.HANDSHAKE_FAILED

    @pytest.mark.parametrize("length", [0, 32, 127, 129])
    def test_an_accept_of_a_wrong_length_fails(self, clock: Any, length: int) -> None:
        client, _ = started(clock)
        code = failure(client.receive(encode_frame(0x02, SID, bytes(length))))
        assert code in (SbrpErrorCode.MALFORMED_FRAME, SbrpErrorCode.HANDSHAKE_FAILED)

    def test_a_daemon_with_a_low_order_ephemeral_key_fails_at_establish(self, clock: Any) -> None:
        from sideband._native import sign

        identity = IdentityKeyPair.generate()
        client, init = started(clock)
        low_order = bytes(32)
        import hashlib

        digest = hashlib.sha256(b"sbrp-v1-handshake" + ID.encode() + init[13:] + low_order).digest()
        accept = identity.public_key + low_order + sign(identity, digest)
        assert isinstance(client.receive(encode_handshake_accept(SID, accept))[0], AcceptVerified)
        assert failure(client.establish()) is SbrpErrorCode.HANDSHAKE_FAILED
        assert client.ended

    def test_a_second_accept_is_ignored_and_counted(self, clock: Any) -> None:
        client, init = started(clock)
        accept = accept_frame(init)
        client.receive(accept)
        assert client.receive(accept) == []
        client.establish()
        assert client.receive(accept_frame(init)) == []
        assert client.dropped_frames == 2
        assert client.state is ClientState.ACTIVE

    def test_starts_once(self, clock: Any) -> None:
        client, _ = started(clock)
        with pytest.raises(SbrpError, match="one handshake"):
            client.start()

    def test_establish_needs_a_verified_accept(self, clock: Any) -> None:
        client, _ = started(clock)
        with pytest.raises(SbrpError, match="no accept"):
            client.establish()
        assert not client.ended

    def test_refusing_the_key_ends_it_for_good(self, clock: Any) -> None:
        client, init = started(clock)
        client.receive(accept_frame(init))
        client.close()
        client.close()
        assert client.establish() == []
        assert client.ended

    def test_takes_a_given_ephemeral_key(self, clock: Any) -> None:
        ephemeral = EphemeralKeyPair.generate()
        client = ClientEndpoint(ID, SID, clock=clock, ephemeral_key_pair=ephemeral)
        assert client.start()[13:] == ephemeral.public_key
        client.close()

    @pytest.mark.parametrize("session_id", [0, -1, 1 << 64])
    def test_refuses_a_session_id_that_cannot_be(self, clock: Any, session_id: int) -> None:
        with pytest.raises(SbrpError) as caught:
            ClientEndpoint(ID, session_id, clock=clock)
        assert caught.value.code is SbrpErrorCode.INVALID_SESSION_ID

    def test_refuses_a_daemon_id_that_cannot_be(self, clock: Any) -> None:
        with pytest.raises(ConfigError):
            ClientEndpoint("", SID, clock=clock)


class TestHeldData:
    def test_what_comes_while_the_owner_decides_is_opened_after(self, wire: Any, clock: Any) -> None:
        client = ClientEndpoint("d_edge", SID, clock=clock)
        wire.daemon.receive(client.start())
        client.receive_many(wire.daemon.take_frames())
        assert client.receive_many(wire.daemon.seal(SID, [b"one", b"two"])) == []
        established, data = client.establish()
        assert isinstance(established, Established)
        assert data == DataReceived([b"one", b"two"])

    def test_only_so_much_is_held(self, wire: Any, clock: Any) -> None:
        client = ClientEndpoint("d_edge", SID, clock=clock)
        wire.daemon.receive(client.start())
        client.receive_many(wire.daemon.take_frames())
        frames = wire.daemon.seal(SID, [b""] * (MAX_HELD_FRAMES + 1))
        assert client.receive_many(frames[:MAX_HELD_FRAMES]) == []
        assert failure(client.receive(frames[MAX_HELD_FRAMES])) is SbrpErrorCode.HANDSHAKE_FAILED

    def test_data_before_the_accept_fails(self, wire: Any, clock: Any) -> None:
        wire.client(SID)
        late, _ = started(clock)
        assert failure(late.receive_many(wire.daemon.seal(SID, [b"x"]))) is SbrpErrorCode.HANDSHAKE_FAILED


class TestData:
    def test_both_ways_in_batches(self, wire: Any) -> None:
        client = wire.client(SID)
        messages = [b"", b"a", b"b" * 65_508]
        assert [e.plaintexts for e in wire.daemon.receive_many(client.seal(messages))] == [messages]
        assert client.receive_many(wire.daemon.seal(SID, messages)) == [DataReceived(messages)]

    def test_too_large_spends_nothing(self, wire: Any) -> None:
        client = wire.client(SID)
        with pytest.raises(SbrpError) as caught:
            client.seal([b"fine", b"x" * 65_509])
        assert caught.value.code is SbrpErrorCode.PAYLOAD_TOO_LARGE
        (frame,) = client.seal([b"next"])
        assert frame[17:25] == bytes(8), "its sequence number is the first"

    def test_replays_are_dropped_and_counted_and_the_rest_still_arrives(self, wire: Any) -> None:
        client = wire.client(SID)
        one, two, three = wire.daemon.seal(SID, [b"1", b"2", b"3"])
        assert client.receive_many([one, one, two, one, three]) == [DataReceived([b"1", b"2", b"3"])]
        assert client.dropped_frames == 2
        assert client.receive(two) == []
        assert client.dropped_frames == 3
        assert client.state is ClientState.ACTIVE

    def test_late_inside_the_window_arrives_and_outside_does_not(self, wire: Any) -> None:
        client = wire.client(SID)
        frames = wire.daemon.seal(SID, [bytes([i]) for i in range(129)])
        assert client.receive(frames[128]) == [DataReceived([bytes([128])])]
        assert client.receive(frames[1]) == [DataReceived([bytes([1])])]
        assert client.receive(frames[0]) == []
        assert client.dropped_frames == 1

    def test_a_forged_message_ends_the_session_after_what_was_good(self, wire: Any) -> None:
        client = wire.client(SID)
        good, bad, never = wire.daemon.seal(SID, [b"good", b"bad", b"never"])
        bad = bad[:-1] + bytes([bad[-1] ^ 1])
        data, failed = client.receive_many([good, bad, never])
        assert data == DataReceived([b"good"])
        assert isinstance(failed, Failed)
        assert failed.error.code is SbrpErrorCode.DECRYPT_FAILED
        assert failed.error.session_id == SID
        assert client.receive(never) == []
        with pytest.raises(SbrpError) as caught:
            client.seal([b"after"])
        assert caught.value.code is SbrpErrorCode.SESSION_CLEARED

    def test_a_reflected_message_ends_the_session(self, wire: Any) -> None:
        client = wire.client(SID)
        assert failure(client.receive_many(client.seal([b"mine"]))) is SbrpErrorCode.DECRYPT_FAILED

    def test_exhaustion_ends_the_session(self, wire: Any) -> None:
        client = wire.client(SID)
        client._session._advance_send_sequence(2**64 - 2)
        client.seal([b"last"])
        with pytest.raises(SbrpError) as caught:
            client.seal([b"one more"])
        assert caught.value.code is SbrpErrorCode.SEQUENCE_ERROR
        assert client.ended


class TestPause:
    def test_keeps_keys_and_counters(self, wire: Any) -> None:
        client = wire.client(SID)
        before = client.seal([b"before"])
        assert client.receive(control(SbrpErrorCode.SESSION_PAUSED)) == [Paused()]
        assert client.receive(control(SbrpErrorCode.SESSION_PAUSED)) == []
        with pytest.raises(SbrpError) as caught:
            client.seal([b"meanwhile"])
        assert caught.value.code is SbrpErrorCode.SESSION_PAUSED
        assert client.receive(control(SbrpErrorCode.SESSION_PENDING)) == [Pending()]
        assert client.state is ClientState.PAUSED
        assert client.receive(control(SbrpErrorCode.SESSION_RESUMED)) == [Resumed()]
        after = client.seal([b"after"])
        assert after[0][17:25] == (1).to_bytes(8, "big"), "the pause spent no sequence number"
        assert [e.plaintexts for e in wire.daemon.receive_many(before + after)] == [[b"before", b"after"]]

    def test_during_the_handshake_is_remembered(self, clock: Any) -> None:
        client, init = started(clock)
        accept = accept_frame(init)
        client.receive(accept)
        assert client.receive(control(SbrpErrorCode.SESSION_PAUSED)) == [Paused()]
        client.establish()
        assert client.state is ClientState.PAUSED

    def test_data_that_was_on_its_way_still_arrives(self, wire: Any) -> None:
        client = wire.client(SID)
        frames = wire.daemon.seal(SID, [b"late"])
        client.receive(control(SbrpErrorCode.SESSION_PAUSED))
        assert client.receive_many(frames) == [DataReceived([b"late"])]


class TestRelay:
    @pytest.mark.parametrize(
        "code", [code for code in SbrpErrorCode if code.wire is not None and code.terminal], ids=str
    )
    @pytest.mark.parametrize("session_id", [0, SID])
    def test_a_terminal_code_ends_the_session(self, wire: Any, code: SbrpErrorCode, session_id: int) -> None:
        client = wire.client(SID)
        assert client.receive(control(code, session_id, "why")) == [Ended(code, "why")]
        assert client.ended
        assert client.receive(control(code, session_id)) == []

    def test_session_ended_ends_it_too(self, wire: Any) -> None:
        assert wire.client(SID).receive(control(SbrpErrorCode.SESSION_ENDED)) == [
            Ended(SbrpErrorCode.SESSION_ENDED, "")
        ]

    def test_a_code_during_the_handshake_ends_it(self, clock: Any) -> None:
        client, _ = started(clock)
        assert client.receive(control(SbrpErrorCode.DAEMON_OFFLINE)) == [Ended(SbrpErrorCode.DAEMON_OFFLINE, "")]
        assert client.deadline is None

    def test_rate_limited_goes_on(self, wire: Any) -> None:
        client = wire.client(SID)
        assert client.receive(control(SbrpErrorCode.RATE_LIMITED, 0)) == [RateLimited()]
        assert client.state is ClientState.ACTIVE

    def test_an_unknown_code_ends_the_session(self, wire: Any) -> None:
        assert failure(wire.client(SID).receive(encode_control(0, 0x9999))) is SbrpErrorCode.MALFORMED_FRAME

    def test_a_code_of_another_session_ends_it(self, wire: Any) -> None:
        events = wire.client(SID).receive(control(SbrpErrorCode.SESSION_PAUSED, SID + 1))
        assert failure(events) is SbrpErrorCode.INVALID_SESSION_ID

    def test_a_terminal_code_counts_whatever_session_it_names(self, wire: Any) -> None:
        client = wire.client(SID)
        assert client.receive(control(SbrpErrorCode.SESSION_NOT_FOUND, SID + 1)) == [
            Ended(SbrpErrorCode.SESSION_NOT_FOUND, "")
        ]

    def test_pings_are_answered_with_their_payload(self, wire: Any) -> None:
        client = wire.client(SID)
        assert client.receive(encode_ping(b"12345678")) == []
        assert client.receive(encode_pong(b"x")) == []
        assert client.take_frames() == [encode_pong(b"12345678")]
        assert client.take_frames() == []

    def test_data_of_another_session_ends_it(self, wire: Any) -> None:
        client = wire.client(SID)
        wire.client(SID + 1)
        events = client.receive_many(wire.daemon.seal(SID + 1, [b"not yours"]))
        assert failure(events) is SbrpErrorCode.INVALID_SESSION_ID

    @pytest.mark.parametrize("frame", [encode_frame(0x01, SID, bytes(32)), encode_signal(SID, 0)])
    def test_what_no_daemon_sends_ends_it(self, wire: Any, frame: bytes) -> None:
        assert failure(wire.client(SID).receive(frame)) is SbrpErrorCode.DISALLOWED_SENDER

    @pytest.mark.parametrize(
        ("message", "code"),
        [
            (b"", SbrpErrorCode.MALFORMED_FRAME),
            (b"\x03", SbrpErrorCode.MALFORMED_FRAME),
            (b"\x7f" + bytes(12), SbrpErrorCode.INVALID_FRAME_TYPE),
            (b"\x03\xff\xff\xff\xff" + SID.to_bytes(8, "big") + b"x", SbrpErrorCode.PAYLOAD_TOO_LARGE),
            (b"\x03\x00\x00\x00\x05" + SID.to_bytes(8, "big") + b"x", SbrpErrorCode.MALFORMED_FRAME),
        ],
    )
    def test_a_malformed_frame_ends_it(self, wire: Any, message: bytes, code: SbrpErrorCode) -> None:
        assert failure(wire.client(SID).receive(message)) is code

    def test_nothing_happens_after_the_end_in_the_same_batch(self, wire: Any) -> None:
        client = wire.client(SID)
        frames = wire.daemon.seal(SID, [b"x"])
        events = client.receive_many([control(SbrpErrorCode.SESSION_EXPIRED), *frames, b""])
        assert events == [Ended(SbrpErrorCode.SESSION_EXPIRED, "")]
