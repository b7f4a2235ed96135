"""What both stores promise."""

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from sideband.control.ids import code_digest
from sideband.control.migrations import HEAD
from sideband.control.store import Database, directory
from sideband.control.store.audit import add_audit, list_audit, purge_audit
from sideband.control.store.credentials import add_code, consume_code, count_live_codes, purge_codes
from sideband.control.store.live import (
    LiveSession,
    add_kick,
    kicks_since,
    online_daemons,
    purge_live,
    refused_keys,
    report,
    set_offline,
    set_online,
    spend_sid,
)
from sideband.control.store.schema import metadata
from sideband.errors import ConfigError, StoreError


async def test_migrations_make_the_schema_that_the_code_uses(database: Database) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_second_start_finds_the_schema_and_the_rows(store_url: str, database: Database) -> None:
    async with database.write() as connection:
        await spend_sid(connection, 7, 1000)
    again = await Database.open(store_url)
    async with again.write() as connection:
        assert not await spend_sid(connection, 7, 1000)
    await again.close()


async def test_processes_that_start_at_once_migrate_once(
    store_url: str, gather_all: Callable[..., Awaitable[list[Database]]]
) -> None:
    for database in await gather_all(*(Database.open(store_url) for _ in range(4))):
        async with database.read() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM alembic_version"))).scalar_one() == 1
        await database.close()


async def test_a_newer_schema_is_refused_and_left_alone(store_url: str, database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="made by a newer sideband than this one") as caught:
        await Database.open(store_url)
    assert HEAD in str(caught.value)
    async with database.read() as connection:
        assert (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one() == "9999"


@pytest.mark.parametrize(
    "url", ["mysql://root@localhost/x", "not a url", "sqlite://", "sqlite:///:memory:"], ids=lambda url: url
)
async def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="sqlite:///path"):
        await Database.open(url)


async def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("shopping list, long enough to be read as a header of a database file\n" * 20)
    with pytest.raises(StoreError, match="not a database"):
        await Database.open(f"sqlite:///{path}")


async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path / 'store.db'}")
    async with database.write() as connection:
        await spend_sid(connection, 1, 1)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    await database.close()
    assert modes["store.db"] == 0o600
    assert set(modes.values()) == {0o600}


async def test_sqlite_writes_ahead_and_syncs_each_commit(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path / 'store.db'}")
    async with database.read() as connection:
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar() == "wal"
        assert (await connection.execute(text("PRAGMA synchronous"))).scalar() == 2
        assert (await connection.execute(text("PRAGMA foreign_keys"))).scalar() == 1
    await database.close()


async def test_a_failed_transaction_changes_nothing(database: Database) -> None:
    async def spend_and_fail() -> None:
        async with database.write() as connection:
            await spend_sid(connection, 9, 1000)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await spend_and_fail()
    async with database.write() as connection:
        assert await spend_sid(connection, 9, 1000)


@pytest.mark.parametrize("sid", [1, 2**63 - 1, 2**63, 2**64 - 1])
async def test_a_session_id_of_any_size_is_spent_once(database: Database, sid: int) -> None:
    async with database.write() as connection:
        assert await spend_sid(connection, sid, 1000)
        assert not await spend_sid(connection, sid, 1000)


async def test_of_many_at_once_one_spends_a_session_id(
    database: Database, gather_all: Callable[..., Awaitable[list[bool]]]
) -> None:
    async def spend() -> bool:
        async with database.write() as connection:
            return await spend_sid(connection, 5, 1000)

    assert sorted(await gather_all(*(spend() for _ in range(20)))) == [False] * 19 + [True]


async def test_lapsed_session_ids_are_forgotten(database: Database) -> None:
    async with database.write() as connection:
        await spend_sid(connection, 1, 1000)
        await spend_sid(connection, 2, 3000)
        await purge_live(connection, 2000, 0)
        assert await spend_sid(connection, 1, 4000)
        assert not await spend_sid(connection, 2, 4000)


async def test_of_50_at_once_one_consumes_a_code(
    database: Database, home: Any, gather_all: Callable[..., Awaitable[list[bool]]]
) -> None:
    digest = code_digest(b"pepper", "abcdefghjkmn")
    async with database.write() as connection:
        await add_code(connection, digest, home.daemon, now=0, expires_at=1000)

    async def consume() -> bool:
        async with database.write() as connection:
            return await consume_code(connection, digest, 500) is not None

    assert sorted(await gather_all(*(consume() for _ in range(50)))) == [False] * 49 + [True]


async def test_a_code_ends_at_its_time(database: Database, home: Any) -> None:
    digest = code_digest(b"pepper", "abcdefghjkmn")
    async with database.write() as connection:
        await add_code(connection, digest, home.daemon, now=0, expires_at=1000)
        assert await count_live_codes(connection, home.daemon, 999) == 1
        assert await count_live_codes(connection, home.daemon, 1000) == 0
        assert await consume_code(connection, digest, 1000) is None
        assert await purge_codes(connection, 1000) == 0
        assert await purge_codes(connection, 1001) == 1


