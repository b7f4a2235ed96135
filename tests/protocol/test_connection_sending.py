"""What may be sent, what leaves first, and what comes in pieces."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sideband._native import sbp_decode, sbp_encode_control, sbp_encode_message
from sideband.errors import PeerError, SbpError
from sideband.protocol.connection import SbpConnection
from sideband.protocol.events import (
    AppReceived,
    CancelReceived,
    HandshakeReceived,
    NotificationReceived,
    PeerClosed,
    ProtocolFailed,
    ResultReceived,
    StreamReceived,
)
from sideband.protocol.handshake import HandshakePayload
from sideband.protocol.limits import SbpLimits, SendBudget
from tests.support.sbp_by_hand import CID, ID, message, only_error, plain, written

Join = Callable[..., Any]
VECTORS = Path(__file__).parents[1] / "vectors"


# --- Sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("extra", "ok"), [(0, True), (1, False)])
@pytest.mark.parametrize("payload", [65_508, 1024 * 1024])
def test_without_frag_a_message_fits_one_payload_or_is_refused(payload: int, extra: int, ok: bool) -> None:
    connection = plain(max_frame_payload=payload)
    assert connection.max_message_size == payload
    overhead = 18 + 4 + 3 + len(b'{"t":"r","m":"m","cid":"","p":""}') + 32
    params = "x" * (payload - overhead + extra)
    if ok:
        connection.send_request("m", params)
        (frame,) = connection.take(1)
        assert len(frame) == payload
        return
    with pytest.raises(PeerError) as caught:
        connection.send_request("m", params)
    assert caught.value.code == "message_too_large"
    assert caught.value.details == {"size": payload + 1, "limit": payload}
    params += "x" * 70  # the other envelopes are smaller
    for send in (
        lambda: connection.send_result(CID, params),
        lambda: connection.send_error(CID, 1, params),
        lambda: connection.send_notification("e", params),
        lambda: connection.send_app("app/x", params.encode()),
    ):
        with pytest.raises(PeerError):
            send()
    assert not connection.wants_write
    assert connection.buffered_bytes == 0


def test_a_5_mib_result_arrives_with_frag(join: Join) -> None:
    joined = join()
    cid = joined.client.send_request("fetch")
    joined.settle()
    joined.daemon.send_result(cid, "y" * (5 << 20))
    (answer,) = joined.settle()[0]
    assert answer == ResultReceived(cid, "y" * (5 << 20))
    assert joined.budget.held == 0


@pytest.mark.parametrize(("extra", "ok"), [(0, True), (1, False)])
def test_with_frag_a_message_has_at_most_16_mib(join: Join, extra: int, ok: bool) -> None:
    joined = join()
    data = b"x" * (16 * 1024 * 1024 - 27 + extra)
    if ok:
        joined.client.send_app("app/x", data)
        assert joined.settle()[1] == [AppReceived("app/x", data)]
    else:
        with pytest.raises(PeerError) as caught:
            joined.client.send_app("app/x", data)
        assert caught.value.code == "message_too_large"
        assert not joined.client.wants_write


def test_the_smaller_maximum_of_the_two_counts(join: Join) -> None:
    joined = join(daemon={"limits": SbpLimits(max_frame=200_000)})
    assert joined.client.max_message_size == joined.daemon.max_message_size == 200_000
    joined.client.send_app("app/x", b"x" * (200_000 - 27))
    assert len(joined.settle()[1][0].data) == 200_000 - 27
    with pytest.raises(PeerError):
        joined.client.send_app("app/x", b"x" * (200_000 - 26))


@pytest.mark.parametrize("value", [0, -1, True, "1000", None, 1.5, 2**70])
def test_a_maximum_that_makes_no_sense_is_ignored(value: Any) -> None:
    connection = SbpConnection(
        local=HandshakePayload("us", ("frag/1",)), opener=True, max_frame_payload=65_508, resumable=True
    )
    body = {
        "protocol": "sideband",
        "version": "1",
        "peerId": "x",
        "caps": ["frag/1"],
        "metadata": {"sideband:max_frame": value},
    }
    connection.receive(sbp_encode_control(ID, 0, json.dumps(body).encode()))
    assert connection.max_message_size == 16 * 1024 * 1024


def test_the_send_buffer_is_bounded_and_nothing_is_queued_over_it() -> None:
    connection = plain(limits=SbpLimits(send_buffer_bytes=1000))
    frame = len(message("app/x", b"x" * 500))
    connection.send_app("app/x", b"x" * (1000 - frame - 27))
    connection.send_app("app/x", b"x" * 500)
    assert connection.buffered_bytes == 1000
    for send in (lambda: connection.send_app("app/x", b""), lambda: connection.send_request("m")):
        with pytest.raises(PeerError) as caught:
            send()
        assert caught.value.code == "buffer_overflow"
    assert connection.buffered_bytes == 1000
    connection.take(1 << 20)
    connection.send_app("app/x", b"")


def test_all_connections_of_a_process_share_a_bound_of_what_waits() -> None:
    budget = SendBudget(limit=1000)
    first, second = (plain(send_budget=budget) for _ in range(2))
    empty = len(message("app/x", b""))
    first.send_app("app/x", b"x" * (600 - empty))
    second.send_app("app/x", b"x" * (400 - empty))
    assert budget.held == first.buffered_bytes + second.buffered_bytes == 1000
    for connection in (first, second):
        with pytest.raises(PeerError) as caught:
            connection.send_app("app/x", b"")
        assert caught.value.code == "buffer_overflow"
        assert "all connections" in str(caught.value)
    assert budget.held == 1000
    first.take(1 << 20)
    assert budget.held == 400
    second.send_app("app/x", b"x" * (600 - empty))
    assert budget.held == 1000
    # A session that is lost takes what waits in it along.
    second.close()
    assert budget.held == 0


def test_a_dropped_connection_gives_back_what_waited_in_it() -> None:
    budget = SendBudget(limit=1000)
    connection = plain(send_budget=budget)
    connection.send_app("app/x", b"x" * 100)
    assert budget.held == connection.buffered_bytes > 100
    del connection
    gc.collect()
    assert budget.held == 0


def test_messages_in_pieces_and_their_repeats_are_counted_while_they_wait(join: Any) -> None:
    budget = SendBudget()
    joined = join(client={"send_budget": budget})
    joined.client.send_request("m", "x" * 500_000)
    joined.client.send_notification("e", "y" * 300_000)
    assert budget.held == joined.client.buffered_bytes > 800_000
    joined.client.take(200_000)
    assert budget.held == joined.client.buffered_bytes < 800_000
    joined.client.pause()
    joined.daemon.pause()
    assert budget.held == joined.client.buffered_bytes > 800_000
    joined.daemon.resumed()
    joined.client.resumed()
    joined.settle()
    assert budget.held == joined.client.buffered_bytes == 0


@pytest.mark.parametrize("value", [float("nan"), object(), b"bytes without bin/1"])
def test_a_value_that_cannot_be_sent_costs_nothing(value: Any) -> None:
    connection = plain()
    for send in (
        lambda: connection.send_request("m", value),
        lambda: connection.send_result(CID, value),
        lambda: connection.send_error(CID, 1, "x", value),
        lambda: connection.send_notification("e", value),
    ):
        with pytest.raises(SbpError) as caught:
            send()
        assert (caught.value.code, caught.value.fatal) == (1100, False)
    assert not connection.wants_write
    assert connection.buffered_bytes == 0


def test_a_refused_message_does_not_spend_a_number(join: Join) -> None:
    joined = join()
    for _ in range(3):
        with pytest.raises(SbpError):
            joined.client.send_notification("e", object())
        with pytest.raises(PeerError):
            joined.client.send_app("app/x", b"x" * (16 << 20))
        joined.client.send_notification("e", 1)
    assert [event.data for event in joined.settle()[1]] == [1, 1, 1]


def test_bytes_travel_where_both_list_bin(join: Join) -> None:
    joined = join()
    cid = joined.client.send_request("put", {"chunk": b"\x00\xff"})
    assert joined.settle()[1][0].params == {"chunk": b"\x00\xff"}
    joined.daemon.send_result(cid, "json answers bin")
    assert joined.settle()[0] == [ResultReceived(cid, "json answers bin")]
    joined.daemon.send_notification("e", [b"x"])
    assert joined.settle()[0][0].data == [b"x"]


# --- Order ----------------------------------------------------------------------------------------


def test_a_large_answer_yields_to_small_messages_and_a_large_event_does_not(join: Join) -> None:
    joined = join()
    cid = joined.client.send_request("fetch")
    joined.settle()
    joined.daemon.send_result(cid, "y" * 300_000)
    joined.daemon.send_notification("large", "z" * 300_000)
    joined.daemon.send_notification("small", 1)
    names = [type(event).__name__ if isinstance(event, ResultReceived) else event.name for event in joined.settle()[0]]
    assert names.index("large") < names.index("small")
    joined.client.send_request("upload", "u" * 3_000_000)
    joined.client.send_notification("quick", 1)
    first = joined.to_daemon(joined.client.take(1 << 18))
    assert [event.name for event in first] == ["quick"]


def test_a_large_answer_never_starves(join: Join) -> None:
    joined = join()
    cid = joined.client.send_request("fetch")
    joined.settle()
    joined.daemon.send_result(cid, "y" * 1_000_000)
    answered = False
    for _ in range(40):
        for _ in range(20):  # more than one write takes away
            joined.daemon.send_notification("tick", "t" * 4_000)
        joined.to_daemon(joined.client.take(1 << 16))
        events = joined.to_client(joined.daemon.take(1 << 16))
        answered = answered or any(isinstance(event, ResultReceived) for event in events)
    assert answered


def test_large_answers_share_the_line(join: Join) -> None:
    joined = join()
    cids = [joined.client.send_request("fetch", n) for n in range(6)]
    joined.settle()
    for cid in cids:
        joined.daemon.send_result(cid, "y" * 200_000)
    ids = []
    while frames := joined.daemon.take(1 << 17):
        for frame in frames:
            decoded = sbp_decode(frame)
            if decoded.subject == "app/sb.frag.v1":
                ids.append(int.from_bytes(decoded.data[:8], "little"))
        joined.to_client(frames)
        joined.to_daemon(joined.client.take(1 << 18))
    assert set(ids[:4]) == {0, 1, 2, 3}  # four take turns, the rest wait
    assert {event.cid for event in joined.client_events} == set(cids)


def test_a_large_event_crowds_out_unfinished_answers_where_both_do_not_fit(join: Join) -> None:
    limits = SbpLimits(max_frame=400_000, unfinished_bytes=400_000)
    joined = join(limits=limits)
    cid = joined.client.send_request("fetch")
    joined.settle()
    joined.daemon.send_result(cid, "y" * 300_000)
    begun = joined.daemon.take(70_000)
    assert sbp_decode(begun[0]).subject == "app/sb.frag.v1"
    joined.to_client(begun)
    joined.daemon.send_notification("large", "z" * 300_000)
    events = joined.settle()[0]
    assert [type(event) for event in events] == [NotificationReceived, ResultReceived]
    assert joined.budget.held == 0


def test_control_goes_ahead_of_everything(join: Join) -> None:
    joined = join(caps=())
    for _ in range(5):
        joined.client.send_notification("e", "x" * 1000)
    joined.client.receive(sbp_encode_control(ID, 1))
    first = sbp_decode(joined.client.take(10_000)[0])
    assert (first.kind, first.op) == (0, 2)


def test_take_stays_within_its_room_unless_one_frame_is_more(join: Join) -> None:
    joined = join(caps=())
    for _ in range(10):
        joined.client.send_app("app/x", b"x" * 1000)
    size = len(message("app/x", b"x" * 1000))
    assert len(joined.client.take(3 * size)) == 3
    assert len(joined.client.take(3 * size - 1)) == 2
    assert len(joined.client.take(1)) == 1
    assert joined.client.buffered_bytes == 4 * size


# --- Giving up ------------------------------------------------------------------------------------


def test_cancel_tells_the_other_side_and_drops_a_late_answer(join: Join) -> None:
    joined = join()
    cid = joined.client.send_request("slow")
    joined.settle()
    joined.client.send_cancel(cid)
    joined.client.send_cancel(cid)
    assert joined.settle()[1] == [CancelReceived(cid)]
    joined.daemon.send_result(cid, "late")
    assert joined.settle()[0] == []
    joined.client.send_cancel(b"?" * 16)
    assert not joined.client.wants_write


def test_cancel_is_a_plain_event_on_the_wire() -> None:
    connection = plain()
    cid = connection.send_request("m")
    connection.take(1 << 20)
    connection.send_cancel(cid)
    (frame,) = written(connection)
    assert frame.subject == "event"
    assert json.loads(frame.data) == {"t": "N", "e": "$sideband/cancel", "d": {"cid": cid.hex()}}


@pytest.mark.parametrize("data", [None, [], {"cid": "zz"}, {"cid": 5}, "x"])
def test_a_cancel_without_a_cid_is_dropped(data: Any) -> None:
    connection = plain()
    assert connection.receive(message("event", {"t": "N", "e": "$sideband/cancel", "d": data})) == []


@pytest.mark.parametrize("begun", [False, True])
def test_a_large_request_is_taken_back_while_it_has_not_left(join: Join, begun: bool) -> None:
    joined = join()
    cid = joined.client.send_request("upload", "u" * 500_000)
    if begun:
        joined.to_daemon(joined.client.take(70_000))
        assert joined.budget.held > 0
    joined.client.send_cancel(cid)
    assert joined.settle() == ([], [])
    assert joined.client.buffered_bytes == 0
    assert joined.budget.held == 0
    joined.client.send_notification("e", 1)
    assert joined.settle()[1][0].name == "e"


def test_close_is_the_last_thing_and_drops_what_waits(join: Join) -> None:
    joined = join()
    joined.client.send_request("m", "x" * 100_000)
    joined.client.close("shutdown")
    joined.client.close("again")
    assert joined.client.closed
    assert joined.client.buffered_bytes == 0
    assert joined.settle()[1] == [PeerClosed("shutdown")]
    assert joined.daemon.closed
    for send in (
        lambda: joined.daemon.send_request("m"),
        lambda: joined.client.send_result(CID),
        lambda: joined.client.send_notification("e"),
        lambda: joined.client.send_app("app/x", b""),
    ):
        with pytest.raises(PeerError) as caught:
            send()
        assert caught.value.code == "peer_closed"
    assert joined.client.receive(message("app/x", b"")) == []


def test_a_close_reason_is_any_bytes() -> None:
    connection = plain()
    assert connection.receive(sbp_encode_control(ID, 3, b"\xff\xfe")) == [PeerClosed("\ufffd\ufffd")]
    assert plain().receive(sbp_encode_control(ID, 3)) == [PeerClosed("")]


def test_nothing_can_be_sent_before_the_handshake() -> None:
    connection = SbpConnection(local=HandshakePayload("us"), opener=True, max_frame_payload=65_508)
    connection.start()
    for send in (
        lambda: connection.send_request("m"),
        lambda: connection.send_result(CID),
        lambda: connection.send_error(CID, 1, ""),
        lambda: connection.send_notification("e"),
        lambda: connection.send_app("app/x", b""),
        lambda: connection.send_stream_control(b"\x00"),
    ):
        with pytest.raises(PeerError) as caught:
            send()
        assert caught.value.code == "not_connected"


# --- Pieces ---------------------------------------------------------------------------------------


def piece(inner: bytes, frag_id: int = 0) -> list[bytes]:
    half = 16 * 1024
    count = -(-len(inner) // half)
    return [
        message(
            "app/sb.frag.v1",
            frag_id.to_bytes(8, "little")
            + n.to_bytes(4, "little")
            + count.to_bytes(4, "little")
            + inner[n * half :][:half],
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        (sbp_encode_message(ID, "app/sb.frag.v1", b"x" * 20_000), 1000),
        (sbp_encode_message(ID, "app/sb.resume.v1", b"x" * 20_000), 1000),
        (sbp_encode_control(ID, 3, b"x" * 20_000), 1000),
        (b"\xff" * 20_000, 1002),
    ],
)
def test_only_messages_come_in_pieces(join: Join, inner: bytes, code: int) -> None:
    joined = join(caps=("frag/1",))
    events = joined.to_daemon(piece(inner))
    assert [type(event) for event in events] == [ProtocolFailed]
    assert events[0].code == code
    assert joined.daemon.closed
    assert joined.budget.held == 0


def test_a_piece_out_of_order_is_1000_and_the_end(join: Join) -> None:
    joined = join(caps=("frag/1",))
    first, second = piece(message("app/x", b"x" * 20_000))
    (event,) = joined.to_daemon([first, first])
    assert (type(event), event.code) == (ProtocolFailed, 1000)
    assert only_error(joined.daemon)[0] == 1000
    assert joined.to_daemon([second]) == []


def test_pieces_that_never_end_are_let_go_with_the_connection(join: Join) -> None:
    joined = join(caps=("frag/1",))
    joined.to_daemon(piece(message("app/x", b"x" * 20_000))[:1])
    assert joined.budget.held == 16 * 1024
    joined.daemon.close()
    assert joined.budget.held == 0


def test_without_room_in_the_process_a_connection_without_resume_ends_with_2001(join: Join) -> None:
    joined = join(caps=("frag/1",))
    joined.budget.limit = 20_000
    events = joined.to_daemon(piece(message("app/x", b"x" * 40_000)))
    assert [(type(event), event.code) for event in events] == [(ProtocolFailed, 2001)]
    assert joined.budget.held == 0


def test_without_room_in_the_process_resume_asks_again(join: Join) -> None:
    joined = join()
    joined.budget.limit = 20_000
    joined.client.send_app("app/x", b"x" * 400_000)
    joined.settle()
    assert joined.daemon_events == []
    joined.budget.limit = 1 << 20
    for _ in range(3):
        joined.clock.now += 1.0
        joined.daemon.on_deadline(joined.clock.now)
        joined.settle()
    assert joined.daemon_events == [AppReceived("app/x", b"x" * 400_000)]
    assert joined.budget.held == 0


# --- Streams' door --------------------------------------------------------------------------------


def test_stream_messages_are_passed_on_where_both_list_them(join: Join) -> None:
    joined = join(caps=("resume/1", "stream/1"))
    joined.client.send_stream_control(b"\x00" + bytes(12))
    joined.client.send_notification("e", 1)
    control, event = joined.settle()[1]
    assert control == StreamReceived(b"\x00" + bytes(12))
    assert event.name == "e"
    # Data is not covered: its number is not looked at.
    assert joined.daemon.receive(message("app/sb.stream.v1", b"\x02" + bytes(13))) == [
        StreamReceived(b"\x02" + bytes(13))
    ]


def test_an_unusual_peer_id_and_metadata_survive() -> None:
    connection = SbpConnection(local=HandshakePayload("us"), opener=True, max_frame_payload=65_508)
    (event,) = connection.receive(
        sbp_encode_control(ID, 0, b'{"protocol":"sideband","version":"1","peerId":"","caps":5,"metadata":"x","zz":1}')
    )
    assert event == HandshakeReceived(HandshakePayload(""))
    assert connection.capabilities == frozenset()
