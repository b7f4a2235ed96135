"""Every case of sbrp-handshake.json, and our behaviour where it differs on purpose."""

import json
from pathlib import Path

import pytest

from sideband import secure_relay as sr
from sideband.errors import SbrpError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "sbrp-handshake.json").read_text())
# Raised by a plain library error in the reference; ours have the handshake's own code.
WRONG_LENGTHS = {"signature-63-bytes", "signature-65-bytes", "identity-31-bytes-both", "advertised-identity-empty"}


def key(text: str) -> bytes:
    return bytes.fromhex(text)


def keys_of(case: dict) -> sr.SessionKeys:
    return sr.SessionKeys.from_bytes(key(case["clientToDaemon"]), key(case["daemonToClient"]))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_handshake(case: dict) -> None:
    daemon_id = case["daemonId"]
    assert daemon_id.encode().hex() == case["daemonIdUtf8"]
    identity = sr.IdentityKeyPair.from_private_bytes(key(case["identityPrivateKey"]))
    assert identity.public_key.hex() == case["identityPublicKey"]
    assert identity.private_bytes().hex() == case["identityPrivateKey"]
    assert sr.compute_fingerprint(identity.public_key) == case["fingerprint"]
    client = sr.EphemeralKeyPair.from_private_bytes(key(case["clientEphemeralPrivateKey"]))
    daemon = sr.EphemeralKeyPair.from_private_bytes(key(case["daemonEphemeralPrivateKey"]))
    assert client.public_key.hex() == case["clientEphemeralPublicKey"]
    assert daemon.public_key.hex() == case["daemonEphemeralPublicKey"]
    assert sr.sign(identity, key(case["signaturePayloadHash"])).hex() == case["signature"]

    init = sr.create_handshake_init(client)
    assert bytes(init.message).hex() == case["handshakeInitPayload"]
    session_id = int(case["sessionId"])
    assert sr.encode_handshake_init(session_id, init.message).hex() == case["handshakeInitFrame"]
    accepted = sr.process_handshake_init(init.message, daemon_id, identity, daemon)
    assert bytes(accepted.message).hex() == case["handshakeAcceptPayload"]
    assert sr.encode_handshake_accept(session_id, accepted.message).hex() == case["handshakeAcceptFrame"]
    assert accepted.session_keys == keys_of(case)
    assert daemon.consumed

    assert sr.verify_handshake_accept(accepted.message, daemon_id, client.public_key) == identity.public_key
    assert not client.consumed
    finished = sr.process_handshake_accept(accepted.message, daemon_id, identity.public_key, client)
    assert finished == keys_of(case)
    assert client.consumed is case["clientEphemeralPrivateKeyZeroedAfterAccept"]


def test_ids_that_look_alike_give_different_keys() -> None:
    named = {case["name"]: case for case in VECTORS["cases"]}
    assert keys_of(named["nfc-e-acute"]) != keys_of(named["nfd-e-acute"])


def accept_of(case: dict) -> tuple[sr.HandshakeAccept, str, bytes, sr.EphemeralKeyPair]:
    given = case["input"]
    accept = sr.HandshakeAccept(
        key(given["accept"]["identityPublicKey"]),
        key(given["accept"]["acceptPublicKey"]),
        key(given["accept"]["signature"]),
    )
    ephemeral = sr.EphemeralKeyPair.from_private_bytes(key(given["clientEphemeralPrivateKey"]))
    return accept, given["daemonId"], key(given["pinnedIdentityPublicKey"]), ephemeral


@pytest.mark.parametrize("case", VECTORS["negativeAccept"], ids=lambda case: case["name"])
def test_accept(case: dict) -> None:
    accept, daemon_id, pinned, ephemeral = accept_of(case)
    if case["expect"]["ok"]:
        assert sr.process_handshake_accept(accept, daemon_id, pinned, ephemeral) == keys_of(case["expect"])
    else:
        with pytest.raises(SbrpError) as caught:
            sr.process_handshake_accept(accept, daemon_id, pinned, ephemeral)
        expected = "handshake_failed" if case["name"] in WRONG_LENGTHS else case["expect"]["code"]
        assert caught.value.code == expected
    # The reference keeps the private key after a failure; ours is wiped on every path.
    assert ephemeral.consumed
    with pytest.raises(SbrpError, match="used before"):
        sr.process_handshake_accept(accept, daemon_id, pinned, ephemeral)


