"""Handshake payloads against the vectors, and their bounds."""

import json
from pathlib import Path

import pytest

from sideband.errors import SbpError
from sideband.protocol.handshake import HandshakePayload, decode_handshake, encode_handshake

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "sbp-frames.json").read_text("utf-8"))
CASES = {case["name"]: case for case in VECTORS["handshakePayloads"]}


@pytest.mark.parametrize("name", sorted(CASES))
def test_vector(name: str) -> None:
    case = CASES[name]
    if "length" in case:
        data = b'{"protocol":"sideband","version":"1","peerId":"' + b"x" * (case["length"] - 49) + b'"}'
        # The reference has no bound here; docs/protocol/sbp.md has two.
        with pytest.raises(SbpError) as caught:
            decode_handshake(data)
        assert caught.value.code == 1002
        return
    data = bytes.fromhex(case["bytes"])
    expect = case["expect"]
    if not expect["ok"]:
        with pytest.raises(SbpError) as caught:
            decode_handshake(data)
        assert caught.value.code == expect["code"]
        assert caught.value.fatal
        return
    payload = decode_handshake(data)
    decoded = json.loads(expect["decodedJson"])
    assert payload.peer_id == decoded["peerId"]
    caps, metadata = decoded.get("caps", []), decoded.get("metadata", {})
    assert payload.caps == (tuple(caps) if isinstance(caps, list) else ())
    assert payload.metadata == (metadata if isinstance(metadata, dict) else {})


@pytest.mark.parametrize("case", [c for c in VECTORS["encode"] if c["type"] == "handshake"], ids=lambda c: c["name"])
def test_encoding_gives_the_bytes_of_the_reference(case: dict[str, str]) -> None:
    data = bytes.fromhex(case["data"])
    if case["name"] == "handshake-opaque-data":
        with pytest.raises(SbpError):
            decode_handshake(data)
        return
    payload = decode_handshake(data)
    if "caps" in json.loads(data) and not payload.caps:
        payload = HandshakePayload(payload.peer_id, (), payload.metadata)
        assert json.loads(encode_handshake(payload)) == {k: v for k, v in json.loads(data).items() if k != "caps"}
    else:
        assert encode_handshake(payload) == data


@pytest.mark.parametrize(("size", "ok"), [(255, True), (256, False)])
def test_peer_id_is_measured_in_bytes(size: int, ok: bool) -> None:
    peer_id = "é" * (size // 2) + "x" * (size % 2)
    wire = json.dumps({"protocol": "sideband", "version": "1", "peerId": peer_id}).encode()
    if ok:
        assert decode_handshake(encode_handshake(HandshakePayload(peer_id))).peer_id == peer_id
        assert decode_handshake(wire).peer_id == peer_id
    else:
        with pytest.raises(SbpError, match="255"):
            encode_handshake(HandshakePayload(peer_id))
        with pytest.raises(SbpError, match="255"):
            decode_handshake(wire)


@pytest.mark.parametrize(("extra", "ok"), [(0, True), (1, False)])
def test_the_whole_is_at_most_8_kib(extra: int, ok: bool) -> None:
    empty = len(encode_handshake(HandshakePayload("p", (), {"v:k": ""})))
    payload = HandshakePayload("p", (), {"v:k": "x" * (8192 - empty + extra)})
    if ok:
        encoded = encode_handshake(payload)
        assert len(encoded) == 8192
        assert decode_handshake(encoded) == payload
        with pytest.raises(SbpError, match="8193"):
            decode_handshake(encoded + b" ")
    else:
        with pytest.raises(SbpError, match="8193") as caught:
            encode_handshake(payload)
        assert caught.value.code == 1002


@pytest.mark.parametrize("key", ["plain", "", ":", "vendor:", ":key", "ven dor:key"])
def test_metadata_keys_are_namespaced(key: str) -> None:
    with pytest.raises(SbpError, match="vendor:key"):
        encode_handshake(HandshakePayload("p", (), {key: 1}))


@pytest.mark.parametrize("value", [float("nan"), b"bytes", {1, 2}])
def test_metadata_is_json(value: object) -> None:
    with pytest.raises(SbpError, match="JSON"):
        encode_handshake(HandshakePayload("p", (), {"v:k": value}))


def test_deep_nesting_is_an_error_of_ours() -> None:
    with pytest.raises(SbpError) as caught:
        decode_handshake(b'{"protocol":' + b"[" * 8000)
    assert caught.value.code == 1002


def test_repr_keeps_metadata_values_out_of_logs() -> None:
    payload = HandshakePayload("p", ("bin/1",), {"sideband:identity": "secret-token"})
    assert "secret-token" not in repr(payload)
    assert "sideband:identity" in repr(payload)
