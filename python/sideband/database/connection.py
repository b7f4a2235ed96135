"""A connection to a store: SQLite by default, PostgreSQL by URL.

`read()` and `write()` are transactions; every failure below them is a `StoreError` that says what to do. What works on
the store takes the connection they yield, so that one transaction can hold an action and its audit record.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import URL, Table, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sideband.errors import ConfigError, StoreError

__all__ = ["BUSY_TIMEOUT_SECONDS", "Database", "insert_ignore", "insert_or_update", "sqlite_url", "wait_for_turn"]

BUSY_TIMEOUT_SECONDS = 5.0
"""How long a statement waits for another process's lock, and PostgreSQL for an answer, before it fails."""

POOL_SIZE = 8
"""Connections kept open; as many again are opened under load."""

POOL_TIMEOUT_SECONDS = 10
"""How long a request waits for a free connection."""


def sqlite_url(path: Path) -> str:
    """Return the URL of the SQLite file at `path`."""
    return URL.create("sqlite+aiosqlite", database=str(path)).render_as_string(hide_password=False)


_T = TypeVar("_T")
_TURN_LOCK = 0x5342_4E45


class Database:
    """The store behind a URL: `sqlite:///path` or `postgresql://user@host/name`.

    Open it with `await Database.connect(url, upgrade)`, which runs the migrations; close it with
    `await database.close()`.
    """

    def __init__(self, engine: AsyncEngine, wait_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        self._engine = engine
        self._wait_seconds = wait_seconds
        # SQLite's own queue is a sleep that doubles; waiting here is fair, and under load several times faster.
        self._only_writer = asyncio.Lock() if engine.dialect.name == "sqlite" else None

    @classmethod
    async def connect(
        cls,
        url: str,
        upgrade: Callable[[AsyncConnection], Awaitable[None]],
        *,
        wait_seconds: float = BUSY_TIMEOUT_SECONDS,
    ) -> Self:
        """Connect, bring the schema up to date, and return the store.

        Args:
            url: where the store is.
            upgrade: runs the migrations, inside a transaction of its own.
            wait_seconds: how long one statement may wait for a lock, and PostgreSQL for an answer; default 5.

        Raises:
            ConfigError: the URL is not one of SQLite or PostgreSQL.
            StoreError: the store cannot be reached, or its schema was made by a newer version of this package.
        """
        database = cls(_create_engine(url, wait_seconds), wait_seconds)
        try:
            async with database.write() as connection:
                await upgrade(connection)
        except BaseException:
            await database.close()
            raise
        return database

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection for statements that change nothing.

        Raises:
            StoreError: the store is unreachable, locked for too long, or failed.
        """
        async with _mapped_errors(), self._engine.connect() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection inside a transaction, committed when the block ends without an exception.

        Raises:
            StoreError: the store is unreachable, locked for too long, full, or failed; nothing was changed.
        """
        async with _mapped_errors(), self._turn(), self._engine.connect() as plain:
            connection = await plain.execution_options(sideband_write=True)
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._only_writer is None:
            yield
            return
        async with asyncio.timeout(self._wait_seconds):
            await self._only_writer.acquire()
        try:
            yield
        finally:
            self._only_writer.release()

    async def reading(self, query: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """Return what one query gives.

        Raises:
            StoreError: as `read` does.
        """
        async with self.read() as connection:
            return await query(connection)

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        await self._engine.dispose()


async def wait_for_turn(connection: AsyncConnection) -> None:
    """Let one writing transaction after the other pass this point; each until it ends.

    SQLite has one writer anyway. On PostgreSQL two could otherwise both find nothing, and both make what there must be
    one of.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TURN_LOCK})


def insert_ignore(connection: AsyncConnection, table: Table, **values: Any) -> Any:
    """Return an INSERT that does nothing when the primary key is there already; its rowcount tells which."""
    return _insert(connection, table).values(**values).on_conflict_do_nothing()


def insert_or_update(connection: AsyncConnection, table: Table, *, keep: tuple[str, ...] = ()) -> Any:
    """Return an INSERT that replaces the columns of a row with the same primary key, but for those in `keep`.

    The values go to `execute`, one mapping or a list of them.
    """
    statement = _insert(connection, table)
    key = [column.name for column in table.primary_key]
    changed = {column.name: column for column in statement.excluded if column.name not in (*key, *keep)}
    return statement.on_conflict_do_update(index_elements=key, set_=changed)


def _insert(connection: AsyncConnection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


@asynccontextmanager
async def _mapped_errors() -> AsyncIterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreError(f"the store failed ({_cause(error)}); see the server's log and the store's own") from error
    except (OSError, TimeoutError) as error:
        raise StoreError(f"the store cannot be reached ({type(error).__name__}); is it running?") from error


def _cause(error: SQLAlchemyError) -> str:
    # The driver's text can quote a row's values, so only classes of failure are named.
    original = str(getattr(error, "orig", error)).lower()
    for sign, meaning in (
        ("locked", "database is locked by another process"),
        ("full", "disk or database is full"),
        ("readonly", "database is read-only"),
        ("unable to open", "database file cannot be opened"),
        ("malformed", "database file is damaged"),
        ("not a database", "file is not a database"),
        ("unique", "value is already in use"),
    ):
        if sign in original:
            return meaning
    return type(getattr(error, "orig", None) or error).__name__


def _create_engine(address: str, wait_seconds: float) -> AsyncEngine:
    try:
        url = make_url(address)
    except SQLAlchemyError as error:
        raise ConfigError("the store's URL is malformed; expected sqlite:///path or postgresql://host/name") from error
    match url.get_backend_name():
        case "sqlite":
            return _create_sqlite(url, wait_seconds)
        case "postgresql":
            return _create_postgresql(url, wait_seconds)
        case other:
            raise ConfigError(
                f"the store's URL names {other!r}; expected sqlite:///path or postgresql://user@host/name"
            )


def _create_sqlite(url: URL, wait_seconds: float) -> AsyncEngine:
    if not url.database or url.database == ":memory:":
        raise ConfigError("the store needs a file: sqlite:///path")
    try:
        # SQLite gives its -wal and -shm files the mode of the database file.
        os.close(os.open(url.database, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"the store's file cannot be opened: {error.strerror}; check the data folder") from error
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        connect_args={"timeout": wait_seconds},
        hide_parameters=True,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        # A deferred transaction that turns into a writer fails at once when another wrote since it began.
        writes = connection.get_execution_options().get("sideband_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _create_postgresql(url: URL, wait_seconds: float) -> AsyncEngine:
    try:
        return create_async_engine(
            url.set(drivername="postgresql+asyncpg"),
            pool_size=POOL_SIZE,
            max_overflow=POOL_SIZE,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            pool_pre_ping=True,
            connect_args={"timeout": wait_seconds, "command_timeout": wait_seconds},
            hide_parameters=True,
        )
    except ModuleNotFoundError as error:
        raise ConfigError("PostgreSQL needs the package asyncpg: pip install 'sideband[postgres]'") from error
