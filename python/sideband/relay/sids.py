"""Session ids that were used: each is taken once (docs/protocol/relay.md, "Connections")."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

import aiosqlite

from sideband.errors import StoreError

__all__ = ["MemorySpentSids", "SpentSids", "SqliteSpentSids"]


class SpentSids(Protocol):
    """Remembers used session ids; a store that is shared makes them single-use over several relays."""

    async def spend(self, session_id: int, forget_at: float) -> bool:
        """Take a session id, atomically.

        Args:
            session_id: non-zero, 64 bits.
            forget_at: Unix seconds after which no valid token can name it again.

        Returns:
            True for the first caller, False for every other one.

        Raises:
            StoreError: the store does not answer; the upgrade is then refused with 503.
        """


class MemorySpentSids:
    """Remembers in memory only: for tests, and for a demo that lives shorter than its tokens.

    Args:
        clock: Unix time.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._spent: set[int] = set()
        self._forget: list[tuple[float, int]] = []

    async def spend(self, session_id: int, forget_at: float) -> bool:
        """Take a session id; see `SpentSids.spend`."""
        now = self._clock()
        while self._forget and self._forget[0][0] <= now:
            self._spent.discard(heapq.heappop(self._forget)[1])
        if session_id in self._spent:
            return False
        self._spent.add(session_id)
        heapq.heappush(self._forget, (forget_at, session_id))
        return True

    def __len__(self) -> int:
        return len(self._spent)


class SqliteSpentSids:
    """Remembers in an SQLite file, so over a restart too: for a relay that runs without a control plane beside it.

    Open one with `await SqliteSpentSids.open(path)` and close it, or use it with `async with`.
    """

    PURGE_EVERY = 1000

    def __init__(self, database: aiosqlite.Connection, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._writing = asyncio.Lock()
        self._spends = 0

    @classmethod
    async def open(cls, path: Path, *, clock: Callable[[], float] = time.time) -> Self:
        """Open or create the file.

        Raises:
            StoreError: the file cannot be opened.
        """
        if not path.parent.is_dir():
            msg = f"the folder of the store of used session ids does not exist: {path.parent}"
            raise StoreError(msg)
        try:
            database = await aiosqlite.connect(path, isolation_level=None)
        except aiosqlite.Error as error:
            msg = f"the store of used session ids cannot be opened: {error}"
            raise StoreError(msg) from error
        try:
            await database.execute("PRAGMA journal_mode=WAL")
            await database.execute("PRAGMA synchronous=NORMAL")
            await database.execute("PRAGMA busy_timeout=5000")
            # Session ids are unsigned and SQLite's integers are not, so they are kept as text.
            await database.execute(
                "CREATE TABLE IF NOT EXISTS spent_sids (sid TEXT PRIMARY KEY, forget_at REAL NOT NULL) WITHOUT ROWID"
            )
            await database.execute("CREATE INDEX IF NOT EXISTS spent_sids_forget_at ON spent_sids (forget_at)")
        except aiosqlite.Error as error:
            await database.close()
            msg = f"the store of used session ids cannot be used: {error}"
            raise StoreError(msg) from error
        return cls(database, clock)

    async def spend(self, session_id: int, forget_at: float) -> bool:
        """Take a session id; see `SpentSids.spend`."""
        now = self._clock()
        try:
            async with self._writing:
                self._spends += 1
                if self._spends % self.PURGE_EVERY == 1:
                    await self._database.execute("DELETE FROM spent_sids WHERE forget_at <= ?", (now,))
                cursor = await self._database.execute(
                    "INSERT INTO spent_sids VALUES (?, ?) ON CONFLICT (sid)"
                    " DO UPDATE SET forget_at = excluded.forget_at WHERE spent_sids.forget_at <= ?",
                    (f"{session_id:016x}", forget_at, now),
                )
                spent = cursor.rowcount == 1
                await cursor.close()
        except (aiosqlite.Error, ValueError) as error:
            msg = f"the store of used session ids does not answer: {error}"
            raise StoreError(msg) from error
        return spent

    async def close(self) -> None:
        """Close the file."""
        await self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
