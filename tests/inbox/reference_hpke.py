"""HPKE in base mode as RFC 9180 writes it, on primitives of `cryptography` alone.

It stands between the RFC's vectors, which seal with associated data, and the library's one-shot call, which has none:
what reproduces the vectors and opens what the library sealed shows that the library speaks RFC 9180.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_KEM_SUITE = b"KEM" + (0x0020).to_bytes(2, "big")
_SUITE = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (0x0020, 0x0001, 0x0003))


@dataclass(frozen=True)
class Context:
    shared_secret: bytes
    key: bytes
    base_nonce: bytes

    def seal(self, plaintext: bytes, aad: bytes, sequence: int) -> bytes:
        return ChaCha20Poly1305(self.key).encrypt(self._nonce(sequence), plaintext, aad)

    def open(self, ciphertext: bytes, aad: bytes, sequence: int) -> bytes:
        return ChaCha20Poly1305(self.key).decrypt(self._nonce(sequence), ciphertext, aad)

    def _nonce(self, sequence: int) -> bytes:
        return bytes(a ^ b for a, b in zip(self.base_nonce, sequence.to_bytes(12, "big"), strict=True))


def sender_context(ephemeral: X25519PrivateKey, recipient: X25519PublicKey, info: bytes) -> Context:
    enc = ephemeral.public_key().public_bytes_raw()
    return _context(ephemeral.exchange(recipient), enc, recipient.public_bytes_raw(), info)


def receiver_context(enc: bytes, private_key: X25519PrivateKey, info: bytes) -> Context:
    shared = private_key.exchange(X25519PublicKey.from_public_bytes(enc))
    return _context(shared, enc, private_key.public_key().public_bytes_raw(), info)


def _context(shared: bytes, enc: bytes, recipient: bytes, info: bytes) -> Context:
    prk = _extract(_KEM_SUITE, b"", b"eae_prk", shared)
    secret = _expand(_KEM_SUITE, prk, b"shared_secret", enc + recipient, 32)
    schedule = b"\x00" + _extract(_SUITE, b"", b"psk_id_hash", b"") + _extract(_SUITE, b"", b"info_hash", info)
    root = _extract(_SUITE, secret, b"secret", b"")
    return Context(
        secret, _expand(_SUITE, root, b"key", schedule, 32), _expand(_SUITE, root, b"base_nonce", schedule, 12)
    )


def _extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + material, "sha256")


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    assert length <= sha256().digest_size
    return hmac.digest(prk, labelled + b"\x01", "sha256")[:length]
