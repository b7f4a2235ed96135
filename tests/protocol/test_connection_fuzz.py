"""Whatever bytes come, a connection reports, answers or fails; it never raises."""

import json
import struct
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sideband._native import sbp_decode, sbp_encode_control, sbp_encode_message
from sideband.errors import SbpError
from sideband.protocol.connection import SbpConnection
from sideband.protocol.envelopes import BIN_MAGIC
from sideband.protocol.events import ProtocolFailed
from sideband.protocol.fragments import FragmentBudget
from sideband.protocol.handshake import HandshakePayload, decode_handshake

VECTORS = Path(__file__).parents[1] / "vectors"
FRAMES = json.loads((VECTORS / "sbp-frames.json").read_text("utf-8"))
ENVELOPES = json.loads((VECTORS / "rpc-envelopes.json").read_text("utf-8"))
SAMPLES = [
    *(bytes.fromhex(case["frame"]) for case in FRAMES["encode"]),
    *(bytes.fromhex(case["bytes"]) for case in FRAMES["decode"] if "bytes" in case),
    *(bytes.fromhex(case["messageFrame"]["frame"]) for case in ENVELOPES["encode"] if "messageFrame" in case),
]
CAPS = ["resume/1", "frag/1", "bin/1", "stream/1"]
ALLOWED_FATAL = {1000, 1001, 1002, 2001}


def connection(caps: list[str], *, greeted: bool, budget: FragmentBudget) -> SbpConnection:
    made = SbpConnection(
        local=HandshakePayload("us", tuple(CAPS)),
        opener=True,
        max_frame_payload=65_508,
        resumable=True,
        clock=lambda: 5.0,
        fragment_budget=budget,
    )
    made.start()
    if greeted:
        hello = {"protocol": "sideband", "version": "1", "peerId": "them", "caps": caps}
        made.receive(sbp_encode_control(bytes(16), 0, json.dumps(hello).encode()))
    return made


def check(frames: list[bytes], caps: list[str], *, greeted: bool) -> None:
    budget = FragmentBudget()
    end = connection(caps, greeted=greeted, budget=budget)
    if greeted:
        end.send_request("m", 1)
    for frame in frames:
        events = end.receive(frame)
        failed = [event for event in events if isinstance(event, ProtocolFailed)]
        assert all(event.code in ALLOWED_FATAL for event in failed)
        assert end.closed or not failed
    # Whatever it wants to answer is itself a frame.
    for frame in end.take(1 << 22):
        assert len(frame) <= 65_508
        sbp_decode(frame)
    end.close()
    assert budget.held == 0


def mutate(data: bytes, edits: list[tuple[str, int, int]]) -> bytes:
    changed = bytearray(data)
    for how, where, value in edits:
        at = where % (len(changed) + 1)
        if how == "flip" and at < len(changed):
            changed[at] ^= value or 1
        elif how == "cut":
            del changed[at:]
        elif how == "drop":
            del changed[at : at + value % 9]
        elif how == "add":
            changed[at:at] = bytes([value]) * (value % 5 + 1)
    return bytes(changed)


EDITS = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "drop", "add"]), st.integers(0, 5_000), st.integers(0, 255)), max_size=4
)
ABILITIES = st.lists(st.sampled_from(CAPS), unique=True)


@settings(max_examples=400, deadline=None)
@given(samples=st.lists(st.tuples(st.sampled_from(SAMPLES), EDITS), max_size=5), caps=ABILITIES, greeted=st.booleans())
def test_mutated_vectors(samples: list[tuple[bytes, list[Any]]], caps: list[str], greeted: bool) -> None:
    check([mutate(data, edits) for data, edits in samples], caps, greeted=greeted)


@settings(max_examples=200, deadline=None)
@given(frames=st.lists(st.binary(max_size=120), max_size=4), caps=ABILITIES, greeted=st.booleans())
def test_any_bytes(frames: list[bytes], caps: list[str], greeted: bool) -> None:
    check(frames, caps, greeted=greeted)


RESUME = st.tuples(st.integers(0, 4), st.sampled_from([0, 1, 2, 5, 2**32, 2**64 - 1])).map(
    lambda parts: struct.pack("<BQ", *parts)
)
PIECES = st.tuples(
    st.integers(0, 5),
    st.sampled_from([0, 1, 2, 0xFFFFFFFF]),
    st.integers(0, 3),
    st.sampled_from([0, 1, 16_384, 40_000]),
).map(lambda parts: struct.pack("<QII", *parts[:3]) + b"\x01" * parts[3])
DATA = st.one_of(
    RESUME,
    PIECES,
    st.sampled_from(ENVELOPES["decode"]).map(
        lambda case: bytes.fromhex(case["bytes"]) if "bytes" in case else case["json"].encode()
    ),
    st.binary(max_size=40),
    st.binary(max_size=40).map(lambda tail: BIN_MAGIC + tail),
)
SUBJECTS = ["rpc", "event", "stream", "app/x", "app/sb.resume.v1", "app/sb.frag.v1", "app/sb.stream.v1", "app/sb.new"]


@settings(max_examples=400, deadline=None)
@given(
    messages=st.lists(st.tuples(st.sampled_from(SUBJECTS), st.integers(0, 6), DATA), max_size=12),
    caps=ABILITIES,
)
def test_any_message_on_any_subject(messages: list[tuple[str, int, bytes]], caps: list[str]) -> None:
    frames = [
        sbp_encode_message(b"peerpeer" + number.to_bytes(8, "little"), subject, data)
        for subject, number, data in messages
    ]
    check(frames, caps, greeted=True)


HANDSHAKES = [bytes.fromhex(case["bytes"]) for case in FRAMES["handshakePayloads"] if "bytes" in case]


@settings(max_examples=300, deadline=None)
@given(data=st.sampled_from(HANDSHAKES), edits=EDITS)
def test_mutated_handshakes(data: bytes, edits: list[Any]) -> None:
    outcome: object = None
    try:
        outcome = decode_handshake(mutate(data, edits))
    except SbpError as error:
        outcome = error
    assert isinstance(outcome, HandshakePayload) or (isinstance(outcome, SbpError) and outcome.code in (1001, 1002))
    check([sbp_encode_control(bytes(16), 0, mutate(data, edits) or b" ")], [], greeted=False)
