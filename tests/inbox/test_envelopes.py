"""One-shot envelopes: RFC 9180's vectors, the format byte for byte, and everything that must not open."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from sideband._native import IdentityKeyPair, sign, verify_signature
from sideband.errors import EnvelopeError, InboxError
from sideband.inbox.envelopes import (
    ENVELOPE_OVERHEAD,
    EnvelopeKeyPair,
    RecipientKey,
    SignedEnvelopeKey,
    open_envelope,
    seal_envelope,
)
from tests.inbox.reference_hpke import receiver_context, sender_context

VECTORS = Path(__file__).parents[1] / "vectors" / "hpke-base.json"
ALICE = IdentityKeyPair.from_private_bytes(bytes(range(32)))
BOB = IdentityKeyPair.from_private_bytes(bytes(range(32, 64)))
KEY = EnvelopeKeyPair(bytes(range(64, 96)))
OTHER = EnvelopeKeyPair.generate()
RECIPIENT = KEY.publish(BOB, "bob").verify("bob", BOB.public_key)


def test_the_reference_reproduces_rfc_9180() -> None:
    vector = json.loads(VECTORS.read_text())["vector"]
    given_bytes = {name: bytes.fromhex(value) for name, value in vector.items() if isinstance(value, str)}
    ephemeral, private_key = (X25519PrivateKey.from_private_bytes(given_bytes[name]) for name in ("skEm", "skRm"))
    for context in (
        sender_context(ephemeral, private_key.public_key(), given_bytes["info"]),
        receiver_context(given_bytes["enc"], private_key, given_bytes["info"]),
    ):
        assert context.shared_secret == given_bytes["shared_secret"]
        assert (context.key, context.base_nonce) == (given_bytes["key"], given_bytes["base_nonce"])
        for each in vector["encryptions"]:
            plaintext, aad, ciphertext = (bytes.fromhex(each[name]) for name in ("pt", "aad", "ct"))
            assert context.seal(plaintext, aad, each["sequence"]) == ciphertext
            assert context.open(ciphertext, aad, each["sequence"]) == plaintext


@given(st.binary(max_size=2000))
def test_an_envelope_is_what_the_format_says(plaintext: bytes) -> None:
    envelope = seal_envelope(plaintext, sender=ALICE, recipient=RECIPIENT)
    assert len(envelope) == len(plaintext) + ENVELOPE_OVERHEAD
    magic, sender, enc, ciphertext, signature = (
        envelope[:4],
        envelope[4:36],
        envelope[36:68],
        envelope[68:-64],
        envelope[-64:],
    )
    assert (magic, sender) == (b"SBE1", ALICE.public_key)
    assert verify_signature(ALICE.public_key, b"sb-envelope-v1" + envelope[:-64], signature)
    info = b"sb-envelope-v1" + ALICE.public_key + b"\x00\x03bob"
    context = receiver_context(enc, X25519PrivateKey.from_private_bytes(KEY.private_bytes), info)
    assert context.open(ciphertext, b"", 0) == plaintext


@given(st.binary(max_size=300))
def test_what_the_reference_seals_opens(plaintext: bytes) -> None:
    ephemeral = X25519PrivateKey.generate()
    info = b"sb-envelope-v1" + ALICE.public_key + b"\x00\x03bob"
    context = sender_context(ephemeral, X25519PublicKey.from_public_bytes(KEY.public_key), info)
    unsigned = b"SBE1" + ALICE.public_key + ephemeral.public_key().public_bytes_raw() + context.seal(plaintext, b"", 0)
    opened = open_envelope(_signed(unsigned, ALICE), key=KEY, address="bob", sender=ALICE.public_key)
    assert (opened.sender, opened.plaintext) == (ALICE.public_key, plaintext)


def test_the_address_is_normalised_on_both_sides() -> None:
    wide = "ｂｏｂ"
    recipient = KEY.publish(BOB, wide).verify("bob", BOB.public_key)
    envelope = seal_envelope(b"x", sender=ALICE, recipient=recipient)
    assert open_envelope(envelope, key=KEY, address=wide).plaintext == b"x"


@given(st.data())
def test_a_changed_byte_opens_nowhere(data: st.DataObject) -> None:
    envelope = bytearray(seal_envelope(b"to the letter", sender=ALICE, recipient=RECIPIENT))
    envelope[data.draw(st.integers(0, len(envelope) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(EnvelopeError):
        open_envelope(bytes(envelope), key=KEY, address="bob")


def test_every_shorter_envelope_is_refused() -> None:
    envelope = seal_envelope(b"", sender=ALICE, recipient=RECIPIENT)
    assert open_envelope(envelope, key=KEY, address="bob").plaintext == b""
    for size in range(len(envelope)):
        assert _refusal(envelope[:size], key=KEY, address="bob") == "format"


def test_an_envelope_opens_for_its_key_its_address_and_its_sender_only() -> None:
    envelope = seal_envelope(b"x", sender=ALICE, recipient=RECIPIENT)
    assert _refusal(envelope, key=EnvelopeKeyPair.generate(), address="bob") == "decrypt"
    assert _refusal(envelope, key=KEY, address="rob") == "decrypt"
    assert _refusal(envelope, key=KEY, address="bob", sender=BOB.public_key) == "signature"


def test_somebody_else_cannot_put_their_name_on_it() -> None:
    envelope = seal_envelope(b"x", sender=ALICE, recipient=RECIPIENT)
    stolen = b"SBE1" + BOB.public_key + envelope[36:-64]
    assert _refusal(stolen + envelope[-64:], key=KEY, address="bob") == "signature"
    assert _refusal(_signed(stolen, BOB), key=KEY, address="bob") == "decrypt"  # signed well, but sealed as Alice


def test_two_envelopes_of_one_message_differ() -> None:
    first, second = (seal_envelope(b"same", sender=ALICE, recipient=RECIPIENT) for _ in range(2))
    assert first[36:-64] != second[36:-64]


def test_an_enc_of_small_order_is_refused() -> None:
    unsigned = b"SBE1" + ALICE.public_key + bytes(32) + bytes(20)
    assert _refusal(_signed(unsigned, ALICE), key=KEY, address="bob") == "decrypt"


def test_a_recipient_key_of_small_order_is_refused() -> None:
    with pytest.raises(EnvelopeError, match="no usable X25519 key") as refused:
        seal_envelope(b"x", sender=ALICE, recipient=RecipientKey("bob", bytes(32)))
    assert refused.value.kind == "key"


@pytest.mark.parametrize(
    ("published", "address", "identity_key"),
    [
        (KEY.publish(ALICE, "bob"), "bob", BOB.public_key),
        (KEY.publish(BOB, "bob"), "rob", BOB.public_key),
        (KEY.publish(BOB, "bob"), "bob", ALICE.public_key),
        (
            SignedEnvelopeKey(EnvelopeKeyPair.generate().public_key, KEY.publish(BOB, "bob").signature),
            "bob",
            BOB.public_key,
        ),
        (SignedEnvelopeKey(KEY.public_key, bytes(64)), "bob", BOB.public_key),
        (SignedEnvelopeKey(KEY.public_key, b""), "bob", BOB.public_key),
        (SignedEnvelopeKey(KEY.public_key[:31], KEY.publish(BOB, "bob").signature), "bob", BOB.public_key),
    ],
    ids=["another signer", "another address", "another identity", "another key", "zeros", "no signature", "short key"],
)
def test_a_published_key_has_to_be_signed_by_the_identity_for_the_address(
    published: SignedEnvelopeKey, address: str, identity_key: bytes
) -> None:
    with pytest.raises(EnvelopeError) as refused:
        published.verify(address, identity_key)
    assert refused.value.kind == "signature"


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InboxError):
        KEY.publish(BOB, "bob/../rob")
    with pytest.raises(InboxError):
        open_envelope(bytes(200), key=KEY, address="")


def test_private_keys_and_plaintext_are_not_shown_or_copied() -> None:
    opened = open_envelope(seal_envelope(b"secret words", sender=ALICE, recipient=RECIPIENT), key=KEY, address="bob")
    assert "secret" not in repr(opened)
    assert KEY.private_bytes.hex() not in repr(KEY)
    for act in (copy.copy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled"):
            act(KEY)


def _signed(unsigned: bytes, signer: IdentityKeyPair) -> bytes:
    return unsigned + sign(signer, b"sb-envelope-v1" + unsigned)


def _refusal(envelope: bytes, **how: object) -> str:
    with pytest.raises(EnvelopeError) as refused:
        open_envelope(envelope, **how)  # type: ignore[arg-type]  # the keywords of the call, passed through
    return refused.value.kind
