"""Every case of sbrp-frames.json, and our behaviour where it differs on purpose."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sideband import secure_relay as sr
from sideband.errors import SbrpError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "sbrp-frames.json").read_text())
# The reference takes pings and pongs over 8 bytes wherever it does not encode them itself; we never do.
LONG_PINGS = {"ping-payload-9", "pong-payload-9", "ping-payload-1000", "ping-9-accepted", "ping-frame-9-bytes"}


def pattern(size: int) -> bytes:
    return bytes(i * 7 % 256 for i in range(size))


def encoded(case: dict) -> bytes:
    fields, session_id = case["fields"], int(case["sessionId"])
    blob = {name: bytes.fromhex(value) for name, value in fields.items() if name.endswith(("Key", "signature"))}
    match case["type"]:
        case "HandshakeInit":
            return sr.encode_handshake_init(session_id, blob["initPublicKey"])
        case "HandshakeAccept":
            accept = sr.HandshakeAccept(blob["identityPublicKey"], blob["acceptPublicKey"], blob["signature"])
            assert sr.encode_handshake_accept(session_id, bytes(accept)) == sr.encode_handshake_accept(
                session_id, accept
            )
            return sr.encode_handshake_accept(session_id, accept)
        case "Data":
            data = bytes.fromhex(fields["nonce"]) + pattern(case["payloadLength"])[12:]
            return sr.encode_data(session_id, data)
        case "Signal":
            return sr.encode_signal(session_id, *(fields[name] for name in ("signal", "reason") if name in fields))
        case "Ping":
            return sr.encode_ping(bytes.fromhex(fields["payload"]))
        case "Pong":
            return sr.encode_pong(bytes.fromhex(fields["payload"]))
        case "Control":
            message = fields.get("message", "x" * 65534 if "messageRule" in fields else None)
            code = sr.SbrpErrorCode.from_wire(fields["code"])
            texts = () if message is None else (message,)
            assert sr.encode_control(session_id, code, *texts) == sr.encode_control(session_id, fields["code"], *texts)
            return sr.encode_control(session_id, code, *texts)
    raise AssertionError(case["type"])


@pytest.mark.parametrize("case", VECTORS["encode"], ids=lambda case: case["name"])
def test_encode_and_decode(case: dict) -> None:
    frame = encoded(case)
    assert frame[0] == int(case["typeByte"], 16)
    if "frame" in case:
        assert frame.hex() == case["frame"]
    else:
        assert len(frame) == case["frameLength"]
        assert hashlib.sha256(frame).hexdigest() == case["frameSha256"]
        assert frame[:13].hex() == case["header"]

    decoded = sr.decode_frame(frame)
    assert (decoded.session_id, len(decoded.payload)) == (int(case["sessionId"]), case["payloadLength"])
    assert decoded.type.name.replace("_", "").lower() == case["type"].lower()
    assert sr.encode_frame(decoded.type, decoded.session_id, decoded.payload) == frame
    expected = case["decoded"]
    match case["type"]:
        case "HandshakeInit":
            assert sr.decode_handshake_init(decoded).public_key.hex() == expected["initPublicKey"]
        case "HandshakeAccept":
            accept = sr.decode_handshake_accept(decoded)
            assert [part.hex() for part in accept] == [
                expected["identityPublicKey"],
                expected["acceptPublicKey"],
                expected["signature"],
            ]
        case "Data":
            assert sr.decode_data(decoded) == (int(expected["seq"]), decoded.payload)
        case "Signal":
            assert sr.decode_signal(decoded) == (expected["signal"], expected["reason"])
        case "Ping":
            assert sr.decode_ping(decoded).hex() == expected["payload"]
        case "Pong":
            assert sr.decode_pong(decoded).hex() == expected["payload"]
        case "Control":
            control = sr.decode_control(decoded)
            assert control.code.wire == expected["code"]
            if "message" in expected:
                assert control.message == expected["message"]
            else:
                assert len(control.message) == expected["messageLength"]


ENCODE_CALLS: dict[str, Callable[[], bytes]] = {
    "init-sid-0": lambda: sr.encode_handshake_init(0, bytes(32)),
    "init-key-31": lambda: sr.encode_handshake_init(1, bytes(31)),
    "init-key-33": lambda: sr.encode_handshake_init(1, bytes(33)),
    "init-key-31-and-sid-0": lambda: sr.encode_handshake_init(0, bytes(31)),
    "accept-sid-0": lambda: sr.encode_handshake_accept(0, bytes(128)),
    "accept-identity-31": lambda: sr.encode_handshake_accept(1, sr.HandshakeAccept(bytes(31), bytes(32), bytes(64))),
    "accept-key-33": lambda: sr.encode_handshake_accept(1, sr.HandshakeAccept(bytes(32), bytes(33), bytes(64))),
    "accept-signature-63": lambda: sr.encode_handshake_accept(1, sr.HandshakeAccept(bytes(32), bytes(32), bytes(63))),
    "data-sid-0": lambda: sr.encode_data(0, bytes(28)),
    "data-27": lambda: sr.encode_data(1, bytes(27)),
    "data-65537": lambda: sr.encode_data(1, bytes(65537)),
    "signal-sid-0": lambda: sr.encode_signal(0, 0, 0),
    "signal-unknown-code": lambda: sr.encode_signal(1, 255, 255),
    "ping-9": lambda: sr.encode_ping(pattern(9)),
    "pong-9": lambda: sr.encode_pong(pattern(9)),
    "ping-frame-sid-1": lambda: sr.encode_frame(sr.FrameType.PING, 1, b""),
    "ping-frame-9-bytes": lambda: sr.encode_frame(sr.FrameType.PING, 0, pattern(9)),
    "control-unknown-code": lambda: sr.encode_control(0, 0x9999),
    "control-65535-message-bytes": lambda: sr.encode_control(0, sr.SbrpErrorCode.RATE_LIMITED, "m" * 65535),
    "unknown-type": lambda: sr.encode_frame(0x99, 0, b""),
    "sid-negative": lambda: sr.encode_frame(sr.FrameType.DATA, -1, bytes(28)),
    "sid-2^64": lambda: sr.encode_frame(sr.FrameType.DATA, 2**64, bytes(28)),
    "control-sid-2^64": lambda: sr.encode_frame(sr.FrameType.CONTROL, 2**64, bytes(2)),
    "payload-65536": lambda: sr.encode_frame(sr.FrameType.DATA, 1, bytes(65536)),
    "payload-65537": lambda: sr.encode_frame(sr.FrameType.DATA, 1, bytes(65537)),
    "payload-65537-and-sid-0": lambda: sr.encode_frame(sr.FrameType.DATA, 0, bytes(65537)),
}


def test_every_encode_error_has_its_call() -> None:
    assert set(ENCODE_CALLS) == {case["name"] for case in VECTORS["encodeErrors"]}


@pytest.mark.parametrize(
    "case", [case for case in VECTORS["encodeErrors"] if case["name"] not in LONG_PINGS], ids=lambda case: case["name"]
)
def test_encoder_refusal(case: dict) -> None:
    expect, call = case["expect"], ENCODE_CALLS[case["name"]]
    if not expect["ok"]:
        with pytest.raises(SbrpError) as caught:
            call()
        assert caught.value.code == expect["code"]
        return
    frame = call()
    assert len(frame) == expect["frameLength"]
    assert frame.hex() == expect.get("frame", frame.hex())


def test_encoder_refuses_a_long_ping_of_any_origin() -> None:
    with pytest.raises(SbrpError) as caught:
        ENCODE_CALLS["ping-frame-9-bytes"]()
    assert caught.value.code == "payload_too_large"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: sr.encode_frame(256, 0, b""), "invalid_frame_type"),
        (lambda: sr.encode_frame(-1, 0, b""), "invalid_frame_type"),
        (lambda: sr.encode_control(0, 65536), "malformed_frame"),
        (lambda: sr.encode_control(0, -1), "malformed_frame"),
        (lambda: sr.encode_signal(1, 256), "malformed_frame"),
        (lambda: sr.encode_signal(1, 0, -1), "malformed_frame"),
        # Two wrong lengths that add up to the right one.
        (
            lambda: sr.encode_handshake_accept(1, sr.HandshakeAccept(bytes(31), bytes(33), bytes(64))),
            "malformed_frame",
        ),
    ],
)
def test_encoder_refuses_numbers_out_of_range(call: Callable[[], bytes], code: str) -> None:
    with pytest.raises(SbrpError) as caught:
        call()
    assert caught.value.code == code


@pytest.mark.parametrize("wrong", ["1", 1.5, None])
def test_encoder_takes_numbers_only(wrong: Any) -> None:
    for call in (
        lambda: sr.encode_frame(wrong, 0, b""),
        lambda: sr.encode_frame(3, wrong, bytes(28)),
        lambda: sr.encode_control(0, wrong if wrong is not None else "x"),
        lambda: sr.encode_signal(1, wrong),
    ):
        with pytest.raises(TypeError):
            call()


TYPED_DECODERS: dict[str, Callable[[sr.Frame], Any]] = {
    "HandshakeInit": sr.decode_handshake_init,
    "HandshakeAccept": sr.decode_handshake_accept,
    "Data": sr.decode_data,
    "Signal": sr.decode_signal,
    "Control": sr.decode_control,
}


@pytest.mark.parametrize(
    "case", [case for case in VECTORS["decode"] if case["name"] not in LONG_PINGS], ids=lambda case: case["name"]
)
def test_decode(case: dict) -> None:
    data = bytes.fromhex(case["bytes"])
    header = outcome(lambda: sr.read_frame_header(data))
    assert header == (
        case["readFrameHeader"].get("code")
        or (
            case["readFrameHeader"]["type"],
            case["readFrameHeader"]["length"],
            int(case["readFrameHeader"]["sessionId"]),
        )
    )
    frame = outcome(lambda: sr.decode_frame(data))
    expected = case["decodeFrame"]
    if not expected["ok"]:
        assert frame == expected["code"]
        return
    assert isinstance(frame, sr.Frame)
    assert (frame.type, frame.session_id) == (expected["type"], int(expected["sessionId"]))
    assert len(frame.payload) == expected["length"]
    if "payload" in expected:
        assert frame.payload.hex() == expected["payload"]
    if "typedDecoder" in case:
        typed = outcome(lambda: TYPED_DECODERS[case["typedDecoder"]](frame))
        expect = case["typed"]
        match case["typedDecoder"]:
            case _ if not expect["ok"]:
                assert typed == expect["code"]
            case "Signal":
                assert typed == (expect["signal"], expect["reason"])
            case "Control":
                assert (typed.code.wire, typed.message) == (expect["code"], expect["message"])
            case "Data":
                assert typed.sequence == int(expect["seq"])
            case _:
                raise AssertionError(case["typedDecoder"])


@pytest.mark.parametrize(
    "case", [case for case in VECTORS["decode"] if case["name"] in LONG_PINGS], ids=lambda case: case["name"]
)
def test_decoder_refuses_long_pings(case: dict) -> None:
    data = bytes.fromhex(case["bytes"])
    assert outcome(lambda: sr.decode_frame(data)) == "payload_too_large"
    assert outcome(lambda: sr.read_frame_header(data)) == "payload_too_large"


def test_ping_decoders_refuse_other_frames() -> None:
    ping, pong = sr.decode_frame(sr.encode_ping()), sr.decode_frame(sr.encode_pong())
    assert outcome(lambda: sr.decode_ping(pong)) == "invalid_frame_type"
    assert outcome(lambda: sr.decode_pong(ping)) == "invalid_frame_type"


@pytest.mark.parametrize(
    "case",
    [case for case in VECTORS["streaming"]["cases"] if case["name"] not in LONG_PINGS],
    ids=lambda case: case["name"],
)
def test_streaming(case: dict) -> None:
    decoder = sr.FrameDecoder()
    failed = False
    for push in case["pushes"]:
        frames, error = drain(decoder, bytes.fromhex(push["chunk"]))
        assert frames == [
            (frame["type"], int(frame["sessionId"]), bytes.fromhex(frame["payload"])) for frame in push["frames"]
        ]
        assert error == (push["error"] and push["error"]["code"])
        failed = failed or error is not None
        # The reference keeps the bytes after an error; ours keeps none.
        assert decoder.buffered_bytes == (0 if failed else push["bufferedBytes"])


def test_streaming_refuses_long_pings_from_the_header_alone() -> None:
    decoder = sr.FrameDecoder()
    assert drain(decoder, bytes.fromhex("10000000090000000000000000")) == ([], "payload_too_large")


@pytest.mark.parametrize("case", VECTORS["streaming"]["splitEverywhere"], ids=lambda case: case["name"])
def test_streaming_split_everywhere(case: dict) -> None:
    frame = bytes.fromhex(case["frame"])
    for split, first, buffered, second, left in case["rows"]:
        decoder = sr.FrameDecoder()
        assert len(drain(decoder, frame[:split])[0]) == first
        assert decoder.buffered_bytes == buffered
        assert len(drain(decoder, frame[split:])[0]) == second
        assert decoder.buffered_bytes == left


def test_streaming_largest_frame() -> None:
    case = VECTORS["streaming"]["maxFrame"]
    frame = sr.encode_data(1, pattern(65536))
    assert hashlib.sha256(frame).hexdigest() == case["frameSha256"]
    decoder = sr.FrameDecoder()
    for push in case["pushes"]:
        start, end = (int(number) for number in push["bytes"].split(".."))
        frames, error = drain(decoder, frame[start:end])
        assert error is None
        assert [(f.type, f.session_id, len(f.payload), hashlib.sha256(f.payload).hexdigest()) for f in frames] == [
            (f["type"], int(f["sessionId"]), f["payload"]["length"], f["payload"]["sha256"]) for f in push["frames"]
        ]
        assert decoder.buffered_bytes == push["bufferedBytes"]


def test_push_takes_bytes_at_once_and_delivers_each_frame_once() -> None:
    """Ours differs from the quirks of the reference: nothing is delivered twice, and nothing waits for iteration."""
    decoder = sr.FrameDecoder()
    ping = sr.encode_ping(b"\x01\x02")
    decoder.push(ping[:5])
    assert decoder.buffered_bytes == 5
    iterator = decoder.push(ping[5:] + sr.encode_pong())
    assert next(iterator).type is sr.FrameType.PING
    assert decoder.buffered_bytes == 0
    assert drain(decoder, b"") == ([], None)
    assert [frame.type for frame in iterator] == [sr.FrameType.PONG]


def test_reset_recovers_from_an_error_and_forgets_a_partial_frame() -> None:
    decoder = sr.FrameDecoder()
    assert drain(decoder, bytes.fromhex("99000000000000000000000000")) == ([], "invalid_frame_type")
    assert drain(decoder, sr.encode_ping()) == ([], "invalid_frame_type")
    decoder.reset()
    assert len(drain(decoder, sr.encode_ping(b"\x01\x02"))[0]) == 1
    drain(decoder, sr.encode_ping()[:7])
    decoder.reset()
    assert decoder.buffered_bytes == 0
    assert len(drain(decoder, sr.encode_ping())[0]) == 1


def drain(decoder: sr.FrameDecoder, chunk: bytes) -> tuple[list[sr.Frame], str | None]:
    frames = []
    try:
        for frame in decoder.push(chunk):
            frames.append(frame)  # noqa: PERF402  (an error in the middle must not lose what came before)
    except SbrpError as error:
        return frames, error.code.value
    return frames, None


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except SbrpError as error:
        return error.code.value