@pytest.mark.parametrize("case", VECTORS["negativeAccept"], ids=lambda case: case["name"])
def test_first_contact_takes_only_what_its_signature_proves(case: dict) -> None:
    accept, daemon_id, _, ephemeral = accept_of(case)
    code = case["expect"].get("code")
    # Without a pin, a key other than the pinned one is no failure of its own: only the signature counts.
    proven = case["expect"]["ok"] or case["name"] == "pinned-key-differs"
    if proven:
        assert sr.verify_handshake_accept(accept, daemon_id, ephemeral.public_key) == accept.identity_public_key
        sr.process_handshake_accept(accept, daemon_id, None, ephemeral)
    else:
        assert code is None or code in {"handshake_failed", "identity_key_changed"}
        with pytest.raises(SbrpError) as caught:
            sr.verify_handshake_accept(accept, daemon_id, ephemeral.public_key)
        assert caught.value.code == "handshake_failed"
        with pytest.raises(SbrpError) as caught:
            sr.process_handshake_accept(accept, daemon_id, None, ephemeral)
        assert caught.value.code == "handshake_failed"


@pytest.mark.parametrize("case", VECTORS["negativeDecode"], ids=lambda case: case["name"])
def test_decode(case: dict) -> None:
    decode = sr.decode_handshake_init if "decodeHandshakeInit(" in case["op"] else sr.decode_handshake_accept
    with pytest.raises(SbrpError) as caught:
        decode(sr.decode_frame(key(case["frame"])))
    assert caught.value.code == case["expect"]["code"]


IDENTITY = sr.IdentityKeyPair.from_private_bytes(bytes(range(32)))


@pytest.mark.parametrize("case", VECTORS["lowOrderX25519"], ids=lambda case: case["name"])
def test_low_order_keys_end_the_handshake_on_either_side(case: dict) -> None:
    daemon = sr.EphemeralKeyPair.generate()
    with pytest.raises(SbrpError, match="low-order") as caught:
        sr.process_handshake_init(key(case["publicKey"]), "test-daemon-123", IDENTITY, daemon)
    assert caught.value.code == "handshake_failed"
    assert daemon.consumed

    pinned = key(VECTORS["negativeAccept"][0]["input"]["pinnedIdentityPublicKey"])
    accept = sr.HandshakeAccept(pinned, key(case["publicKey"]), key(case["acceptSignature"]))
    client = sr.EphemeralKeyPair.from_private_bytes(key(case["clientEphemeralPrivateKey"]))
    # The signature is genuine: it is the key agreement that must refuse.
    assert sr.verify_handshake_accept(accept, "test-daemon-123", client.public_key) == pinned
    with pytest.raises(SbrpError, match="low-order") as caught:
        sr.process_handshake_accept(accept, "test-daemon-123", pinned, client)
    assert caught.value.code == "handshake_failed"
    assert client.consumed


@pytest.mark.parametrize("size", [case["publicKeyLength"] for case in VECTORS["badLengthX25519"]])
def test_keys_of_a_wrong_length(size: int) -> None:
    for call in (
        lambda: sr.process_handshake_init(bytes(size), "d", IDENTITY),
        lambda: sr.EphemeralKeyPair.from_private_bytes(bytes(size)),
        lambda: sr.IdentityKeyPair.from_private_bytes(bytes(size)),
        lambda: sr.SessionKeys.from_bytes(bytes(size), bytes(32)),
        lambda: sr.SessionKeys.from_bytes(bytes(32), bytes(size)),
        lambda: sr.compute_fingerprint(bytes(size)),
        lambda: sr.verify_handshake_accept(bytes(128), "d", bytes(size)),
    ):
        with pytest.raises(SbrpError) as caught:
            call()
        assert caught.value.code == "handshake_failed"


@pytest.mark.parametrize("case", VECTORS["ed25519Edge"]["cases"], ids=lambda case: case["name"])
def test_degenerate_identity_keys_are_refused(case: dict) -> None:
    """The reference takes them: with a small-order key, one signature is good for every message."""
    identity, payload, signature = key(case["identityPublicKey"]), key(case["payload"]), key(case["signature"])
    assert sr.verify_signature(identity, payload, signature) is False
    ephemeral = sr.EphemeralKeyPair.generate()
    accept = sr.HandshakeAccept(identity, sr.EphemeralKeyPair.generate().public_key, signature)
    with pytest.raises(SbrpError) as caught:
        sr.process_handshake_accept(accept, "d", identity, ephemeral)
    assert caught.value.code == "handshake_failed"


def test_verify_signature() -> None:
    signature = sr.sign(IDENTITY, b"message")
    assert sr.verify_signature(IDENTITY.public_key, b"message", signature)
    assert not sr.verify_signature(IDENTITY.public_key, b"massage", signature)
    assert not sr.verify_signature(IDENTITY.public_key[:31], b"message", signature)
    assert not sr.verify_signature(IDENTITY.public_key, b"message", signature + b"\0")
