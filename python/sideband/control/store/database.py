"""The control plane's database: a connection, and the schema that is found behind it."""

from __future__ import annotations

from typing import Self

from sideband import database
from sideband.database import BUSY_TIMEOUT_SECONDS

__all__ = ["Database"]


class Database(database.Database):
    """The store behind a URL: `sqlite:///path` or `postgresql://user@host/name`.

    Open it with `await Database.open(url)`, which runs the migrations; close it with `await database.close()`.
    """

    @classmethod
    async def open(cls, url: str, *, wait_seconds: float = BUSY_TIMEOUT_SECONDS) -> Self:
        """Connect, bring the schema up to date, and return the store.

        Args:
            url: where the store is.
            wait_seconds: how long one statement may wait for a lock, and PostgreSQL for an answer; default 5.

        Raises:
            ConfigError: the URL is not one of SQLite or PostgreSQL.
            StoreError: the store cannot be reached, or its schema was made by a newer version of this package.
        """
        from sideband.control.migrations import upgrade

        return await cls.connect(url, upgrade, wait_seconds=wait_seconds)
