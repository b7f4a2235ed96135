"""Pins in a SQLite file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sideband.daemon_id import check_daemon_id
from sideband.errors import IdentityStoreError
from sideband.identity.private_file import make_private_folder
from sideband.identity.store import check_pin

__all__ = ["SqliteIdentityKeyStore"]

_VERSION = 1
_SCHEMA = "CREATE TABLE IF NOT EXISTS pins (daemon_id BLOB PRIMARY KEY, identity_key BLOB NOT NULL) WITHOUT ROWID"


class SqliteIdentityKeyStore:
    """Pins in one SQLite file of mode 0600.

    Each call opens the file, works in a thread, and closes it again: pins are few, and nothing has to be closed by the
    caller. Several processes can share the file.

    Args:
        path: the file; made on first use, missing folders with mode 0700.
        busy_timeout: seconds to wait while another process writes.
    """

    def __init__(self, path: str | Path, *, busy_timeout: float = 5.0) -> None:
        self.path = Path(path)
        self.busy_timeout = busy_timeout

    async def get(self, daemon_id: str) -> bytes | None:
        """Return the key pinned for `daemon_id`, or None.

        Raises:
            IdentityStoreError: the file is damaged, locked, of a newer version, or cannot be read.
        """
        key = check_daemon_id(daemon_id).encode()
        rows = await self._run("SELECT identity_key FROM pins WHERE daemon_id = ?", (key,))
        return check_pin(daemon_id, rows[0][0]) if rows else None

    async def set(self, daemon_id: str, identity_key: bytes) -> None:
        """Pin `identity_key` for `daemon_id`; it is on the disk once this returns.

        Raises:
            IdentityStoreError: the file cannot be written, or the key is not 32 bytes.
        """
        statement = "INSERT INTO pins VALUES (?, ?) ON CONFLICT DO UPDATE SET identity_key = excluded.identity_key"
        identity_key = check_pin(daemon_id, identity_key)
        await self._run(statement, (daemon_id.encode(), identity_key))

    async def delete(self, daemon_id: str) -> None:
        """Forget the pin of `daemon_id`; nothing happens when there is none.

        Raises:
            IdentityStoreError: the file cannot be written.
        """
        await self._run("DELETE FROM pins WHERE daemon_id = ?", (check_daemon_id(daemon_id).encode(),))

    async def entries(self) -> dict[str, bytes]:
        """Return every pin, by daemon id.

        Raises:
            IdentityStoreError: the file is damaged, locked, of a newer version, or cannot be read.
        """
        rows = await self._run("SELECT daemon_id, identity_key FROM pins ORDER BY daemon_id", ())
        return {daemon_id.decode(): check_pin(daemon_id.decode(), identity_key) for daemon_id, identity_key in rows}

    async def _run(self, statement: str, values: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
        return await asyncio.to_thread(self._run_in_thread, statement, values)

    def _run_in_thread(self, statement: str, values: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
        try:
            self._make_file()
            with closing(sqlite3.connect(self.path, timeout=self.busy_timeout)) as connection, connection:
                self._prepare(connection)
                rows: list[tuple[bytes, ...]] = connection.execute(statement, values).fetchall()
                return rows
        except (sqlite3.Error, OSError) as error:
            msg = f"the pin store {self.path} failed: {error}"
            raise IdentityStoreError(msg) from error

    def _make_file(self) -> None:
        make_private_folder(self.path.parent)
        # SQLite gives its journal the mode of the file, so making the file first makes both private.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        if os.name == "posix" and self.path.stat().st_mode & 0o077:
            msg = f"{self.path} is open to other users; if its content is still yours alone: chmod 600 {self.path}"
            raise IdentityStoreError(msg)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            msg = f"{self.path} has version {version}, this release knows {_VERSION}; use the release that wrote it"
            raise IdentityStoreError(msg)
        if version < _VERSION:
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
