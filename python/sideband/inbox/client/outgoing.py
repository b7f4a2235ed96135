"""What is still to be sent, kept in memory or in a SQLite file that survives a restart."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Protocol, TypeVar

from sideband.errors import BridgeError, IdentityStoreError, StoreError
from sideband.identity.private_file import make_private_folder

__all__ = ["MemoryOutgoingQueue", "OutgoingMessage", "OutgoingQueue", "QueueLimits", "SqliteOutgoingQueue"]

_T = TypeVar("_T")

_VERSION = 1
_SCHEMA = """CREATE TABLE IF NOT EXISTS outgoing (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  address TEXT NOT NULL,
  ttl_seconds INTEGER,
  envelope BLOB NOT NULL
)"""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much may wait to be sent.

    Attributes:
        messages: 10,000.
        bytes: of all envelopes together; 256 MiB.
    """

    messages: int = 10_000
    bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message that waits: its number in the queue, which is its order, and what is to be put where."""

    number: int
    address: str
    envelope: bytes
    ttl_seconds: int | None

    @property
    def msg_id(self) -> str:
        """SHA-256 of the envelope, 64 lowercase hex digits."""
        return sha256(self.envelope).hexdigest()

    def __repr__(self) -> str:
        return f"OutgoingMessage({self.number}, {self.address!r}, {len(self.envelope)} bytes)"


class OutgoingQueue(Protocol):
    """Messages in the order in which they were added."""

    async def add(self, address: str, envelope: bytes, ttl_seconds: int | None) -> int:
        """Add a message and return its number; it is safe once this returns.

        Raises:
            BridgeError: the queue is full (kind `queue_full`); nothing was added.
            StoreError: it cannot be written; nothing was added.
        """

    async def next_of(self, address: str) -> OutgoingMessage | None:
        """Return the oldest message for an address."""

    async def addresses(self) -> list[str]:
        """Return the addresses for which something waits, the one waiting longest first."""

    async def remove(self, number: int) -> None:
        """Forget a message; nothing happens when it is gone."""


class MemoryOutgoingQueue:
    """Messages that wait in memory and end with the process."""

    def __init__(self, limits: QueueLimits = QueueLimits()) -> None:
        self._limits = limits
        self._numbers = count(1)
        self._messages: dict[int, OutgoingMessage] = {}
        self._bytes = 0

    async def add(self, address: str, envelope: bytes, ttl_seconds: int | None) -> int:
        """Add a message and return its number."""
        _check_room(self._limits, len(self._messages), self._bytes, len(envelope))
        number = next(self._numbers)
        self._messages[number] = OutgoingMessage(number, address, bytes(envelope), ttl_seconds)
        self._bytes += len(envelope)
        return number

    async def next_of(self, address: str) -> OutgoingMessage | None:
        """Return the oldest message for an address."""
        return next((message for message in self._messages.values() if message.address == address), None)

    async def addresses(self) -> list[str]:
        """Return the addresses for which something waits."""
        return list(dict.fromkeys(message.address for message in self._messages.values()))

    async def remove(self, number: int) -> None:
        """Forget a message."""
        message = self._messages.pop(number, None)
        if message is not None:
            self._bytes -= len(message.envelope)


class SqliteOutgoingQueue:
    """Messages that wait in a SQLite file of mode 0600; one that was added survives the process and a power cut.

    One process at a time may send from a file; several may add to it.

    Args:
        path: the file; made on first use, missing folders with mode 0700.
        limits: how much may wait.
        busy_timeout: seconds to wait while another process writes.
    """

    def __init__(
        self,
        path: str | Path,
        limits: QueueLimits = QueueLimits(),
        *,
        busy_timeout: float = 5.0,
    ) -> None:
        self.path = Path(path)
        self._limits = limits
        self._busy_timeout = busy_timeout

    async def add(self, address: str, envelope: bytes, ttl_seconds: int | None) -> int:
        """Add a message and return its number; it is on the disk once this returns."""

        def insert(connection: sqlite3.Connection) -> int:
            connection.execute("BEGIN IMMEDIATE")
            messages, held_bytes = connection.execute(
                "SELECT count(*), coalesce(sum(length(envelope)), 0) FROM outgoing"
            ).fetchone()
            _check_room(self._limits, messages, held_bytes, len(envelope))
            row = connection.execute(
                "INSERT INTO outgoing (address, ttl_seconds, envelope) VALUES (?, ?, ?) RETURNING number",
                (address, ttl_seconds, envelope),
            ).fetchone()
            return int(row[0])

        return await self._run(insert)

    async def next_of(self, address: str) -> OutgoingMessage | None:
        """Return the oldest message for an address."""
        select = "SELECT number, address, envelope, ttl_seconds FROM outgoing WHERE address = ? ORDER BY number LIMIT 1"
        row = await self._run(lambda connection: connection.execute(select, (address,)).fetchone())
        return None if row is None else OutgoingMessage(*row)

    async def addresses(self) -> list[str]:
        """Return the addresses for which something waits."""
        select = "SELECT address FROM outgoing GROUP BY address ORDER BY min(number)"
        return [row[0] for row in await self._run(lambda connection: connection.execute(select).fetchall())]

    async def remove(self, number: int) -> None:
        """Forget a message."""
        await self._run(lambda connection: connection.execute("DELETE FROM outgoing WHERE number = ?", (number,)))

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await asyncio.to_thread(self._run_in_thread, work)

    def _run_in_thread(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            self._make_file()
            with closing(sqlite3.connect(self.path, timeout=self._busy_timeout)) as connection, connection:
                connection.execute("PRAGMA synchronous = FULL")
                self._prepare(connection)
                return work(connection)
        except (sqlite3.Error, OSError, IdentityStoreError) as error:
            msg = f"the outgoing queue {self.path} failed: {error}"
            raise StoreError(msg) from error

    def _make_file(self) -> None:
        make_private_folder(self.path.parent)
        # SQLite gives its journal the mode of the file, so making the file first makes both private.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        if os.name == "posix" and self.path.stat().st_mode & 0o077:
            msg = f"{self.path} is open to other users; if its content is still yours alone: chmod 600 {self.path}"
            raise StoreError(msg)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            msg = f"{self.path} has version {version}, this release knows {_VERSION}; use the release that wrote it"
            raise StoreError(msg)
        if version < _VERSION:
            connection.execute(_SCHEMA)
            connection.execute("CREATE INDEX IF NOT EXISTS outgoing_order ON outgoing (address, number)")
            connection.execute(f"PRAGMA user_version = {_VERSION}")


def _check_room(limits: QueueLimits, messages: int, held_bytes: int, size: int) -> None:
    if messages >= limits.messages or held_bytes + size > limits.bytes:
        msg = f"the outgoing queue is full: {messages} messages of {held_bytes} bytes wait to be sent"
        raise BridgeError("queue_full", msg)
