"""The secure session written in Python over the package `cryptography`, so over OpenSSL's ChaCha20-Poly1305.

The same checks as ours in the same order. What helps in Python is done: one precompiled struct for header and nonce
together, bound methods, no copy of a payload on opening. `encrypt_into` a buffer made beforehand was measured too: it
is slower up to 16 KiB and no faster above.
"""

from collections.abc import Callable
from struct import Struct
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from sideband.bench.replay_window import PythonReplayWindow

__all__ = ["OpensslSession", "SessionError"]

CLIENT_TO_DAEMON = 1
DAEMON_TO_CLIENT = 2

_DATA = 0x03
_MAX_PLAINTEXT = 65_508
_MAX_SEQUENCE = 2**64 - 2
# Type, payload length, session id, direction, sequence: the header and the nonce are neighbours on the wire.
_PREFIX = Struct(">BIQIQ")
_PREFIX_SIZE = _PREFIX.size
_NONCE_START = 13
_TAG_SIZE = 16


_Cipher: TypeAlias = Callable[[bytes, bytes | memoryview, None], bytes]


class SessionError(Exception):
    """A message was refused."""


class OpensslSession:
    """One side of a session: seals in one direction and opens in the other."""

    __slots__ = ("_decrypt", "_encrypt", "_receives", "_sends", "_sequence", "_window")

    def __init__(self, send_key: bytes, receive_key: bytes, sends: int, receives: int) -> None:
        self._encrypt: _Cipher = ChaCha20Poly1305(send_key).encrypt
        self._decrypt: _Cipher = ChaCha20Poly1305(receive_key).decrypt
        self._sends = sends
        self._receives = receives
        self._sequence = 0
        self._window = PythonReplayWindow()

    def seal_frame(self, session_id: int, plaintext: bytes) -> bytes:
        """Return a whole Data frame around `plaintext`."""
        size = len(plaintext)
        if size > _MAX_PLAINTEXT:
            raise SessionError("payload_too_large")
        sequence = self._sequence
        if sequence > _MAX_SEQUENCE:
            raise SessionError("sequence_error")
        self._sequence = sequence + 1
        prefix = _PREFIX.pack(_DATA, 28 + size, session_id, self._sends, sequence)
        return prefix + self._encrypt(prefix[_NONCE_START:], plaintext, None)

    def open_frame(self, frame: bytes) -> bytes:
        """Return the plaintext of a whole Data frame, checked and marked as seen."""
        if len(frame) < _PREFIX_SIZE + _TAG_SIZE:
            raise SessionError("malformed_frame")
        kind, length, session_id, direction, sequence = _PREFIX.unpack_from(frame)
        if kind != _DATA or session_id == 0 or length != len(frame) - _NONCE_START:
            raise SessionError("malformed_frame")
        if direction != self._receives:
            raise SessionError("decrypt_failed")
        if not self._window.check(sequence):
            raise SessionError("sequence_error")
        try:
            plaintext = self._decrypt(frame[_NONCE_START:_PREFIX_SIZE], memoryview(frame)[_PREFIX_SIZE:], None)
        except InvalidTag:
            raise SessionError("decrypt_failed") from None
        self._window.mark(sequence)
        return plaintext
