"""Stores of all four kinds, and inboxes served on them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from sideband.database import sqlite_url
from sideband.inbox.store import InboxStore, open_inbox_store
from tests.support.postgres import fresh_database
from tests.support.server_process import nats_server

SERVERS = pytest.mark.servers

OpenStore = Callable[[], Awaitable[InboxStore]]


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A record that cannot be made fails only where somebody listens."""
    caplog.set_level("DEBUG", "sideband")


@pytest.fixture
async def postgres_url() -> AsyncIterator[str]:
    async with fresh_database() as url:
        yield url


@pytest.fixture
def nats_url(tmp_path: Path) -> Any:
    server = nats_server(tmp_path)
    server.start()
    yield f"nats://127.0.0.1:{server.port}"
    server.kill()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=SERVERS), pytest.param("nats", marks=SERVERS)])
def lasting_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that survives its process, and that nothing was ever in."""
    match request.param:
        case "sqlite":
            return sqlite_url(tmp_path / "inbox.db")
        case "postgresql":
            return str(request.getfixturevalue("postgres_url"))
        case _:
            return str(request.getfixturevalue("nats_url"))


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("postgresql", marks=SERVERS), pytest.param("nats", marks=SERVERS)]
)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return "memory:"
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "inbox.db")
    return str(request.getfixturevalue("postgres_url" if request.param == "postgresql" else "nats_url"))


@pytest.fixture
async def stores() -> AsyncIterator[Callable[[str], Awaitable[InboxStore]]]:
    """Opens stores, and closes what is left open."""
    async with AsyncExitStack() as stack:

        async def open_one(url: str) -> InboxStore:
            store = await open_inbox_store(url)
            stack.push_async_callback(store.close)
            return store

        yield open_one


@pytest.fixture
async def store(store_url: str, stores: Callable[[str], Awaitable[InboxStore]]) -> InboxStore:
    return await stores(store_url)


async def gather_all(*calls: Awaitable[Any]) -> list[Any]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_as_coroutine(call)) for call in calls]
    return [task.result() for task in running]


async def _as_coroutine(call: Awaitable[Any]) -> Any:
    return await call
