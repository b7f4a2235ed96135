"""What SQL stores of inboxes do beyond the contract: their schema, their file, their faults."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from sideband.control.store import Database as ControlDatabase
from sideband.database import Database, sqlite_url
from sideband.errors import ConfigError, StoreError
from sideband.inbox.store import DEFAULT_QUOTAS, NewBlob, message_id, open_inbox_store
from sideband.inbox.store.migrations import HEAD, upgrade
from sideband.inbox.store.schema import VERSION_TABLE, metadata

from .conftest import gather_all

NOW = 1_777_900_000_000


def blob(content: bytes) -> NewBlob:
    return NewBlob("bob", message_id(content), content, bytes(32), NOW + 60_000)


@pytest.mark.parametrize(
    "lasting_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)], indirect=True
)
async def test_migrations_make_the_schema_that_the_code_uses(lasting_url: str) -> None:
    def differences(connection: Connection) -> list[Any]:
        options = {"version_table": VERSION_TABLE}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    database = await Database.connect(lasting_url, upgrade)
    async with database.read() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


@pytest.mark.parametrize(
    "lasting_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)], indirect=True
)
async def test_inboxes_share_a_database_with_the_control_plane(lasting_url: str) -> None:
    control = await ControlDatabase.open(lasting_url)
    store = await open_inbox_store(lasting_url)
    await store.register("bob", bytes(32), envelope_key=None, signed_at=NOW, limit=1)
    await store.close()
    await control.close()
    again = await ControlDatabase.open(lasting_url)
    await again.close()


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "inbox.db")
    database = await Database.connect(url, upgrade)
    async with database.write() as connection:
        await connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    await database.close()
    with pytest.raises(StoreError, match=f"newer sideband than this one \\({HEAD}\\)"):
        await open_inbox_store(url)


@pytest.mark.parametrize("url", ["mysql://x/y", "redis://x", "", "inbox.db"])
async def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="memory:, sqlite:///path"):
        await open_inbox_store(url)


async def test_each_commit_is_synced_and_the_file_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    database = await Database.connect(sqlite_url(path), upgrade)
    async with database.read() as connection:
        assert (await connection.execute(text("PRAGMA synchronous"))).scalar() == 2
    await database.close()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_locked_file_fails_all_that_wait_at_once_and_nothing_is_half_done(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    store = await open_inbox_store(sqlite_url(path), wait_seconds=0.05)
    await store.register("bob", bytes(32), envelope_key=None, signed_at=NOW, limit=1)

    async def attempt(number: int) -> str:
        try:
            await store.put(blob(b"%d" % number), DEFAULT_QUOTAS, NOW)
        except StoreError as error:
            return str(error)
        return "stored"

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        outcomes = await gather_all(*(attempt(number) for number in range(20)))
        assert all("locked by another process" in outcome for outcome in outcomes)
        other.execute("ROLLBACK")
    assert (await store.read("bob", 0, limit=50, max_bytes=2**20, now=NOW)).blobs == []
    assert await gather_all(*(attempt(number) for number in range(20))) == ["stored"] * 20
    await store.close()
