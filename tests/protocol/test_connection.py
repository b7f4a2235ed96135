"""Every outcome of docs/protocol/sbp.md that needs no pause: what is answered, dropped, or ends the connection."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sideband._native import sbp_decode, sbp_encode_ack, sbp_encode_control, sbp_encode_error, sbp_encode_message
from sideband.errors import PeerError, SbpError
from sideband.protocol.connection import MISSING, SbpConnection
from sideband.protocol.events import (
    AppReceived,
    ErrorReceived,
    PeerClosed,
    ProtocolFailed,
    RequestReceived,
    ResultReceived,
    SbpErrorReceived,
)
from sideband.protocol.handshake import HandshakePayload, decode_handshake
from sideband.protocol.limits import SbpLimits
from tests.support.sbp_by_hand import CID, HELLO, ID, message, only_error, plain, written

Join = Callable[..., Any]
VECTORS = Path(__file__).parents[1] / "vectors"


# --- Handshake ------------------------------------------------------------------------------------


def test_the_handshake_goes_first_and_lists_what_can_be_used() -> None:
    connection = SbpConnection(
        local=HandshakePayload("us", ("resume/1", "frag/1", "bin/1", "vendor-thing"), {"a:b": 1}),
        opener=False,
        max_frame_payload=65_508,
        resumable=True,
    )
    assert not connection.wants_write
    connection.start()
    assert connection.wants_write
    (frame,) = written(connection)
    assert (frame.kind, frame.op) == (0, 0)
    payload = decode_handshake(frame.data)
    assert payload.peer_id == "us"
    assert payload.caps == ("resume/1", "frag/1", "bin/1", "vendor-thing")
    assert payload.metadata == {"a:b": 1, "sideband:max_frame": 16 * 1024 * 1024}
    assert not connection.wants_write


def test_resume_is_listed_only_where_a_session_can_pause_and_frag_only_where_pieces_fit() -> None:
    connection = SbpConnection(
        local=HandshakePayload("us", ("resume/1", "frag/1", "bin/1")),
        opener=True,
        max_frame_payload=16 * 1024,
        resumable=False,
    )
    connection.start()
    (frame,) = written(connection)
    assert decode_handshake(frame.data) == HandshakePayload("us", ("bin/1",))


def test_capabilities_are_what_both_list(join: Join) -> None:
    joined = join(client={"caps": ("resume/1", "bin/1", "mine")}, daemon={"caps": ("bin/1", "frag/1", "mine")})
    assert joined.client.capabilities == joined.daemon.capabilities == {"bin/1"}
    assert plain().capabilities == frozenset()


def test_a_remote_handshake_is_kept(join: Join) -> None:
    joined = join(client={"local": HandshakePayload("me", ("bin/1",), {"sideband:identity": "token"})})
    assert joined.daemon.remote.metadata["sideband:identity"] == "token"
    assert joined.client.remote.peer_id == "daemon"


@pytest.mark.parametrize(
    "frame",
    [
        sbp_encode_control(ID, 1),
        sbp_encode_control(ID, 2),
        sbp_encode_message(ID, "rpc", b"{}"),
        sbp_encode_message(ID, "app/x", b""),
        sbp_encode_ack(ID, ID),
    ],
)
def test_anything_before_the_handshake_is_1000_and_the_end(frame: bytes) -> None:
    connection = SbpConnection(local=HandshakePayload("us"), opener=True, max_frame_payload=65_508)
    connection.start()
    connection.take(1 << 20)
    (event,) = connection.receive(frame)
    assert isinstance(event, ProtocolFailed)
    assert event.code == 1000
    assert only_error(connection)[0] == 1000
    assert connection.closed
    assert connection.receive(HELLO) == []


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b'{"protocol":"sideband","version":"2","peerId":"x"}', 1001),
        (b'{"protocol":"other","version":"1","peerId":"x"}', 1001),
        (b'{"protocol":"sideband","version":"1"}', 1002),
        (b"not json", 1002),
        (b'{"protocol":"sideband","version":"1","peerId":"%s"}' % (b"x" * 256), 1002),
    ],
)
def test_a_handshake_that_does_not_fit_gets_its_code_and_the_end(payload: bytes, code: int) -> None:
    connection = SbpConnection(local=HandshakePayload("us"), opener=True, max_frame_payload=65_508)
    connection.start()
    (event,) = connection.receive(sbp_encode_control(ID, 0, payload))
    assert isinstance(event, ProtocolFailed)
    assert event.code == code
    ours, error = written(connection)
    assert (ours.kind, ours.op) == (0, 0)  # the other side still learns who we are
    assert (error.kind, error.code) == (3, code)


def test_a_handshake_over_8_kib_is_the_end() -> None:
    connection = SbpConnection(local=HandshakePayload("us"), opener=True, max_frame_payload=65_508)
    (event,) = connection.receive(sbp_encode_control(ID, 0, HELLO[19:] + b" " * 8192))
    assert isinstance(event, ProtocolFailed)


def test_a_second_handshake_is_1000() -> None:
    connection = plain()
    (event,) = connection.receive(HELLO)
    assert isinstance(event, ProtocolFailed)
    assert event.code == 1000


def test_close_and_error_count_before_the_handshake_too() -> None:
    connection = SbpConnection(local=HandshakePayload("us"), opener=True, max_frame_payload=65_508)
    assert connection.receive(sbp_encode_error(ID, 1001, "no")) == [SbpErrorReceived(1001, "no", True)]
    assert connection.receive(sbp_encode_control(ID, 3, b"full")) == [PeerClosed("full")]


# --- Requests, answers, events --------------------------------------------------------------------


def test_a_request_and_its_answers(join: Join) -> None:
    joined = join()
    cid = joined.client.send_request("add", {"a": 1})
    (frame,) = joined.client.take(1 << 20)
    assert sbp_decode(frame).frame_id == cid
    (request,) = joined.to_daemon([frame])
    assert request == RequestReceived(cid, "add", {"a": 1}, len(frame))
    joined.daemon.send_result(cid, [1, None])
    assert joined.settle()[0] == [ResultReceived(cid, [1, None])]
    other = joined.client.send_request("fail")
    joined.settle()
    joined.daemon.send_error(other, 1101, "Unknown method: fail", {"x": 1})
    assert joined.settle()[0] == [ErrorReceived(other, 1101, "Unknown method: fail", {"x": 1})]


def test_both_sides_call(join: Join) -> None:
    joined = join()
    ours, theirs = joined.client.send_request("a"), joined.daemon.send_request("b")
    client, daemon = joined.settle()
    assert [event.method for event in client + daemon] == ["b", "a"]
    joined.client.send_result(theirs)
    joined.daemon.send_result(ours)
    assert joined.settle() == ([ResultReceived(ours, None)], [ResultReceived(theirs, None)])


def test_null_and_absent_are_kept_apart_on_the_wire() -> None:
    connection = plain()
    connection.send_request("m", None)
    connection.send_request("m", MISSING)
    connection.send_request("m")
    connection.send_result(CID, None)
    connection.send_result(CID)
    connection.send_notification("e", None)
    connection.send_notification("e")
    bodies = [json.loads(frame.data) for frame in written(connection)]
    assert [set(body) - {"t", "m", "cid", "e"} for body in bodies] == [
        {"p"}, set(), set(), {"result"}, set(), {"d"}, set()
    ]  # fmt: skip


def test_ten_thousand_calls_at_once(join: Join) -> None:
    joined = join()
    cids = [joined.client.send_request("m", number) for number in range(10_000)]
    assert len(set(cids)) == 10_000
    _, requests = joined.settle()
    assert [event.params for event in requests] == list(range(10_000))
    for event in reversed(requests):
        joined.daemon.send_result(event.cid, -event.params)
    answers, _ = joined.settle()
    assert {event.cid: event.value for event in answers} == {cid: -number for number, cid in enumerate(cids)}
    assert joined.client.buffered_bytes == joined.daemon.buffered_bytes == 0


def test_an_answer_without_a_request_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    connection = plain()
    with caplog.at_level(logging.WARNING, "sideband.protocol"):
        assert connection.receive(message("rpc", {"t": "R", "cid": CID.hex(), "result": 1})) == []
        assert connection.receive(message("rpc", {"t": "E", "cid": CID.hex(), "code": 1, "message": ""})) == []
    assert not connection.wants_write
    assert not connection.closed
    assert len(caplog.records) == 1  # the second is the same cause


def test_an_answer_counts_once() -> None:
    connection = plain()
    cid = connection.send_request("m")
    answer = message("rpc", {"t": "R", "cid": cid.hex()})
    assert connection.receive(answer) == [ResultReceived(cid, None)]
    assert connection.receive(answer) == []


def test_events(join: Join) -> None:
    joined = join()
    joined.client.send_notification("user.joined", {"id": 1})
    (event,) = joined.settle()[1]
    assert (event.name, event.data) == ("user.joined", {"id": 1})
    joined.client.send_notification("empty")
    assert joined.settle()[1][0].data is None


@pytest.mark.parametrize("name", ["", "a b", "a.*", ">", "$sideband/cancel", "$sideband/x", "x" * 256])
def test_an_event_name_that_is_not_one_is_refused_before_anything_is_sent(name: str) -> None:
    connection = plain()
    with pytest.raises(PeerError) as caught:
        connection.send_notification(name)
    assert caught.value.code == "invalid_pattern"
    assert not connection.wants_write


def test_app_messages_are_not_parsed(join: Join) -> None:
    joined = join()
    for subject, data in [("app/x", b"{"), ("app/", b""), ("app/sbx", b"\x00\xff"), ("app/grüße", b"1")]:
        joined.client.send_app(subject, data)
        assert joined.settle()[1] == [AppReceived(subject, data)]


@pytest.mark.parametrize(
    "subject", ["rpc", "event", "stream", "app", "", "App/x", "app/sb.", "app/sb.frag.v1", "app/a\0b", "app/\ud800"]
)
def test_subjects_that_are_not_for_applications(subject: str) -> None:
    connection = plain()
    with pytest.raises(SbpError) as caught:
        connection.send_app(subject, b"")
    assert caught.value.code == 1000
    assert not caught.value.fatal
    assert not connection.wants_write


@pytest.mark.parametrize(("size", "ok"), [(256, True), (257, False)])
def test_subject_length(size: int, ok: bool, join: Join) -> None:
    joined = join()
    subject = "app/" + "x" * (size - 4)
    if ok:
        joined.client.send_app(subject, b"d")
        assert joined.settle()[1] == [AppReceived(subject, b"d")]
    else:
        with pytest.raises(SbpError):
            joined.client.send_app(subject, b"d")


APP_SUBJECTS = [
    case
    for case in json.loads((VECTORS / "sbp-frames.json").read_text("utf-8"))["subjects"]
    if isinstance(case["subject"], str) and case["subject"].startswith("app/")
]


@pytest.mark.parametrize("case", APP_SUBJECTS, ids=lambda case: repr(case["subject"][:20]))
def test_subject_vectors_for_app_messages(case: dict[str, Any]) -> None:
    connection = plain()
    if case["expect"]["ok"]:
        connection.send_app(case["subject"], b"")
        assert written(connection)[0].subject == case["subject"]
    else:
        with pytest.raises(SbpError) as caught:
            connection.send_app(case["subject"], b"")
        assert caught.value.code == case["expect"]["code"]


# --- Broken envelopes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"t": "N", "e": 5, "cid": CID.hex()},
        {"t": "X", "cid": CID.hex()},
        {"t": "r", "cid": CID.hex()},
        {"t": "r", "m": 5, "cid": CID.hex()},
        {"cid": CID.hex()},
    ],
)
@pytest.mark.parametrize("subject", ["rpc", "event"])
def test_a_broken_envelope_with_a_readable_cid_is_answered_1100(subject: str, body: dict[str, Any]) -> None:
    connection = plain()
    assert connection.receive(message(subject, body)) == []
    (frame,) = written(connection)
    answer = json.loads(frame.data)
    assert (frame.kind, frame.subject, answer["t"], answer["cid"], answer["code"]) == (1, "rpc", "E", CID.hex(), 1100)
    assert not connection.closed


def test_a_notification_on_rpc_is_answered_1100() -> None:
    connection = plain()
    assert connection.receive(message("rpc", {"t": "N", "e": "x", "cid": CID.hex()})) == []
    assert json.loads(written(connection)[0].data)["code"] == 1100


@pytest.mark.parametrize("kind", ["r", "R", "E"])
def test_an_rpc_envelope_on_event_is_answered_1100(kind: str) -> None:
    connection = plain()
    body = {"t": kind, "m": "x", "cid": CID.hex(), "code": 1, "message": ""}
    assert connection.receive(message("event", body)) == []
    assert json.loads(written(connection)[0].data)["code"] == 1100


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b'{"t":"r","m":"x"}',
        b'{"t":"N","e":"x"}',
        b'{"t":"r","m":"x","cid":"zz"}',
        b"\xc1\x01\x80",
    ],
)
def test_a_broken_envelope_on_rpc_without_a_cid_gets_1002_and_the_session_goes_on(data: bytes) -> None:
    connection = plain()
    assert connection.receive(message("rpc", data)) == []
    assert only_error(connection)[0] == 1002
    assert not connection.closed
    cid = connection.send_request("still.alive")
    assert connection.receive(message("rpc", {"t": "R", "cid": cid.hex()})) == [ResultReceived(cid, None)]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"t":"N"}', b'{"t":"N","e":5}', b'{"t":"N","e":"bad name"}', b'{"t":"r","m":"x"}']
)
def test_a_broken_event_is_dropped(data: bytes) -> None:
    connection = plain()
    assert connection.receive(message("event", data)) == []
    assert not connection.wants_write
    assert not connection.closed


def test_a_broken_answer_fails_its_call_and_is_answered() -> None:
    connection = plain()
    cid = connection.send_request("m")
    connection.take(1 << 20)
    (event,) = connection.receive(message("rpc", {"t": "E", "cid": cid.hex(), "code": "x", "message": "m"}))
    assert isinstance(event, ErrorReceived)
    assert (event.cid, event.code) == (cid, 1100)
    assert json.loads(written(connection)[0].data)["code"] == 1100


def test_two_sides_never_answer_each_others_1100(join: Join) -> None:
    joined = join(caps=())
    joined.to_daemon([message("rpc", {"t": "E", "cid": CID.hex(), "code": "broken", "message": 1})])
    joined.settle()
    assert not joined.client.wants_write
    assert not joined.daemon.wants_write


# --- Frames that are answered and frames that end it ----------------------------------------------


@pytest.mark.parametrize(
    "subject", ["stream", "app/sb.frag.v1", "app/sb.resume.v1", "app/sb.stream.v1", "app/sb.other"]
)
def test_what_is_not_agreed_gets_1003_and_the_session_goes_on(subject: str) -> None:
    connection = plain()
    assert connection.receive(message(subject, b"\x00" * 20)) == []
    assert only_error(connection)[0] == 1003
    assert not connection.closed


def test_the_subject_stream_is_1003_even_with_every_capability(join: Join) -> None:
    joined = join(caps=("resume/1", "frag/1", "bin/1", "stream/1"))
    assert joined.daemon.receive(message("stream", b"x")) == []
    assert only_error(joined.daemon)[0] == 1003


def test_a_ping_is_answered_and_acks_are_not() -> None:
    connection = plain()
    assert connection.receive(sbp_encode_control(ID, 1)) == []
    (pong,) = written(connection)
    assert (pong.kind, pong.op) == (0, 2)
    assert connection.receive(sbp_encode_control(ID, 2)) == []
    assert connection.receive(sbp_encode_ack(ID, ID)) == []
    assert not connection.wants_write


def test_answers_to_a_flood_are_bounded() -> None:
    connection = plain(limits=SbpLimits(pending_replies=5))
    for _ in range(100):
        connection.receive(sbp_encode_control(ID, 1))
        connection.receive(message("stream", b""))
    assert len(connection.take(1 << 20)) == 5
    connection.receive(sbp_encode_control(ID, 1))
    assert len(connection.take(1 << 20)) == 1


def test_error_frames_are_reported_and_never_answered() -> None:
    connection = plain()
    assert connection.receive(sbp_encode_error(ID, 1002, "bad")) == [SbpErrorReceived(1002, "bad", False)]
    assert connection.receive(sbp_encode_error(ID, 1000, "worse", b"details")) == [
        SbpErrorReceived(1000, "worse", True)
    ]
    assert not connection.wants_write


VECTOR_REFUSALS = [
    case
    for case in json.loads((VECTORS / "sbp-frames.json").read_text("utf-8"))["decode"]
    if not case["expect"]["ok"] and "bytes" in case
]


@pytest.mark.parametrize("case", VECTOR_REFUSALS, ids=lambda case: case["name"])
def test_a_malformed_frame_gets_its_code_and_the_end(case: dict[str, Any]) -> None:
    connection = plain()
    connection.send_request("never.leaves")
    (event,) = connection.receive(bytes.fromhex(case["bytes"]))
    assert isinstance(event, ProtocolFailed)
    assert event.code == case["expect"]["code"]
    assert only_error(connection)[0] == case["expect"]["code"]
    assert connection.closed
    assert not connection.wants_write
    with pytest.raises(PeerError) as caught:
        connection.send_request("m")
    assert caught.value.code == "peer_closed"


@pytest.mark.parametrize(("size", "ok"), [(1024 * 1024, True), (1024 * 1024 + 1, False)])
def test_a_frame_is_at_most_1_mib(size: int, ok: bool) -> None:
    connection = plain(max_frame_payload=1024 * 1024)
    frame = message("app/x", b"x" * (size - 27))
    assert len(frame) == size
    (event,) = connection.receive(frame)
    assert isinstance(event, AppReceived if ok else ProtocolFailed)
    if not ok:
        assert event.code == 1000
