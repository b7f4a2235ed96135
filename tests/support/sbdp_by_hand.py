"""SBDP written a second time, from docs/protocol/sbdp.md and the Noise specification alone, over `cryptography`.

It shares no code with `sideband`, so that what both agree on is what the page says.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

DATA, PING, PONG, CLOSE, NEXT_KEY = range(5)
SEALED = 0x10


def prologue(transport: str, binding: bytes = b"") -> bytes:
    parts = (b"sbdp/1", transport.encode(), binding)
    return b"".join(struct.pack(">H", len(part)) + part for part in parts)


def public_key(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def hkdf(salt: bytes, material: bytes, info: bytes) -> tuple[bytes, bytes]:
    """HKDF-SHA256 of RFC 5869 to 64 bytes, in halves. With no info it is the HKDF of the Noise specification."""
    secret = hmac.digest(salt, material, "sha256")
    first = hmac.digest(secret, info + b"\x01", "sha256")
    return first, hmac.digest(secret, first + info + b"\x02", "sha256")


class Noise:
    """One side of Noise_XX_25519_ChaChaPoly_SHA256 (Noise specification, revision 34, sections 5 and 7.5)."""

    NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"

    def __init__(self, *, initiator: bool, static: bytes, ephemeral: bytes, bound_to: bytes) -> None:
        self.initiator = initiator
        self.static, self.ephemeral = static, ephemeral
        self.remote_static = self.remote_ephemeral = b""
        self.hash = self.chaining = self.NAME  # exactly 32 bytes
        self.key: bytes | None = None
        self.nonce = 0
        self._mix_hash(bound_to)

    def write_first(self, payload: bytes = b"") -> bytes:
        return self._put_ephemeral() + self._seal(payload)

    def read_first(self, message: bytes) -> bytes:
        return self._open(self._take_ephemeral(message))

    def write_second(self, payload: bytes) -> bytes:
        message = self._put_ephemeral()
        self._mix(self.ephemeral, self.remote_ephemeral)
        message += self._seal(public_key(self.static))
        self._mix(self.static, self.remote_ephemeral)
        return message + self._seal(payload)

    def read_second(self, message: bytes) -> bytes:
        rest = self._take_ephemeral(message)
        self._mix(self.ephemeral, self.remote_ephemeral)
        self.remote_static = self._open(rest[:48])
        self._mix(self.ephemeral, self.remote_static)
        return self._open(rest[48:])

    def write_third(self, payload: bytes) -> bytes:
        message = self._seal(public_key(self.static))
        self._mix(self.static, self.remote_ephemeral)
        return message + self._seal(payload)

    def read_third(self, message: bytes) -> bytes:
        self.remote_static = self._open(message[:48])
        self._mix(self.ephemeral, self.remote_static)
        return self._open(message[48:])

    def split(self) -> tuple[bytes, bytes]:
        """What the initiator sends with, and what the responder sends with."""
        return hkdf(self.chaining, b"", b"")

    def _mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def _mix(self, private: bytes, public: bytes) -> None:
        shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
        self.chaining, self.key = hkdf(self.chaining, shared, b"")
        self.nonce = 0

    def _put_ephemeral(self) -> bytes:
        own = public_key(self.ephemeral)
        self._mix_hash(own)
        return own

    def _take_ephemeral(self, message: bytes) -> bytes:
        self.remote_ephemeral = message[:32]
        self._mix_hash(self.remote_ephemeral)
        return message[32:]

    def _seal(self, plaintext: bytes) -> bytes:
        sealed = plaintext
        if self.key is not None:
            sealed = ChaCha20Poly1305(self.key).encrypt(self._next_nonce(), plaintext, self.hash)
        self._mix_hash(sealed)
        return sealed

    def _open(self, sealed: bytes) -> bytes:
        plaintext = sealed
        if self.key is not None:
            plaintext = ChaCha20Poly1305(self.key).decrypt(self._next_nonce(), sealed, self.hash)
        self._mix_hash(sealed)
        return plaintext

    def _next_nonce(self) -> bytes:
        nonce = struct.pack("<IQ", 0, self.nonce)
        self.nonce += 1
        return nonce


class Records:
    """One direction: 1 from the initiator, 2 from the responder."""

    def __init__(self, key: bytes, direction: int) -> None:
        self.key, self.direction, self.sequence = key, direction, 0

    def seal(self, kind: int, content: bytes = b"") -> bytes:
        sealed = ChaCha20Poly1305(self.key).encrypt(self.nonce(), bytes([kind]) + content, None)
        self._count(kind)
        return sealed

    def open(self, sealed: bytes) -> tuple[int, bytes]:
        plaintext = ChaCha20Poly1305(self.key).decrypt(self.nonce(), sealed, None)
        self._count(plaintext[0])
        return plaintext[0], plaintext[1:]

    def nonce(self) -> bytes:
        return struct.pack(">IQ", self.direction, self.sequence)

    def _count(self, kind: int) -> None:
        self.sequence += 1
        if kind == NEXT_KEY:
            self.key, self.sequence = hkdf(bytes(32), self.key, b"sbdp-1-next")[0], 0


class Side:
    """One side of a session, message by message; each has its type byte."""

    def __init__(
        self,
        name: str,
        *,
        initiator: bool,
        static: bytes,
        ephemeral: bytes,
        bound_to: bytes,
        signer: Ed25519PrivateKey | None = None,
        caps: tuple[str, ...] = (),
    ) -> None:
        self.name, self.signer, self.caps = name, signer, caps
        self.noise = Noise(initiator=initiator, static=static, ephemeral=ephemeral, bound_to=bound_to)
        self.sending: Records
        self.receiving: Records

    def payload(self) -> bytes:
        fields: dict[str, object] = {"v": 1, "name": self.name}
        if self.signer is not None:
            signed = b"sbdp-v1-identity" + public_key(self.noise.static) + self.noise.hash
            fields["ed25519"] = self.signer.public_key().public_bytes_raw()
            fields["sig"] = self.signer.sign(signed)
        if self.caps:
            fields["caps"] = list(self.caps)
        packed: bytes = msgpack.packb(fields)
        return packed

    def first(self) -> bytes:
        return b"\x01" + self.noise.write_first()

    def second(self, first: bytes) -> bytes:
        assert first[0] == 1
        assert self.noise.read_first(first[1:]) == b""
        return b"\x02" + self.noise.write_second(self.payload())

    def third(self, second: bytes) -> tuple[bytes, dict[str, object]]:
        assert second[0] == 2
        said = msgpack.unpackb(self.noise.read_second(second[1:]))
        third = b"\x03" + self.noise.write_third(self.payload())
        self._begin()
        return third, said

    def take_third(self, third: bytes) -> dict[str, object]:
        assert third[0] == 3
        said: dict[str, object] = msgpack.unpackb(self.noise.read_third(third[1:]))
        self._begin()
        return said

    def seal(self, kind: int, content: bytes = b"") -> bytes:
        return bytes([SEALED]) + self.sending.seal(kind, content)

    def open(self, message: bytes) -> tuple[int, bytes]:
        assert message[0] == SEALED
        return self.receiving.open(message[1:])

    def _begin(self) -> None:
        up, down = self.noise.split()
        one, two = Records(up, 1), Records(down, 2)
        self.sending, self.receiving = (one, two) if self.noise.initiator else (two, one)