async def test_presence_lapses_and_belongs_to_its_relay(database: Database) -> None:
    async with database.write() as connection:
        await set_online(connection, "r_1", "d_a", 0, 1000)
        await set_online(connection, "r_2", "d_a", 0, 2000)
        await set_offline(connection, "r_1", "d_a")
        assert await online_daemons(connection, ["d_a", "d_b"], 1999) == {"d_a"}
        assert await online_daemons(connection, ["d_a"], 2000) == set()


async def test_a_report_replaces_what_its_relay_said_before(database: Database) -> None:
    session = LiveSession("AAAAAAAAAAE", "d_a", "u_1", "paired", 5, 1, 2**40, 3, 4)
    async with database.write() as connection:
        await report(connection, "r_1", {"d_a": 5, "d_b": 6}, [session], 1000)
        await report(connection, "r_2", {"d_c": 5}, [], 1000)
        await report(connection, "r_1", {"d_b": 6}, [], 2000)
        assert await online_daemons(connection, ["d_a", "d_b", "d_c"], 500) == {"d_b", "d_c"}
        assert await directory.list_sessions(connection, 500) == []
        await report(connection, "r_1", {}, [session], 2000)
        [listed] = await directory.list_sessions(connection, 500)
        assert (listed["sid"], listed["bytes_up"], listed["state"]) == ("AAAAAAAAAAE", 2**40, "paired")


async def test_a_session_that_moved_to_another_relay_is_listed_once(database: Database) -> None:
    session = LiveSession("AAAAAAAAAAE", "d_a", "u_1", "paired", 5)
    async with database.write() as connection:
        await report(connection, "r_1", {}, [session], 1000)
        await report(connection, "r_2", {}, [session], 1000)
        [listed] = await directory.list_sessions(connection, 500)
        assert listed["relay_id"] == "r_2"


async def test_orders_are_read_in_order_and_forgotten(database: Database) -> None:
    async with database.write() as connection:
        await add_kick(connection, 100, daemon_id="d_a", key_id="dk_1")
        await add_kick(connection, 200, sid="AAAAAAAAAAE")
        orders = await kicks_since(connection, 100)
        assert [(kick.kind, kick.daemon_id, kick.key_id, kick.sid) for kick in orders] == [
            ("daemon", "d_a", "dk_1", None),
            ("session", None, None, "AAAAAAAAAAE"),
        ]
        await purge_live(connection, 0, 200)
        assert [kick.kind for kick in await kicks_since(connection, 0)] == ["session"]


async def test_keys_that_relays_refuse(database: Database, home: Any, admin: Any, clock: Any) -> None:
    async def refused() -> set[str]:
        async with database.read() as connection:
            return await refused_keys(connection, clock.milliseconds - 1000)

    assert await refused() == set()
    await admin().set_daemon_disabled(home.daemon, True)
    assert await refused() == {home.key_id}
    await admin().set_daemon_disabled(home.daemon, False)
    await admin().set_account_disabled(home.account, True)
    assert await refused() == {home.key_id}
    await admin().set_account_disabled(home.account, False)
    await admin().revoke_key(home.key_id)
    assert await refused() == {home.key_id}
    clock.advance(2)
    assert await refused() == set()


async def test_audit_records_are_listed_from_the_newest(database: Database) -> None:
    async with database.write() as connection:
        for at in range(5):
            await add_audit(connection, now=at, actor="a", action="x", target=f"t{at % 2}", address="::1", number=at)
        newest = await list_audit(connection, limit=2)
        assert [record.detail for record in newest] == [{"number": 4}, {"number": 3}]
        assert [record.at for record in await list_audit(connection, before_id=newest[-1].id)] == [2, 1, 0]
        assert [record.at for record in await list_audit(connection, target="t1")] == [3, 1]
        assert await purge_audit(connection, 3) == 3


def test_the_store_holds_no_secret(tmp_path: Path) -> None:
    """Nothing that was shown to an admin or a daemon is found in the file."""
    import asyncio

    from sideband.control.administration import Administration
    from sideband.control.plane import open_store

    async def fill() -> list[str]:
        database, secret = await open_store(tmp_path)
        acting = Administration(database, secret, actor="test", now=0)
        await acting.create_account("home")
        await acting.create_user("me", accounts=["home"])
        token = await acting.create_user_token("me")
        daemon = await acting.create_daemon("home")
        await acting.rotate_signing_key()
        await database.close()
        return [token["token"], daemon["apiKey"]]

    shown = asyncio.run(fill())
    with sqlite3.connect(tmp_path / "sideband.db") as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    assert all(secret not in dump and secret.rpartition("_")[2] not in dump for secret in shown)
    assert "PRIVATE KEY" not in dump
