"""Key pairs kept in files."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from sideband._native import IdentityKeyPair, NoiseKeyPair, compute_fingerprint
from sideband.errors import IdentityStoreError
from sideband.identity.private_file import create_private, read_private, replace_private

__all__ = ["FileIdentity", "FileStaticKey"]

_VERSION = 1
_KEY_BYTES = 32

Pair = TypeVar("Pair", IdentityKeyPair, NoiseKeyPair)


class _KeyFile(Generic[Pair]):
    """A key pair loaded from `path`, or made there on first use.

    Attributes:
        path: where the key is kept.
        created: whether it was made just now.
        key_pair: the key pair.
    """

    _kind: str
    _load: Callable[[bytes], Pair]

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        content = read_private(self.path)
        self.created = False
        if content is None:
            fresh, fresh_key_pair = self._generate()
            self.created = create_private(self.path, fresh)
            if self.created:
                self.key_pair: Pair = fresh_key_pair
                return
            # Another process made it between the two steps; its key is the one that counts.
            content = read_private(self.path)
        if content is None:
            msg = f"{self.path} vanished while it was read; try again"
            raise IdentityStoreError(msg)
        self.key_pair = self._parse(content)

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""
        return self.key_pair.public_key

    @property
    def fingerprint(self) -> str:
        """The fingerprint to show and compare: `SHA256:` and 32 hex pairs."""
        return compute_fingerprint(self.public_key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {self.fingerprint})"

    def _generate(self) -> tuple[bytes, Pair]:
        private_key = secrets.token_bytes(_KEY_BYTES)
        key_pair = self._load(private_key)
        fields = {
            "v": _VERSION,
            "kind": self._kind,
            "private_key": base64.b64encode(private_key).decode(),
            "public_key": base64.b64encode(key_pair.public_key).decode(),
        }
        return json.dumps(fields).encode() + b"\n", key_pair

    def _parse(self, content: bytes) -> Pair:
        # `from None` throughout: the context of a parse error would carry the text of the private key.
        try:
            fields: Any = json.loads(content)
        except ValueError:
            raise self._damaged("it is not JSON") from None
        if not isinstance(fields, dict) or fields.get("kind") != self._kind:
            raise self._damaged(f"its kind is not {self._kind}")
        if fields.get("v") != _VERSION:
            came = fields.get("v")
            msg = f"{self.path} has version {came!r}, this release knows {_VERSION}; use the release that wrote it"
            raise IdentityStoreError(msg)
        private_key, public_key = self._key(fields, "private_key"), self._key(fields, "public_key")
        key_pair = self._load(private_key)
        if key_pair.public_key != public_key:
            raise self._damaged("its two keys do not belong together")
        return key_pair

    def _key(self, fields: dict[str, Any], name: str) -> bytes:
        try:
            key = base64.b64decode(fields[name], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise self._damaged(f"{name} is missing or not base64") from None
        if len(key) != _KEY_BYTES:
            raise self._damaged(f"{name} is not {_KEY_BYTES} bytes")
        return key

    def _damaged(self, why: str) -> IdentityStoreError:
        return IdentityStoreError(
            f"{self.path} is not an identity file: {why}; restore it from a backup or move it away"
        )


class FileIdentity(_KeyFile[IdentityKeyPair]):
    """The identity key pair of a daemon, loaded from `path`, or made there on first use.

    The file has mode 0600 and is written in one step. It is JSON: `v` (1), `kind` (`sideband-identity`), and base64 of
    `private_key` and `public_key`, 32 bytes each. The constructor reads or writes this one small file synchronously.
    On Windows the folder's access list protects the file; keep it in the user's profile.

    Args:
        path: where the key is kept; missing folders are made with mode 0700.

    Raises:
        IdentityStoreError: the file is open to other users, belongs to another one, is damaged, is of a newer version,
            or cannot be read or written. It is never overwritten in that case.
    """

    _kind = "sideband-identity"
    _load = staticmethod(IdentityKeyPair.from_private_bytes)

    def rotate(self) -> IdentityKeyPair:
        """Put a new key in place of the current one, in one step, and return the old pair.

        The caller signs the rotation statement with the old pair (docs/protocol/rotation.md); clients that pinned the
        old key refuse the new one without it.

        Raises:
            IdentityStoreError: the file cannot be written; the old key stays in use.
        """
        fresh, fresh_key_pair = self._generate()
        replace_private(self.path, fresh)
        old, self.key_pair = self.key_pair, fresh_key_pair
        return old


class FileStaticKey(_KeyFile[NoiseKeyPair]):
    """The static X25519 key pair of direct sessions (docs/protocol/sbdp.md), kept as `FileIdentity` keeps its own.

    The file's `kind` is `sideband-static-key`.

    Args:
        path: where the key is kept; missing folders are made with mode 0700.

    Raises:
        IdentityStoreError: as for `FileIdentity`.
    """

    _kind = "sideband-static-key"
    _load = staticmethod(NoiseKeyPair.from_private_bytes)
