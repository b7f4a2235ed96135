"""Whole servers on loopback ports of their choosing."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sideband.control.administration import Administration
from sideband.control.plane import open_store
from sideband.server.endpoints import Endpoints
from sideband.server.service import run
from sideband.server.settings import load_settings
from sideband.transport import Connection, ConnectOptions, WebSocketTransport


@dataclass
class Server:
    """A running server."""

    endpoints: Endpoints
    stop: asyncio.Event
    task: asyncio.Task[None]

    @property
    def url(self) -> str:
        return self.endpoints.url

    @property
    def private_url(self) -> str:
        assert self.endpoints.private_url is not None
        return self.endpoints.private_url

    async def end(self) -> None:
        self.stop.set()
        await self.task


Serve = Callable[..., Awaitable[Server]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts servers from nested settings, and ends those that still run."""
    async with AsyncExitStack() as stack:

        async def start(data_dir: Path = tmp_path / "data", **flags: Any) -> Server:
            flags = {"data_dir": data_dir, **flags}
            flags["listen"] = {"port": 0, **flags.get("listen", {})}
            flags["private"] = {"port": 0, **flags.get("private", {})}
            flags["relay"] = {"shutdown_spread_seconds": 0, **flags.get("relay", {})}
            settings = load_settings(None, flags)
            ready: asyncio.Future[Endpoints] = asyncio.get_running_loop().create_future()
            stop = asyncio.Event()
            task = asyncio.create_task(run(settings, ready=ready.set_result, stop=stop))
            await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            server = Server(ready.result(), stop, task)
            stack.push_async_callback(server.end)
            return server

        yield start


@pytest.fixture
async def administration(tmp_path: Path) -> AsyncIterator[Callable[[], Administration]]:
    """Acts on the store of the default data folder, as the command line does: from another connection."""
    database, secret = await open_store(tmp_path / "data")
    yield lambda: Administration(database, secret, actor="test", now=int(time.time() * 1000))
    await database.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture
def call(http: aiohttp.ClientSession) -> Callable[..., Awaitable[tuple[int, Any]]]:
    """Calls a procedure; returns status and output or error."""

    async def call(url: str, procedure: str, credential: str | None, value: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {credential}"} if credential else {}
        async with http.post(f"{url}/api/trpc/{procedure}", json={"json": value}, headers=headers) as response:
            body = await response.json()
            return response.status, body["result"]["data"] if response.status == 200 else body["error"]

    return call


async def connect(relay_url: str, token: str) -> Connection:
    return await WebSocketTransport().connect(relay_url, ConnectOptions(headers={"Authorization": f"Bearer {token}"}))


@pytest.fixture(name="connect")
async def _connect() -> AsyncIterator[Callable[[str, str], Awaitable[Connection]]]:
    """Connects to a relay; closes what is left open."""
    opened: list[Connection] = []

    async def open_one(relay_url: str, token: str) -> Connection:
        connection = await connect(relay_url, token)
        opened.append(connection)
        return connection

    yield open_one
    for connection in opened:
        await connection.close()
