"""Inboxes in PostgreSQL: any number of processes, told of each other's puts by LISTEN and NOTIFY."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from sqlalchemy import func, make_url, select
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from sideband.database import BUSY_TIMEOUT_SECONDS, Database
from sideband.errors import ConfigError
from sideband.inbox.store.migrations import upgrade
from sideband.inbox.store.notices import Notices
from sideband.inbox.store.sql import SqlInboxStore

if TYPE_CHECKING:
    import asyncpg

__all__ = ["CHANNEL", "PostgresInboxStore"]

CHANNEL = "sideband_inbox"
"""What processes listen to; a notice is the process that made it, a blank, and the address."""

RECONNECT_SECONDS = 1.0
"""How long to wait before the listening connection is made again."""

_log = logging.getLogger("sideband.inbox")


class PostgresInboxStore(SqlInboxStore):
    """Inboxes in PostgreSQL. See `InboxStore`.

    While the connection that listens is lost, `notices.pushing` is False; once it is back, everybody looks again.
    """

    def __init__(self, database: Database, notices: Notices, address: str, wait_seconds: float) -> None:
        super().__init__(database, notices)
        self._address = address
        self._wait_seconds = wait_seconds
        self._process = secrets.token_hex(8)
        self._following: asyncio.Task[None] | None = None

    @classmethod
    @override
    async def open(cls, url: str, *, wait_seconds: float = BUSY_TIMEOUT_SECONDS) -> Self:
        """Connect, bring the schema up to date, and begin to listen.

        Raises:
            ConfigError: the package asyncpg is not installed.
            StoreError: the store cannot be reached, or its schema was made by a newer version of this package.
        """
        database = await Database.connect(url, upgrade, wait_seconds=wait_seconds)
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        store = cls(database, Notices(pushing=False), plain, wait_seconds)
        store._following = asyncio.create_task(store._follow(), name="inbox notices")
        return store

    @override
    async def close(self) -> None:
        """See `InboxStore.close`."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
            self._following = None
        await super().close()

    @override
    async def _tell_others(self, connection: AsyncConnection, addresses: set[str]) -> None:
        for address in addresses:
            await connection.execute(select(func.pg_notify(CHANNEL, f"{self._process} {address}")))

    async def _follow(self) -> None:
        try:
            import asyncpg
        except ModuleNotFoundError as error:
            raise ConfigError("PostgreSQL needs the package asyncpg: pip install 'sideband[postgres]'") from error
        while True:
            try:
                connection = await asyncpg.connect(self._address, timeout=self._wait_seconds)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.debug("inbox_notices_not_connected", extra={"cause": type(error).__name__})
            else:
                lost = asyncio.Event()
                try:
                    await self._listen(connection, lost.set)
                    await lost.wait()
                    _log.warning("inbox_notices_lost")
                except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                    _log.warning("inbox_notices_lost", extra={"cause": type(error).__name__})
                finally:
                    self.notices.pushing = False
                    connection.terminate()
                    # asyncpg closes the socket in a callback of its own.
                    await asyncio.sleep(0)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self, connection: asyncpg.Connection, lost: Callable[[], None]) -> None:
        connection.add_termination_listener(lambda _connection: lost())
        await connection.add_listener(CHANNEL, self._heard)
        self.notices.pushing = True
        # What was stored while nobody listened.
        self.notices.wake_all()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        process, _, address = payload.partition(" ")
        if process != self._process:
            self.notices.stored(address)
