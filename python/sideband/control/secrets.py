"""The secret of a data folder, which seals signing keys and keys the digests of Quick Connect codes.

It is kept apart from the store, so that a copy of the database alone can neither sign a token nor search for a code.
All nodes of one control plane need the same file (docs/adr/0030-signing-keys-at-rest.md).
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sideband.errors import ConfigError, StoreError

__all__ = ["ServerSecret", "private_folder", "private_text", "read_private_text"]

_NONCE_BYTES = 12
_SECRET_BYTES = 32


class ServerSecret:
    """32 random bytes in a file with mode 0600, made on first use."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != _SECRET_BYTES:
            raise ConfigError(f"the server secret has {len(secret)} bytes; expected {_SECRET_BYTES}")
        self._seal = ChaCha20Poly1305(_derive(secret, b"sideband signing key seal v1"))
        self._pepper = _derive(secret, b"sideband quick connect pepper v1")

    def __repr__(self) -> str:
        return "ServerSecret(...)"

    @classmethod
    def load(cls, path: Path) -> ServerSecret:
        """Read the secret at `path`, or make it.

        Raises:
            ConfigError: others can read the file, or it does not hold 64 hexadecimal digits.
        """
        text = private_text(path, lambda: secrets.token_hex(_SECRET_BYTES))
        try:
            return cls(bytes.fromhex(text))
        except ValueError as error:
            raise ConfigError(f"{path.name} is damaged: it is not 64 hexadecimal digits; restore a backup") from error

    @property
    def pepper(self) -> bytes:
        """The key of Quick Connect codes' digests."""
        return self._pepper

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Encrypt `plaintext`, bound to `context`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._seal.encrypt(nonce, plaintext, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt what `seal` made with the same `context`.

        Raises:
            StoreError: it was sealed with another secret or context, or was changed.
        """
        try:
            return self._seal.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError) as error:
            raise StoreError(
                "a signing key in the store does not open with this data folder's server.key; "
                "use the data folder that belongs to the store"
            ) from error


def private_folder(path: Path) -> Path:
    """Make a folder with mode 0700 unless it is there; return it.

    Raises:
        ConfigError: it cannot be made, or it is not a folder.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the data folder {path} cannot be made: {error.strerror}") from error
    return path


def private_text(path: Path, make: Callable[[], str]) -> str:
    """Return the text of a file that only its owner can read, writing `make()` to it first if it is not there.

    Two processes that start at once end up with the same text.

    Raises:
        ConfigError: others can read it, or it cannot be read or made.
    """
    try:
        if not path.exists():
            _create(path, make())
    except OSError as error:
        raise ConfigError(f"{path} cannot be made: {error.strerror}") from error
    return read_private_text(path)


def read_private_text(path: Path) -> str:
    """Return the text of a file that only its owner can read, without the space around it.

    Raises:
        ConfigError: others can read it, it is not there, or it is not ASCII.
    """
    try:
        with path.open(encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & 0o077:
                raise ConfigError(f"{path} can be read by others (mode {mode:04o}); run: chmod 600 {path}")
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _create(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link, not a rename: it never replaces what another process made meanwhile.
            path.hardlink_to(fresh)
        except FileExistsError:
            return
    finally:
        fresh.unlink()


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(secret)
