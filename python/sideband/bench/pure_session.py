"""The secure session with ChaCha20-Poly1305 (RFC 8439) in plain Python: what it costs to have no native code at all."""

from hmac import compare_digest
from struct import Struct

from cryptography.exceptions import InvalidTag

from sideband.bench.openssl_session import OpensslSession

__all__ = ["PureSession", "chacha20_poly1305_open", "chacha20_poly1305_seal"]

_TAG_SIZE = 16
_BLOCK = Struct("<16I")
_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
_M = 0xFFFFFFFF
_P1305 = (1 << 130) - 5
_CLAMP = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF


class PureSession(OpensslSession):
    """The same session, with a cipher in Python."""

    __slots__ = ()

    def __init__(self, send_key: bytes, receive_key: bytes, sends: int, receives: int) -> None:
        super().__init__(send_key, receive_key, sends, receives)
        self._encrypt = _Cipher(send_key).encrypt
        self._decrypt = _Cipher(receive_key).decrypt


class _Cipher:
    """As `ChaCha20Poly1305` of `cryptography`, without associated data."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes | memoryview, _associated_data: None) -> bytes:
        return chacha20_poly1305_seal(self._key, nonce, bytes(data))

    def decrypt(self, nonce: bytes, data: bytes | memoryview, _associated_data: None) -> bytes:
        return chacha20_poly1305_open(self._key, nonce, bytes(data))


def chacha20_poly1305_seal(key: bytes, nonce: bytes, plaintext: bytes) -> bytes:
    """Return ciphertext and tag (RFC 8439, section 2.8), without associated data."""
    stream = _keystream(key, nonce, len(plaintext))
    ciphertext = _xor(plaintext, stream[64:])
    return ciphertext + _tag(stream[:32], ciphertext)


def chacha20_poly1305_open(key: bytes, nonce: bytes, sealed: bytes) -> bytes:
    """Return the plaintext of ciphertext and tag; InvalidTag when the tag is wrong."""
    ciphertext, tag = sealed[:-_TAG_SIZE], sealed[-_TAG_SIZE:]
    stream = _keystream(key, nonce, len(ciphertext))
    if not compare_digest(_tag(stream[:32], ciphertext), tag):
        raise InvalidTag
    return _xor(ciphertext, stream[64:])


def _keystream(key: bytes, nonce: bytes, size: int) -> bytes:
    """Block 0, which holds the one-time key of the tag, and as many more as `size` bytes need."""
    state = [*_CONSTANTS, *Struct("<8I").unpack(key), 0, *Struct("<3I").unpack(nonce)]
    blocks = []
    for counter in range(1 + (size + 63) // 64):
        state[12] = counter
        blocks.append(_block(state))
    return b"".join(blocks)


def _block(state: list[int]) -> bytes:
    # Written out: sixteen local names are three times as fast as a list and a loop over quarter rounds.
    a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3 = state
    for _ in range(10):
        a0 = (a0 + b0) & _M
        d0 ^= a0
        d0 = (d0 << 16 & _M) | d0 >> 16
        c0 = (c0 + d0) & _M
        b0 ^= c0
        b0 = (b0 << 12 & _M) | b0 >> 20
        a0 = (a0 + b0) & _M
        d0 ^= a0
        d0 = (d0 << 8 & _M) | d0 >> 24
        c0 = (c0 + d0) & _M
        b0 ^= c0
        b0 = (b0 << 7 & _M) | b0 >> 25
        a1 = (a1 + b1) & _M
        d1 ^= a1
        d1 = (d1 << 16 & _M) | d1 >> 16
        c1 = (c1 + d1) & _M
        b1 ^= c1
        b1 = (b1 << 12 & _M) | b1 >> 20
        a1 = (a1 + b1) & _M
        d1 ^= a1
        d1 = (d1 << 8 & _M) | d1 >> 24
        c1 = (c1 + d1) & _M
        b1 ^= c1
        b1 = (b1 << 7 & _M) | b1 >> 25
        a2 = (a2 + b2) & _M
        d2 ^= a2
        d2 = (d2 << 16 & _M) | d2 >> 16
        c2 = (c2 + d2) & _M
        b2 ^= c2
        b2 = (b2 << 12 & _M) | b2 >> 20
        a2 = (a2 + b2) & _M
        d2 ^= a2
        d2 = (d2 << 8 & _M) | d2 >> 24
        c2 = (c2 + d2) & _M
        b2 ^= c2
        b2 = (b2 << 7 & _M) | b2 >> 25
        a3 = (a3 + b3) & _M
        d3 ^= a3
        d3 = (d3 << 16 & _M) | d3 >> 16
        c3 = (c3 + d3) & _M
        b3 ^= c3
        b3 = (b3 << 12 & _M) | b3 >> 20
        a3 = (a3 + b3) & _M
        d3 ^= a3
        d3 = (d3 << 8 & _M) | d3 >> 24
        c3 = (c3 + d3) & _M
        b3 ^= c3
        b3 = (b3 << 7 & _M) | b3 >> 25
        a0 = (a0 + b1) & _M
        d3 ^= a0
        d3 = (d3 << 16 & _M) | d3 >> 16
        c2 = (c2 + d3) & _M
        b1 ^= c2
        b1 = (b1 << 12 & _M) | b1 >> 20
        a0 = (a0 + b1) & _M
        d3 ^= a0
        d3 = (d3 << 8 & _M) | d3 >> 24
        c2 = (c2 + d3) & _M
        b1 ^= c2
        b1 = (b1 << 7 & _M) | b1 >> 25
        a1 = (a1 + b2) & _M
        d0 ^= a1
        d0 = (d0 << 16 & _M) | d0 >> 16
        c3 = (c3 + d0) & _M
        b2 ^= c3
        b2 = (b2 << 12 & _M) | b2 >> 20
        a1 = (a1 + b2) & _M
        d0 ^= a1
        d0 = (d0 << 8 & _M) | d0 >> 24
        c3 = (c3 + d0) & _M
        b2 ^= c3
        b2 = (b2 << 7 & _M) | b2 >> 25
        a2 = (a2 + b3) & _M
        d1 ^= a2
        d1 = (d1 << 16 & _M) | d1 >> 16
        c0 = (c0 + d1) & _M
        b3 ^= c0
        b3 = (b3 << 12 & _M) | b3 >> 20
        a2 = (a2 + b3) & _M
        d1 ^= a2
        d1 = (d1 << 8 & _M) | d1 >> 24
        c0 = (c0 + d1) & _M
        b3 ^= c0
        b3 = (b3 << 7 & _M) | b3 >> 25
        a3 = (a3 + b0) & _M
        d2 ^= a3
        d2 = (d2 << 16 & _M) | d2 >> 16
        c1 = (c1 + d2) & _M
        b0 ^= c1
        b0 = (b0 << 12 & _M) | b0 >> 20
        a3 = (a3 + b0) & _M
        d2 ^= a3
        d2 = (d2 << 8 & _M) | d2 >> 24
        c1 = (c1 + d2) & _M
        b0 ^= c1
        b0 = (b0 << 7 & _M) | b0 >> 25
    words = (a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3)
    return _BLOCK.pack(*[(word + start) & _M for word, start in zip(words, state, strict=True)])


def _tag(one_time_key: bytes, ciphertext: bytes) -> bytes:
    r = int.from_bytes(one_time_key[:16], "little") & _CLAMP
    padded = ciphertext + bytes(-len(ciphertext) % 16) + Struct("<QQ").pack(0, len(ciphertext))
    total = 0
    for start in range(0, len(padded), 16):
        total = (total + int.from_bytes(padded[start : start + 16], "little") + (1 << 128)) * r % _P1305
    return ((total + int.from_bytes(one_time_key[16:], "little")) & ((1 << 128) - 1)).to_bytes(16, "little")


def _xor(data: bytes, stream: bytes) -> bytes:
    size = len(data)
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream[:size], "little")).to_bytes(size, "little")
