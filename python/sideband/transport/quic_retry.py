"""The first datagram of a QUIC connection, and the answer that has its sender prove his address (RFC 9000, 8.1.2)."""

from __future__ import annotations

import hmac
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["ID_BYTES", "VERSION_1", "FirstDatagram", "RetryTokens", "version_negotiation"]

ID_BYTES: Final = 8
"""Of the connection ids that are issued here, which is how short headers are read."""
VERSION_1: Final = 1
TOKEN_SECONDS: Final = 10.0
"""How long a proof of an address holds."""


@dataclass(frozen=True, slots=True)
class FirstDatagram:
    """What a datagram that begins a connection says in the clear.

    Attributes:
        version: of QUIC.
        target: the connection id it is for.
        source: the connection id of its sender.
        token: what a retry gave to it, empty without one.
        packet_bytes: of its first packet.
    """

    version: int
    target: bytes
    source: bytes
    token: bytes
    packet_bytes: int

    @classmethod
    def parse(cls, data: bytes) -> FirstDatagram | None:
        """Read the long header (RFC 9000, 17.2); None when it is none, or no first packet of version 1."""
        try:
            version = _VERSION.unpack_from(data, 1)[0]
            target, at = _counted(data, 5)
            source, at = _counted(data, at)
            if version != VERSION_1:
                return cls(version, target, source, b"", len(data))
            size, at = _varint(data, at)
            token, at = data[at : at + size], at + size
            length, at = _varint(data, at)
        except (IndexError, struct.error):
            return None
        first = data[0] & _INITIAL_MASK == _INITIAL
        return cls(version, target, source, token, at + length) if first and at + length <= len(data) else None


class RetryTokens:
    """Makes and checks proofs of an address. They are known by a key that lives as long as this object.

    Args:
        now: where time comes from.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._key = os.urandom(32)
        self._now = now

    def retry(self, first: FirstDatagram, address: Any) -> bytes:
        """Return the packet that asks the sender to come again, with a token (RFC 9001, 5.8)."""
        name = os.urandom(ID_BYTES)
        until = _UNTIL.pack(self._now() + TOKEN_SECONDS)
        token = until + first.target + self._proof(until, first.target, name, address)
        packet = b"".join(
            (b"\xf0", _VERSION.pack(VERSION_1), _count(first.source), first.source, _count(name), name, token)
        )
        tag = _RETRY.encrypt(_RETRY_NONCE, b"", _count(first.target) + first.target + packet)
        return packet + tag

    def original_target(self, first: FirstDatagram, address: Any) -> bytes | None:
        """Return the connection id that the sender chose before the retry; None when his token proves nothing."""
        until, target, proof = first.token[:8], first.token[8:-_PROOF_BYTES], first.token[-_PROOF_BYTES:]
        if len(until) < 8 or not hmac.compare_digest(proof, self._proof(until, target, first.target, address)):
            return None
        return target if _UNTIL.unpack(until)[0] >= self._now() else None

    def _proof(self, until: bytes, target: bytes, name: bytes, address: Any) -> bytes:
        host, port = address[0].encode(), struct.pack(">H", address[1])
        parts = b"".join(_count(part) + part for part in (until, target, name, host, port))
        return hmac.digest(self._key, parts, "sha256")[:_PROOF_BYTES]


def version_negotiation(first: FirstDatagram) -> bytes:
    """Return the answer to a version that is not spoken here (RFC 8999, 6)."""
    names = _count(first.source) + first.source + _count(first.target) + first.target
    return b"\x80" + bytes(4) + names + _VERSION.pack(VERSION_1)


def _count(part: bytes) -> bytes:
    return bytes((len(part),))


def _counted(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end], end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable-length integer and where it ends (RFC 9000, 16)."""
    size = 1 << (data[at] >> 6)
    return int.from_bytes(data[at : at + size]) & ((1 << (8 * size - 2)) - 1), at + size


_INITIAL_MASK = 0xB0
_INITIAL = 0x80
"""A long header whose kind is zero, in which nothing but the fixed bit may be set besides (RFC 9000, 17.2.2)."""
_PROOF_BYTES = 16
_VERSION = struct.Struct(">I")
_UNTIL = struct.Struct(">d")
# Key and nonce are public: they only show that a retry was made by somebody who has seen the first packet.
_RETRY = AESGCM(bytes.fromhex("be0c690b9f66575a1d766b54e368c84e"))
_RETRY_NONCE = bytes.fromhex("461599d35d632bf2239825bb")
