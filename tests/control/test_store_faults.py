"""A store that is locked, full, or gone for a while: clear answers, nothing half done, and on it goes."""

import asyncio
import os
import secrets
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import event, make_url

from sideband.control.administration import Administration
from sideband.control.app import create_control_app
from sideband.control.config import ControlConfig
from sideband.control.plane import ControlPlane
from sideband.control.secrets import ServerSecret
from sideband.control.store import Database, sqlite_url
from sideband.control.store.live import spend_sid
from sideband.errors import StoreError


async def status_of(client: TestClient[Any, Any], api_key: str, procedure: str = "daemon.renewToken") -> int:
    headers = {"Authorization": f"Bearer {api_key}"}
    async with client.post(f"/api/trpc/{procedure}", json={"json": None}, headers=headers) as response:
        body = await response.json()
        if response.status == 500:
            assert body["error"]["data"] == {"code": "INTERNAL_SERVER_ERROR", "httpStatus": 500}
            assert response.headers["Retry-After"] == "5"
            assert api_key not in str(body)
        return response.status


async def serve(database: Database, secret: ServerSecret, config: ControlConfig) -> tuple[ControlPlane, str]:
    plane = await ControlPlane.open(config, database, secret)
    acting = Administration(database, secret, actor="test", now=plane.now())
    await acting.create_account("home")
    daemon = await acting.create_daemon("home")
    return plane, daemon["apiKey"]


async def test_a_locked_file_is_an_error_for_as_long_as_it_is_locked(
    tmp_path: Path, secret: ServerSecret, config: ControlConfig
) -> None:
    path = tmp_path / "store.db"
    database = await Database.open(sqlite_url(path), wait_seconds=0.05)
    plane, api_key = await serve(database, secret, config)
    async with TestClient(TestServer(create_control_app(plane))) as client:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert await status_of(client, api_key) == 500
            assert await status_of(client, api_key) == 500
            # Readers of a write-ahead log wait for nobody.
            assert await status_of(client, "sbnd_dak_unknown") == 401
            other.execute("ROLLBACK")
        assert await status_of(client, api_key) == 200
    await database.close()


async def test_a_lock_that_ends_in_time_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    database = await Database.open(sqlite_url(path), wait_seconds=30)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")

        async def write() -> bool:
            async with database.write() as connection:
                return await spend_sid(connection, 1, 1)

        writing = asyncio.create_task(write())
        done, _ = await asyncio.wait([writing], timeout=0.05)
        assert not done
        other.execute("ROLLBACK")
        assert await writing
    await database.close()


async def test_a_full_disk_is_an_error_and_loses_nothing(
    tmp_path: Path, secret: ServerSecret, config: ControlConfig
) -> None:
    database = await Database.open(sqlite_url(tmp_path / "store.db"))
    plane, api_key = await serve(database, secret, config)
    engine = database._engine
    await engine.dispose()
    full = True

    def limit_pages(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count = {1 if full else 2**30}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", limit_pages)
    async with TestClient(TestServer(create_control_app(plane))) as client:
        answers = [await status_of(client, api_key) for _ in range(200)]
        assert answers[-1] == 500, "the pages that were there are used up"
        assert await status_of(client, "sbnd_dak_unknown") == 401
        with pytest.raises(StoreError, match="full"):
            await fill(database)
        full = False
        await engine.dispose()
        assert await status_of(client, api_key) == 200
    async with database.read() as connection:
        assert (await connection.exec_driver_sql("PRAGMA integrity_check")).scalar_one() == "ok"
    await database.close()


async def fill(database: Database) -> None:
    async with database.write() as connection:
        for sid in range(1, 5000):
            await spend_sid(connection, sid, 1)


class Wire:
    """TCP to PostgreSQL that can be cut, and refuses while it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        with closing(socket.create_server(("127.0.0.1", 0))) as probe:
            self.port = probe.getsockname()[1]

    async def join(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_pump(reader, far_writer))
                    tasks.create_task(_pump(far_reader, writer))
            finally:
                far_writer.transport.abort()
        except asyncio.CancelledError:
            if not self._server or self._server.is_serving():
                raise
        finally:
            writer.transport.abort()
            self._pumps.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
    except OSError:
        writer.transport.abort()


@pytest.fixture
async def wire() -> AsyncIterator[tuple[Wire, str]]:
    """A new PostgreSQL database behind a wire."""
    server = os.environ.get("SIDEBAND_TEST_POSTGRES_URL")
    if server is None:
        pytest.fail("SIDEBAND_TEST_POSTGRES_URL is not set; `make test-servers` starts a server and sets it")
    url = make_url(server)
    name = f"t_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server)
    await admin.execute(f"CREATE DATABASE {name}")
    wire = Wire(url.host or "127.0.0.1", url.port or 5432)
    await wire.join()
    yield wire, url.set(host="127.0.0.1", port=wire.port, database=name).render_as_string(hide_password=False)
    await wire.cut()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.mark.servers
async def test_a_server_that_goes_and_comes_back(
    wire: tuple[Wire, str], secret: ServerSecret, config: ControlConfig
) -> None:
    line, url = wire
    database = await Database.open(url)
    plane, api_key = await serve(database, secret, config)
    async with TestClient(TestServer(create_control_app(plane))) as client:
        assert await status_of(client, api_key) == 200
        await line.cut()
        for _ in range(10):
            assert await status_of(client, api_key) == 500
        async with client.get("/.well-known/jwks.json") as response:
            assert response.status == 200
        await line.join()
        assert await status_of(client, api_key) == 200
    await database.close()


@pytest.mark.servers
async def test_a_server_that_is_not_there_at_start(wire: tuple[Wire, str]) -> None:
    line, url = wire
    await line.cut()
    with pytest.raises(StoreError, match="cannot be reached"):
        await Database.open(url)
    await line.join()
    database = await Database.open(url)
    await database.close()
