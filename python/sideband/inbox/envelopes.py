"""One-shot messages without a session: sealed to one recipient, signed by the sender (docs/protocol/inbox.md).

    key_pair = EnvelopeKeyPair.generate()                             # the recipient's, a key of its own
    published = key_pair.publish(identity, "bob")                     # what `register` hands to the inbox
    envelope = seal_envelope(b"hello", sender=identity, recipient=published.verify("bob", bobs_identity_key))
    opened = open_envelope(envelope, key=key_pair, address="bob")     # opened.sender, opened.plaintext

Encryption is HPKE in base mode (RFC 9180) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305. An
envelope has no forward secrecy against the loss of the recipient's envelope key, and nothing in it stops a repeat:
the inbox delivers each ciphertext once, and who stores envelopes elsewhere has to do the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from sideband._native import IdentityKeyPair, sign, verify_signature
from sideband.errors import EnvelopeError
from sideband.inbox.address import normalise_address

__all__ = [
    "ENVELOPE_OVERHEAD",
    "EnvelopeKeyPair",
    "OpenedEnvelope",
    "RecipientKey",
    "SignedEnvelopeKey",
    "open_envelope",
    "seal_envelope",
]

_MAGIC = b"SBE1"
_ENVELOPE_LABEL = b"sb-envelope-v1"
_KEY_LABEL = b"sb-envelope-key-v1"
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_TAG_BYTES = 16
_HEAD_BYTES = len(_MAGIC) + _KEY_BYTES
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)

ENVELOPE_OVERHEAD = _HEAD_BYTES + _KEY_BYTES + _TAG_BYTES + _SIGNATURE_BYTES
"""Bytes that an envelope has beyond its plaintext: 148."""


@dataclass(frozen=True, slots=True)
class RecipientKey:
    """A recipient's X25519 key that was verified as that of `address`; only `SignedEnvelopeKey.verify` makes it."""

    address: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class SignedEnvelopeKey:
    """A recipient's X25519 key (32 bytes) as it is published: with its identity's signature (64 bytes).

    The signature is over `"sb-envelope-key-v1"`, the key, and the address with its length before it (u16, big-endian),
    so that a key published for one address is none for another.
    """

    public_key: bytes
    signature: bytes

    def verify(self, address: str, identity_key: bytes) -> RecipientKey:
        """Return the key to seal to, if `identity_key` has signed it for `address`.

        Args:
            address: the recipient's address; normalised as the inbox does.
            identity_key: the Ed25519 key that you know to be the recipient's, such as a pinned one; never one that came
                along with this key.

        Raises:
            EnvelopeError: the signature is another's, or either has a wrong length (kind `signature`).
            InboxError: `address` is none (code `SHADE_VALIDATION`).
        """
        address = normalise_address(address)
        if len(self.public_key) != _KEY_BYTES or not verify_signature(
            identity_key, _key_statement(self.public_key, address), self.signature
        ):
            msg = f"the envelope key published for {address} is not signed by the identity key expected for it"
            raise EnvelopeError("signature", msg)
        return RecipientKey(address, self.public_key)


class EnvelopeKeyPair:
    """A recipient's X25519 key pair. It is a key of its own, never converted from the Ed25519 identity.

    Args:
        private_key: 32 bytes.

    Raises:
        ValueError: another length.
    """

    def __init__(self, private_key: bytes) -> None:
        self._private_key = X25519PrivateKey.from_private_bytes(private_key)
        self.public_key = self._private_key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> EnvelopeKeyPair:
        """Return a fresh key pair."""
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    @property
    def private_bytes(self) -> bytes:
        """The private key, 32 bytes, to be stored where only its owner reads."""
        return self._private_key.private_bytes_raw()

    def publish(self, identity: IdentityKeyPair, address: str) -> SignedEnvelopeKey:
        """Return the public key signed by `identity` for `address`.

        Raises:
            InboxError: `address` is none (code `SHADE_VALIDATION`).
        """
        statement = _key_statement(self.public_key, normalise_address(address))
        return SignedEnvelopeKey(self.public_key, sign(identity, statement))

    def decrypt(self, sealed: bytes, info: bytes) -> bytes:
        """Return the plaintext of HPKE's `enc` and ciphertext; `open_envelope` is what applications use.

        Raises:
            InvalidTag: of `cryptography`: sealed for another key or with another `info`, or altered.
        """
        return _SUITE.decrypt(sealed, self._private_key, info=info)

    def __repr__(self) -> str:
        return f"EnvelopeKeyPair(public_key={self.public_key.hex()})"

    def __reduce__(self) -> tuple[object, ...]:
        msg = "an EnvelopeKeyPair cannot be pickled or copied; keep it in its file"
        raise TypeError(msg)


