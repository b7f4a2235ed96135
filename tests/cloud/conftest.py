"""A control plane and a relay in this process, on loopback ports of their own, and a front that can fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sideband import cloud
from sideband.control.administration import Administration
from sideband.control.plane import open_store
from sideband.errors import SidebandError
from sideband.identity import FileIdentity, MemoryIdentityKeyStore, generate_identity_key_pair
from sideband.peer import Peer
from sideband.server.endpoints import Endpoints
from sideband.server.service import run
from sideband.server.settings import load_settings
from tests.support.faulty_front import FaultyFront
from tests.support.relay_harness import quick_transport


@dataclass(frozen=True)
class Daemon:
    id: str
    api_key: str
    key_id: str


class Platform:
    """The servers, one user, and daemons and clients that are closed in the end."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.pins = MemoryIdentityKeyStore()
        self.token = ""
        self.endpoints: Endpoints
        self.front: FaultyFront
        self._stack = stack
        self._admin: Administration
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._settings: dict[str, Any] = {
            "data_dir": folder / "server",
            "listen": {"port": 0},
            "private": {"enabled": False},
            "relay": {"shutdown_spread_seconds": 0, "grace_seconds": 20},
            "control": {"quick_connect_attempts_per_minute": 1_000},
        }

    async def start(self) -> None:
        """Start the servers; a second time at the same port."""
        ready: asyncio.Future[Endpoints] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(
            run(load_settings(None, self._settings), ready=ready.set_result, stop=self._stop)
        )
        await asyncio.wait((ready, self._task), return_when=asyncio.FIRST_COMPLETED)
        self.endpoints = ready.result()
        self._settings["listen"]["port"] = int(self.endpoints.url.rsplit(":", 1)[1])

    async def stop(self) -> None:
        """Stop the servers as Ctrl-C does."""
        self._stop.set()
        if self._task is not None:
            await self._task

    async def furnish(self) -> None:
        """Make an account with a user."""
        database, secret = await open_store(self.folder / "server")
        self._stack.push_async_callback(database.close)
        self._admin = Administration(database, secret, actor="test", now=int(time.time() * 1000))
        await self._admin.create_account("home")
        await self._admin.create_user("me", accounts=["home"])
        self.token = (await self._admin.create_user_token("me"))["token"]
        self.front = await self._stack.enter_async_context(FaultyFront(self.endpoints.url))

    async def new_daemon(self, name: str = "attic") -> Daemon:
        made = await self._admin.create_daemon("home", name=name)
        return Daemon(made["id"], made["apiKey"], made["keyId"])

    async def new_user(self) -> str:
        """Return the token of a user without an account."""
        await self._admin.create_user("stranger", accounts=[])
        token: str = (await self._admin.create_user_token("stranger"))["token"]
        return token

    async def revoke(self, daemon: Daemon) -> None:
        await self._admin.revoke_key(daemon.key_id)

    async def listen(self, daemon: Daemon, on_connection: Any = None, **more: Any) -> cloud.CloudServer:
        """Start a daemon, behind the front."""
        more.setdefault("identity_key_pair", generate_identity_key_pair())
        more.setdefault("transport", quick_transport())
        more.setdefault("api_url", self.front.url)
        server = await cloud.listen(api_key=daemon.api_key, on_connection=on_connection or greet, **more)
        self._stack.push_async_callback(server.close)
        return server

    def connect(self, daemon: Daemon | None = None, **more: Any) -> Peer:
        """Return a client that has begun to connect, through the front."""
        if daemon is not None:
            more = {"daemon_id": daemon.id, "get_access_token": lambda: self.token, **more}
        more.setdefault("identity_key_store", self.pins)
        more.setdefault("transport", quick_transport())
        more.setdefault("api_url", self.front.url)
        peer = cloud.connect(**more)
        self._stack.push_async_callback(peer.disconnect)
        return peer


def greet(peer: Peer) -> None:
    peer.rpc.handle("greet", lambda name: f"Hello {name}")
    peer.rpc.handle("whoami", lambda: None if peer.identity is None else peer.identity.subject)


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    async with AsyncExitStack() as stack:
        platform = Platform(tmp_path, stack)
        await platform.start()
        stack.push_async_callback(platform.stop)
        await platform.furnish()
        yield platform


@pytest.fixture
async def daemon(platform: Platform) -> Daemon:
    return await platform.new_daemon()


@pytest.fixture
def identity(tmp_path: Path) -> FileIdentity:
    return FileIdentity(tmp_path / "identity.json")


def told(error: BaseException | None) -> str:
    """Return all that an error says, with what caused it."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error)) if isinstance(error, SidebandError) else ""]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)
