"""Every frame case of sbp-frames.json, and our behaviour where it differs on purpose.

Handshake payloads, which are JSON, are tested with the protocol layer.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sideband import _native
from sideband.errors import SbpError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "sbp-frames.json").read_text())
FRAME_ID = bytes(range(16))
# The reference reads and writes timestamps as doubles; ours are exact.
INEXACT = {
    "timestamp-9007199254740993": 9007199254740993,
    "timestamp-9223372036854775807": 9223372036854775807,
}
# The reference repairs these subjects; ours refuses them.
REPAIRED = {
    "message-subject-invalid-utf8-after-app",
    "message-subject-bom-rpc",
    "message-subject-84-invalid-bytes",
}


def maybe_hex(value: str | None) -> bytes | None:
    return None if value is None else bytes.fromhex(value)


def encoded(case: dict) -> bytes:
    frame_id = bytes.fromhex(case["frameId"])
    timestamp = None if case["timestamp"] is None else int(case["timestamp"])
    match case["kind"]:
        case 0:
            return _native.sbp_encode_control(frame_id, case["op"], maybe_hex(case["data"]), timestamp)
        case 1:
            return _native.sbp_encode_message(frame_id, case["subject"], bytes.fromhex(case["data"]), timestamp)
        case 2:
            return _native.sbp_encode_ack(frame_id, bytes.fromhex(case["ackFrameId"]), timestamp)
        case _:
            details = maybe_hex(case["details"])
            rest = () if details is None else (details,)
            return _native.sbp_encode_error(
                frame_id,
                case["code"],
                case["message"],
                *rest,
                **({} if timestamp is None else {"timestamp": timestamp}),
            )


def assert_frame(frame: _native.SbpFrame, expected: dict) -> None:
    assert frame.kind == expected["kind"]
    assert frame.frame_id.hex() == expected["frameId"]
    assert frame.timestamp == (None if expected["timestamp"] is None else int(expected["timestamp"]))
    assert frame.op == expected.get("op")
    assert frame.subject == expected.get("subject")
    assert frame.data == maybe_hex(expected.get("data"))
    assert frame.ack_id == maybe_hex(expected.get("ackFrameId"))
    assert frame.code == expected.get("code")
    assert frame.message == expected.get("message")
    assert frame.details == maybe_hex(expected.get("details"))


@pytest.mark.parametrize("case", VECTORS["encode"], ids=lambda case: case["name"])
def test_encode_and_decode(case: dict) -> None:
    frame = encoded(case)
    assert frame.hex() == case["frame"]
    assert_frame(_native.sbp_decode(frame), case["decoded"])
    assert case["reencodesIdentically"] is True


ENCODE_CALLS: dict[str, Callable[[], bytes]] = {
    "handshake-empty": lambda: _native.sbp_encode_control(FRAME_ID, 0, b""),
    "ping-with-data": lambda: _native.sbp_encode_control(FRAME_ID, 1, b"x"),
    "ping-with-empty-data": lambda: _native.sbp_encode_control(FRAME_ID, 1, b""),
    "pong-with-data": lambda: _native.sbp_encode_control(FRAME_ID, 2, b"x"),
    "control-op-4": lambda: _native.sbp_encode_control(FRAME_ID, 4),
    "invalid-subject-branded": lambda: _native.sbp_encode_message(FRAME_ID, "rpc/x", b""),
    "frame-id-0": lambda: _native.sbp_encode_control(b"", 1),
    "frame-id-15": lambda: _native.sbp_encode_control(bytes(15), 1),
    "frame-id-17": lambda: _native.sbp_encode_control(bytes(17), 1),
    "frame-id-32": lambda: _native.sbp_encode_control(bytes(32), 1),
}
# No function takes a kind; timestamps are whole numbers that fit 64 bits, see the tests below.
NOT_CALLS = {"kind-4", "timestamp-fraction", "timestamp-2^63"}


def test_every_encode_error_has_its_call() -> None:
    assert set(ENCODE_CALLS) | NOT_CALLS == {case["name"] for case in VECTORS["encodeErrors"]}


@pytest.mark.parametrize(
    "case", [case for case in VECTORS["encodeErrors"] if case["name"] not in NOT_CALLS], ids=lambda case: case["name"]
)
def test_encoder_refusal(case: dict) -> None:
    call = ENCODE_CALLS[case["name"]]
    if case["expect"]["ok"]:
        assert call().hex() == case["expect"]["bytes"]
        return
    with pytest.raises(SbpError) as caught:
        call()
    assert caught.value.code == case["expect"]["code"]


@pytest.mark.parametrize("timestamp", [2**63, -(2**63) - 1])
def test_timestamps_that_do_not_fit_are_refused(timestamp: int) -> None:
    for call in (
        lambda: _native.sbp_encode_control(FRAME_ID, 1, None, timestamp),
        lambda: _native.sbp_encode_message(FRAME_ID, "rpc", b"", timestamp),
        lambda: _native.sbp_encode_ack(FRAME_ID, FRAME_ID, timestamp),
        lambda: _native.sbp_encode_error(FRAME_ID, 1, "", b"", timestamp),
    ):
        with pytest.raises(SbpError) as caught:
            call()
        assert caught.value.code == 1002


def test_timestamps_are_whole_numbers() -> None:
    fraction: Any = 1.5
    with pytest.raises(TypeError):
        _native.sbp_encode_control(FRAME_ID, 1, None, fraction)


@pytest.mark.parametrize("timestamp", [2**63 - 1, -(2**63), 2**53 + 1])
def test_timestamps_are_exact(timestamp: int) -> None:
    frame = _native.sbp_encode_control(FRAME_ID, 1, None, timestamp)
    assert _native.sbp_decode(frame).timestamp == timestamp


@pytest.mark.parametrize("case", VECTORS["decode"], ids=lambda case: case["name"])
def test_decode(case: dict) -> None:
    data, expect = bytes.fromhex(case["bytes"]), case["expect"]
    if case["name"] in REPAIRED:
        assert expect["ok"]
        expect = {"ok": False, "code": 1000}
    if expect["ok"]:
        expect = expect | {"timestamp": INEXACT.get(case["name"], expect["timestamp"])}
        assert_frame(_native.sbp_decode(data), expect)
        return
    with pytest.raises(SbpError) as caught:
        _native.sbp_decode(data)
    assert caught.value.code == expect["code"]


@pytest.mark.parametrize("case", VECTORS["subjects"], ids=lambda case: case.get("label", repr(case["subject"])))
def test_subject(case: dict) -> None:
    if case["utf8Length"] is None:
        with pytest.raises(TypeError):
            _native.sbp_check_subject(case["subject"])
        return
    assert len(case["subject"].encode()) == case["utf8Length"]
    if case["expect"]["ok"]:
        _native.sbp_check_subject(case["subject"])
        return
    with pytest.raises(SbpError) as caught:
        _native.sbp_check_subject(case["subject"])
    assert caught.value.code == case["expect"]["code"]


@pytest.mark.parametrize("case", VECTORS["frameIdFromHex"], ids=lambda case: repr(case["hex"]))
def test_frame_id_from_hex(case: dict) -> None:
    if case["expect"]["ok"]:
        assert _native.sbp_frame_id_from_hex(case["hex"]).hex() == case["expect"]["bytes"]
        return
    with pytest.raises(SbpError) as caught:
        _native.sbp_frame_id_from_hex(case["hex"])
    assert caught.value.code == 1002


def test_frame_id_from_hex_takes_no_multibyte_text_of_the_right_length() -> None:
    with pytest.raises(SbpError):
        _native.sbp_frame_id_from_hex("é" * 16)


@pytest.mark.parametrize(
    ("frame", "limits", "edge"),
    [
        (_native.sbp_encode_message(FRAME_ID, "event", bytes(100)), "max_frame", 18 + 4 + 5 + 100),
        (_native.sbp_encode_control(FRAME_ID, 0, bytes(200)), "max_handshake", 200),
        (_native.sbp_encode_message(FRAME_ID, "app/" + "x" * 296, b""), "max_subject", 300),
    ],
    ids=["frame", "handshake", "subject"],
)
def test_limits_at_their_edge(frame: bytes, limits: str, edge: int) -> None:
    wide = {"max_subject": 300} | {limits: edge}
    assert _native.sbp_decode(frame, **wide).frame_id == FRAME_ID
    with pytest.raises(SbpError) as caught:
        _native.sbp_decode(frame, **wide | {limits: edge - 1})
    assert caught.value.code == 1000
    assert str(edge - 1) in str(caught.value)


def test_default_limits_at_their_edge() -> None:
    overhead = 18 + 4 + 5
    for size, make in (
        (_native.SBP_MAX_FRAME_SIZE - overhead, lambda n: _native.sbp_encode_message(FRAME_ID, "event", bytes(n))),
        (_native.SBP_MAX_HANDSHAKE_SIZE, lambda n: _native.sbp_encode_control(FRAME_ID, 0, bytes(n))),
        (_native.SBP_MAX_SUBJECT_SIZE - 4, lambda n: _native.sbp_encode_message(FRAME_ID, "app/" + "x" * n, b"")),
    ):
        _native.sbp_decode(make(size))
        with pytest.raises(SbpError) as caught:
            _native.sbp_decode(make(size + 1))
        assert caught.value.code == 1000
    # A close reason is no handshake: only the frame's own limit counts.
    _native.sbp_decode(_native.sbp_encode_control(FRAME_ID, 3, bytes(_native.SBP_MAX_HANDSHAKE_SIZE + 1)))