@dataclass(frozen=True, slots=True, repr=False)
class OpenedEnvelope:
    """What an envelope held: the key (32 bytes) that signed it, verified, and the plaintext.

    `sender` proves who sealed the message, not that you trust them: compare it with the key that you expect.
    """

    sender: bytes
    plaintext: bytes

    def __repr__(self) -> str:
        return f"OpenedEnvelope(sender={self.sender.hex()}, {len(self.plaintext)} bytes)"


def seal_envelope(plaintext: bytes, *, sender: IdentityKeyPair, recipient: RecipientKey) -> bytes:
    """Return `plaintext` sealed to `recipient` and signed by `sender`, `ENVELOPE_OVERHEAD` bytes longer.

    `SBE1` | sender's Ed25519 key (32) | enc (32) | ciphertext | Ed25519 signature (64) over `"sb-envelope-v1"` and all
    bytes before it. HPKE's info is `"sb-envelope-v1"`, the sender's key, and the address with its length before it
    (u16, big-endian): so the envelope opens at this address only, and as this sender's only.

    Raises:
        EnvelopeError: the recipient's key is a point of small order (kind `key`).
    """
    try:
        public_key = X25519PublicKey.from_public_bytes(recipient.public_key)
        sealed = _SUITE.encrypt(plaintext, public_key, info=_info(sender.public_key, recipient.address))
    except ValueError as error:
        msg = f"the envelope key of {recipient.address} is no usable X25519 key; ask its owner to register again"
        raise EnvelopeError("key", msg) from error
    envelope = b"".join((_MAGIC, sender.public_key, sealed))
    return envelope + sign(sender, _ENVELOPE_LABEL + envelope)


def open_envelope(
    envelope: bytes, *, key: EnvelopeKeyPair, address: str, sender: bytes | None = None
) -> OpenedEnvelope:
    """Return who sealed `envelope` and what is in it. The signature is verified before anything is decrypted.

    Args:
        envelope: what `seal_envelope` made.
        key: the recipient's key pair.
        address: the address at which the envelope arrived; normalised as the inbox does.
        sender: the Ed25519 key (32 bytes) that has to have signed it; None accepts any, and the caller decides by
            `OpenedEnvelope.sender`.

    Raises:
        EnvelopeError: too short or of another format (kind `format`), not signed by the key it names or by `sender`
            (kind `signature`), or sealed for another key, address or sender, or altered (kind `decrypt`).
        InboxError: `address` is none (code `SHADE_VALIDATION`).
    """
    address = normalise_address(address)
    if len(envelope) < ENVELOPE_OVERHEAD or not envelope.startswith(_MAGIC):
        msg = f"expected an envelope: SBE1 and at least {ENVELOPE_OVERHEAD} bytes; got {len(envelope)} bytes"
        raise EnvelopeError("format", msg)
    named, signed = envelope[len(_MAGIC) : _HEAD_BYTES], envelope[:-_SIGNATURE_BYTES]
    if sender is not None and named != sender:
        raise EnvelopeError("signature", "the envelope names another sender than the one expected")
    if not verify_signature(named, _ENVELOPE_LABEL + signed, envelope[-_SIGNATURE_BYTES:]):
        raise EnvelopeError("signature", "the envelope is not signed by the key that it names as its sender")
    try:
        plaintext = key.decrypt(signed[_HEAD_BYTES:], _info(named, address))
    except (InvalidTag, ValueError):
        msg = f"the envelope does not open with this key at {address}: it was sealed for another key or address"
        raise EnvelopeError("decrypt", msg) from None
    return OpenedEnvelope(named, plaintext)


def _info(sender_key: bytes, address: str) -> bytes:
    return b"".join((_ENVELOPE_LABEL, sender_key, _with_length(address)))


def _key_statement(public_key: bytes, address: str) -> bytes:
    return b"".join((_KEY_LABEL, public_key, _with_length(address)))


def _with_length(address: str) -> bytes:
    encoded = address.encode()
    return len(encoded).to_bytes(2, "big") + encoded
