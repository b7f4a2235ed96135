"""Envelopes against the vectors, bin/1, and what neither form may carry."""

import json
import math
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.errors import SbpError
from sideband.protocol.envelopes import (
    BIN_MAGIC,
    MISSING,
    decode_envelope,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
    parse_envelope,
    readable_cid,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "rpc-envelopes.json").read_text("utf-8"))
CID = bytes.fromhex("00112233445566778899aabbccddeeff")


def encode(envelope: dict[str, Any], *, binary: bool = False) -> bytes:
    match envelope["t"]:
        case "r":
            return encode_request(envelope["cid"], envelope["m"], envelope.get("p", MISSING), binary=binary)
        case "R":
            return encode_result(envelope["cid"], envelope.get("result", MISSING), binary=binary)
        case "E":
            return encode_error(
                envelope["cid"], envelope["code"], envelope["message"], envelope.get("data", MISSING), binary=binary
            )
        case _:
            return encode_notification(envelope["e"], envelope.get("d", MISSING), binary=binary)


def by_value(decoded: str) -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads(decoded)
    if isinstance(envelope.get("cid"), str):
        envelope["cid"] = bytes.fromhex(envelope["cid"])
    return envelope


@pytest.mark.parametrize("case", VECTORS["encode"], ids=lambda case: case["name"])
def test_encode_vector_both_ways(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    if case["name"] == "error-fraction-code":
        # The page wants whole codes where the reference takes any number.
        with pytest.raises(SbpError, match="whole number"):
            decode_envelope(data)
        with pytest.raises(SbpError, match="whole number"):
            encode_error(CID, 1.5, "x")  # type: ignore[arg-type]
        return
    envelope = decode_envelope(data)
    assert envelope == by_value(case["decoded"])
    encoded = encode(envelope)
    if case["name"] == "request-numbers":
        # Python writes 1e-06 where JavaScript writes 0.000001: numbers are compared by value.
        assert decode_envelope(encoded) == envelope
    else:
        assert encoded == data


@pytest.mark.parametrize("case", VECTORS["decode"], ids=lambda case: case["name"])
def test_decode_vector(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"]) if "bytes" in case else case["json"].encode()
    expect = case["expect"]
    if not expect["ok"] or case["name"] in ("error-code-float", "error-code-1e400"):
        with pytest.raises(SbpError) as caught:
            decode_envelope(data)
        assert caught.value.code == 1100
        assert not caught.value.fatal
        return
    envelope = decode_envelope(data)
    assert envelope == by_value(expect["decoded"])
    assert expect["cidIsBytes"] in (None, isinstance(envelope.get("cid"), bytes))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_is_no_number(value: float) -> None:
    with pytest.raises(SbpError) as caught:
        encode_request(CID, "m", [value])
    assert caught.value.code == 1100
    for text in (b"NaN", b"Infinity", b"-Infinity"):
        with pytest.raises(SbpError):
            decode_envelope(b'{"t":"N","e":"x","d":' + text + b"}")


def test_a_cycle_and_an_unknown_type_are_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    holding: list[Any] = [b"bytes first"]
    holding.append(holding)
    for value in (cycle, {1, 2}, object(), holding, [b"x", object()]):
        for binary in (False, True):
            with pytest.raises(SbpError) as caught:
                encode_result(CID, value, binary=binary)
            assert caught.value.code == 1100
            assert not caught.value.fatal


def test_json_nested_without_end_is_refused() -> None:
    with pytest.raises(SbpError) as caught:
        decode_envelope(b'{"t":"N","e":"x","d":' + b"[" * 100_000)
    assert caught.value.code == 1100
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SbpError):
        encode_notification("x", deep)
    while deep:  # taken apart step by step, as freeing it at once would recurse as deep
        deep = deep.pop()


def test_a_number_of_many_digits_is_refused_not_computed() -> None:
    with pytest.raises(SbpError):
        decode_envelope(b'{"t":"N","e":"x","d":' + b"9" * 100_000 + b"}")


@pytest.mark.parametrize("value", [b"", b"\x00\xff", bytearray(b"ab"), memoryview(b"cd")])
def test_bytes_travel_as_bin_only_where_agreed(value: Any) -> None:
    with pytest.raises(SbpError, match="bin/1"):
        encode_request(CID, "m", {"deep": [value]})
    data = encode_request(CID, "m", {"deep": [value]}, binary=True)
    assert data[:2] == BIN_MAGIC
    assert msgpack.unpackb(data[2:]) == {"t": "r", "m": "m", "cid": CID, "p": {"deep": [bytes(value)]}}
    assert decode_envelope(data, binary=True) == {"t": "r", "m": "m", "cid": CID, "p": {"deep": [bytes(value)]}}
    with pytest.raises(SbpError):
        decode_envelope(data)


def test_values_without_bytes_stay_json_where_bin_is_agreed() -> None:
    assert encode_result(CID, {"x": [1, None]}, binary=True) == encode_result(CID, {"x": [1, None]})


@pytest.mark.parametrize(("depth", "ok"), [(63, True), (64, False)])
def test_bin_depth(depth: int, ok: bool) -> None:
    # The envelope's own map is one level.
    value: Any = b"x"
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    packed = BIN_MAGIC + msgpack.packb({"t": "N", "e": "x", "d": value})
    if ok:
        assert encode_notification("x", value, binary=True) == packed
        assert decode_envelope(packed, binary=True)["d"] == value
    else:
        with pytest.raises(SbpError, match="nested"):
            encode_notification("x", value, binary=True)
        with pytest.raises(SbpError):
            decode_envelope(packed, binary=True)


@pytest.mark.parametrize(
    "body",
    [
        {"t": "N", "e": "x", "d": msgpack.ExtType(5, b"z")},
        {"t": "N", "e": "x", "d": msgpack.Timestamp(1, 2)},
        {"t": "N", "e": "x", "d": {1: 2}},
        {"t": "N", "e": "x", "d": {b"k": 2}},
        {"t": "r", "m": "x", "cid": CID[:15]},
        {"t": "r", "m": b"x", "cid": CID},
        ["t", "N"],
    ],
)
def test_bin_refuses(body: Any) -> None:
    with pytest.raises(SbpError) as caught:
        decode_envelope(BIN_MAGIC + msgpack.packb(body, strict_types=False), binary=True)
    assert caught.value.code == 1100


@pytest.mark.parametrize("value", [[b"", msgpack.ExtType(5, b"z")], [b"", {1: 2}], [b"", 1 << 64], [b"", "\ud800"]])
def test_bin_does_not_send_what_it_would_refuse(value: Any) -> None:
    with pytest.raises(SbpError) as caught:
        encode_notification("x", value, binary=True)
    assert caught.value.code == 1100


@pytest.mark.parametrize(
    "tail", [b"", b"\xc0", b"\x81", b"\xff\xff", b"\xde\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc1"]
)
def test_broken_bin(tail: bytes) -> None:
    with pytest.raises(SbpError):
        decode_envelope(BIN_MAGIC + tail, binary=True)
    with pytest.raises(SbpError):
        decode_envelope(encode_notification("x", b"", binary=True) + tail + b"\x00", binary=True)


def test_a_whole_code_may_come_as_a_fraction_without_rest() -> None:
    assert decode_envelope(b'{"t":"E","cid":"%s","code":404.0,"message":"x"}' % CID.hex().encode())["code"] == 404
    for code in (b"true", b"null", b"1.5", b"1e400"):
        with pytest.raises(SbpError):
            decode_envelope(b'{"t":"E","cid":"%s","code":%s,"message":"x"}' % (CID.hex().encode(), code))


@pytest.mark.parametrize("cid", ["00 112233445566778899aabbccddeef", "0" * 31, "0" * 33, "A" * 32, 5, None, b"short"])
def test_unreadable_cid(cid: object) -> None:
    assert readable_cid({"cid": cid}) is None


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
BIN_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(method=st.text(), params=JSON_VALUES)
def test_json_round_trip(method: str, params: Any) -> None:
    assert decode_envelope(encode_request(CID, method, params)) == {"t": "r", "m": method, "cid": CID, "p": params}


@given(value=BIN_VALUES)
def test_bin_round_trip(value: Any) -> None:
    encoded = encode_result(CID, [b"", value], binary=True)
    assert decode_envelope(encoded, binary=True) == {"t": "R", "cid": CID, "result": [b"", value]}


@given(data=st.binary(max_size=200), binary=st.booleans(), magic=st.booleans())
def test_any_bytes_are_an_envelope_or_an_error_of_ours(data: bytes, binary: bool, magic: bool) -> None:
    found: object = None
    try:
        found = parse_envelope(BIN_MAGIC * magic + data, binary=binary)
    except SbpError as error:
        found = error
    assert isinstance(found, dict) or (isinstance(found, SbpError) and found.code == 1100)
