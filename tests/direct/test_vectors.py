"""Our sessions against tests/vectors/sbdp.json, which an implementation of its own has made."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from sideband._native import NoiseHandshake, NoiseKeyPair, NoiseSession
from sideband.direct.binding import prologue
from sideband.direct.proof import decode_proof, encode_proof
from sideband.identity import IdentityKeyPair
from tests.support.sbdp_by_hand import DATA, NEXT_KEY, Noise
from tests.support.sbdp_vectors import PATH, vectors

PUBLIC = json.loads((PATH.parent / "noise-xx.json").read_text())["vectors"]
VECTORS = json.loads(PATH.read_text())


@pytest.mark.parametrize("case", PUBLIC, ids=lambda case: case["source"])
def test_the_other_implementation_agrees_with_the_public_vectors(case: dict[str, Any]) -> None:
    """Or else what it agrees on with ours would prove nothing."""
    one, two = (
        Noise(
            initiator=side == "init",
            static=bytes.fromhex(case[f"{side}_static"]),
            ephemeral=bytes.fromhex(case[f"{side}_ephemeral"]),
            bound_to=bytes.fromhex(case[f"{side}_prologue"]),
        )
        for side in ("init", "resp")
    )
    steps = [(one.write_first, two.read_first), (two.write_second, one.read_second), (one.write_third, two.read_third)]
    for (write, read), expected in zip(steps, case["messages"][:3], strict=True):
        message = write(payload := bytes.fromhex(expected["payload"]))
        assert message.hex() == expected["ciphertext"]
        assert read(message) == payload
    assert one.hash == two.hash
    assert one.hash.hex() == case.get("handshake_hash", one.hash.hex())
    keys = one.split()
    assert keys == two.split()
    for number, expected in enumerate(case["messages"][3:]):
        cipher = ChaCha20Poly1305(keys[(number + 1) % 2])
        nonce = struct.pack("<IQ", 0, number // 2)
        assert cipher.encrypt(nonce, bytes.fromhex(expected["payload"]), b"").hex() == expected["ciphertext"]


def test_the_file_is_what_the_other_implementation_makes() -> None:
    assert vectors() == VECTORS


@pytest.mark.parametrize("case", VECTORS["prologues"], ids=lambda case: case["transport"])
def test_prologues(case: dict[str, str]) -> None:
    assert prologue(case["transport"], bytes.fromhex(case["binding"])).hex() == case["prologue"]


@pytest.mark.parametrize("case", VECTORS["sessions"], ids=lambda case: case["transport"])
def test_sessions(case: dict[str, Any]) -> None:
    sides = [_begin(case, "initiator"), _begin(case, "responder")]
    for number, expected in enumerate(case["messages"]):
        sender, receiver = sides if number != 1 else sides[::-1]
        own = case["responder" if number == 1 else "initiator"]
        before = sender.hash
        static = NoiseKeyPair.from_private_bytes(bytes.fromhex(own["static"])).public_key
        payload = b"" if number == 0 else encode_proof(own["name"], static, before, _signer(own), tuple(own["caps"]))
        assert payload.hex() == expected["payload"]
        message = sender.write(payload)
        assert (bytes([number + 1]) + message).hex() == expected["message"]
        assert receiver.read(message) == payload
        assert sender.hash.hex() == receiver.hash.hex() == expected["hash"]
        if number:
            proof = decode_proof(payload, static, before)
            assert (proof.name, proof.caps) == (own["name"], frozenset(own["caps"]))
            assert (proof.identity_key is not None) is ("ed25519" in own)
    one, two = (side.session(rekey_records=3) for side in sides)
    _check(one, two, case["records"]["from_initiator"])
    _check(two, one, case["records"]["from_responder"])


def _check(sending: NoiseSession, receiving: NoiseSession, records: list[dict[str, Any]]) -> None:
    sealed: list[bytes] = []
    for record in records:
        kind, content = record["type"], bytes.fromhex(record["content"])
        if kind == DATA:
            sealed += sending.seal_messages([content])
        elif kind != NEXT_KEY:  # made by itself where it is due
            sealed += sending.seal_control(kind, content)
    assert [message.hex() for message in sealed] == [record["message"] for record in records]
    opened = receiving.open_messages(sealed)
    contents = [(record["type"], bytes.fromhex(record["content"])) for record in records if record["type"] != NEXT_KEY]
    assert opened == [content if kind == DATA else (kind, content) for kind, content in contents]


def _begin(case: dict[str, Any], role: str) -> NoiseHandshake:
    own = case[role]
    pair = NoiseKeyPair.from_private_bytes(bytes.fromhex(own["static"]))
    bound_to, ephemeral = bytes.fromhex(case["prologue"]), bytes.fromhex(own["ephemeral"])
    return NoiseHandshake(pair, initiator=role == "initiator", prologue=bound_to, ephemeral=ephemeral)


def _signer(own: dict[str, Any]) -> IdentityKeyPair | None:
    return IdentityKeyPair.from_private_bytes(bytes.fromhex(own["ed25519"])) if "ed25519" in own else None
