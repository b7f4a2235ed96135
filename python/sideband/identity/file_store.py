"""Pins as files: one a daemon, under one folder."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sideband.daemon_id import check_daemon_id
from sideband.errors import IdentityStoreError
from sideband.identity.pin_record import decode_pin, encode_pin, pin_name
from sideband.identity.private_file import read_private, replace_private
from sideband.identity.store import check_pin

__all__ = ["FileIdentityKeyStore"]

_SUFFIX = ".pin"


class FileIdentityKeyStore:
    """Pins in files of mode 0600, one a daemon, each written in one step.

    A file is named by the SHA-256 of its daemon id, so no id can leave the folder, meet a reserved name, or fall
    together with another on a file system that ignores case. Several processes can share the folder.

    Args:
        folder: where the files are; made with mode 0700 when the first pin is set.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    async def get(self, daemon_id: str) -> bytes | None:
        """Return the key pinned for `daemon_id`, or None.

        Raises:
            IdentityStoreError: the file is damaged, open to other users, or cannot be read.
        """
        return await asyncio.to_thread(self._get, check_daemon_id(daemon_id))

    async def set(self, daemon_id: str, identity_key: bytes) -> None:
        """Pin `identity_key` for `daemon_id`; it is on the disk once this returns.

        Raises:
            IdentityStoreError: the file cannot be written, or the key is not 32 bytes.
        """
        record = encode_pin(daemon_id, check_pin(daemon_id, identity_key))
        await asyncio.to_thread(replace_private, self._path(daemon_id), record.encode())

    async def delete(self, daemon_id: str) -> None:
        """Forget the pin of `daemon_id`; nothing happens when there is none.

        Raises:
            IdentityStoreError: the file cannot be removed.
        """
        await asyncio.to_thread(self._delete, check_daemon_id(daemon_id))

    async def entries(self) -> dict[str, bytes]:
        """Return every pin, by daemon id.

        Raises:
            IdentityStoreError: a file is damaged, open to other users, or cannot be read.
        """
        return await asyncio.to_thread(self._entries)

    def _path(self, daemon_id: str) -> Path:
        return self.folder / (pin_name(daemon_id) + _SUFFIX)

    def _get(self, daemon_id: str) -> bytes | None:
        path = self._path(daemon_id)
        content = read_private(path)
        if content is None:
            return None
        recorded_id, identity_key = decode_pin(str(path), content)
        if recorded_id != daemon_id:
            msg = f"{path} holds the pin of another daemon; someone moved it here"
            raise IdentityStoreError(msg)
        return identity_key

    def _delete(self, daemon_id: str) -> None:
        path = self._path(daemon_id)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            msg = f"cannot remove {path}: {error.strerror}"
            raise IdentityStoreError(msg) from error

    def _entries(self) -> dict[str, bytes]:
        pins: dict[str, bytes] = {}
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            content = read_private(path)
            if content is not None:
                daemon_id, identity_key = decode_pin(str(path), content)
                pins[daemon_id] = identity_key
        return pins
