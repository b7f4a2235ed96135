from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sideband.cli.demo.api import call
from sideband.control.administration import Administration
from sideband.control.plane import open_store
from sideband.identity import FileIdentity, IdentityTrust, MemoryIdentityKeyStore
from sideband.peer.relay_client import RelayClient
from sideband.peer.relay_daemon import RelayDaemon
from sideband.peer.relay_token import session_id_of
from sideband.secure_relay.client_events import DataReceived
from sideband.secure_relay.daemon_endpoint import DaemonEndpoint
from sideband.secure_relay.daemon_events import DaemonEvent, SessionData, SessionEnded, SessionOpened, SessionRefused
from sideband.server.endpoints import Endpoints
from sideband.server.service import run
from sideband.server.settings import ListenSettings, PrivateSettings, ServerSettings
from sideband.transport import Connection, ConnectOptions, WebSocketTransport

Change = Callable[[bytes], list[bytes]]
"""What becomes of one message on its way: nothing, itself, or others."""


@dataclass
class Platform:
    """A running server with one daemon's and one user's credentials."""

    url: str
    relay_url: str
    daemon_id: str
    api_key: str
    user_token: str
    folder: Path

    async def connect_daemon(self, identity: FileIdentity) -> Connection:
        key = base64.b64encode(identity.public_key).decode()
        made = await call(self.url, "daemon.register", self.api_key, {"identityPublicKey": key})
        return await WebSocketTransport().connect(made["relayUrl"], bearer(made["presenceToken"]))

    async def new_session(self) -> tuple[str, int]:
        made = await call(self.url, "relay.createSession", self.user_token, {"daemonId": self.daemon_id})
        return made["token"], session_id_of(made["token"])


class EchoDaemon:
    """A daemon that sends everything back, and remembers what happened."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.identity = FileIdentity(platform.folder / "identity.json")
        self.endpoint = DaemonEndpoint(platform.daemon_id, self.identity.key_pair, clock=time.monotonic)
        self.daemon = RelayDaemon(self.endpoint, self._take)
        self.events: list[DaemonEvent] = []
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, ready: asyncio.Event) -> None:
        async with await self.platform.connect_daemon(self.identity) as connection:
            ready.set()
            await self.daemon.serve(connection)

    async def happened(self, kind: type[Any], session_id: int) -> Any:
        """Waits for an event of a session."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and event.session_id == session_id:
                    return event
            self._changed.clear()
            await self._changed.wait()

    def received(self, session_id: int) -> list[bytes]:
        data = [e for e in self.events if isinstance(e, SessionData) and e.session_id == session_id]
        return [plaintext for event in data for plaintext in event.plaintexts]

    def _take(self, event: DaemonEvent) -> None:
        self.events.append(event)
        self._changed.set()
        if isinstance(event, SessionData):
            self.endpoint.confirm(event.session_id)
            task = asyncio.create_task(self.daemon.send(event.session_id, event.plaintexts))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


class Tamperer:
    """Stands between a client and the relay, and changes what passes."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.up: Change = lambda message: [message]
        self.down: Change = lambda message: [message]
        self.inject_up: Callable[[bytes], Awaitable[None]]
        self.inject_down: Callable[[bytes], Awaitable[None]]
        self.passed_up: list[bytes] = []
        self.passed_down: list[bytes] = []

    @asynccontextmanager
    async def open(self, token: str) -> AsyncIterator[str]:
        """Listens for one client with this token; gives the URL to connect to."""

        async def handle(client: Connection) -> None:
            relay = await WebSocketTransport().connect(self._platform.relay_url, bearer(token))
            self.inject_up, self.inject_down = relay.send, client.send
            async with relay:
                upward = asyncio.create_task(_forward(client, relay, self.passed_up, lambda m: self.up(m)))
                downward = asyncio.create_task(_forward(relay, client, self.passed_down, lambda m: self.down(m)))
                await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
                for task in (upward, downward):
                    task.cancel()
                await asyncio.gather(upward, downward, return_exceptions=True)

        listener = await WebSocketTransport().listen("ws://127.0.0.1:0/", handle)
        async with listener:
            yield listener.address


class Bench:
    """Everything a test of bad input needs."""

    def __init__(self, platform: Platform, daemon: EchoDaemon, stack: AsyncExitStack) -> None:
        self.platform = platform
        self.daemon = daemon
        self._stack = stack
        self.bystander: RelayClient

    async def connect(
        self, tamperer: Tamperer | None = None, trust: IdentityTrust | None = None
    ) -> tuple[RelayClient, int]:
        """Opens a session, through a tamperer if one is given."""
        connection, session_id = await self.open(tamperer)
        trust = trust or IdentityTrust(MemoryIdentityKeyStore(), "accept-new")
        client = await RelayClient.negotiate(
            connection, daemon_id=self.platform.daemon_id, session_id=session_id, trust=trust
        )
        self._stack.push_async_callback(client.close)
        return client, session_id

    async def open(self, tamperer: Tamperer | None = None) -> tuple[Connection, int]:
        """Opens a connection without a session, for tests that speak frames themselves."""
        token, session_id = await self.platform.new_session()
        url = self.platform.relay_url
        if tamperer is not None:
            url = await self._stack.enter_async_context(tamperer.open(token))
        connection = await WebSocketTransport().connect(url, bearer(token))
        self._stack.push_async_callback(connection.close)
        return connection, session_id

    async def others_go_on(self) -> None:
        """Shows that the session of an innocent client still works both ways."""
        await self.bystander.send([b"still here?"])
        assert await received(self.bystander, 1) == [b"still here?"]


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    database, secret = await open_store(tmp_path / "server")
    administration = Administration(database, secret, actor="test", now=int(time.time() * 1000))
    account = await administration.create_account("a")
    daemon = await administration.create_daemon(account["id"])
    user = await administration.create_user("u", accounts=[account["id"]])
    token = await administration.create_user_token(user["id"])
    await database.close()
    settings = ServerSettings(
        data_dir=tmp_path / "server", listen=ListenSettings(port=0), private=PrivateSettings(enabled=False)
    )
    ready: asyncio.Future[Endpoints] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(run(settings, ready=ready.set_result, stop=stop))
    await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    at = ready.result()
    yield Platform(at.url, at.relay_url, daemon["id"], daemon["apiKey"], token["token"], tmp_path)
    stop.set()
    await serving


@pytest.fixture
async def bench(platform: Platform) -> AsyncIterator[Bench]:
    daemon, ready = EchoDaemon(platform), asyncio.Event()
    serving = asyncio.create_task(daemon.serve(ready))
    await ready.wait()
    async with AsyncExitStack() as stack:
        bench = Bench(platform, daemon, stack)
        bench.bystander, _ = await bench.connect()
        await bench.others_go_on()
        yield bench
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
def tamperer(platform: Platform) -> Tamperer:
    return Tamperer(platform)


def bearer(token: str) -> ConnectOptions:
    return ConnectOptions(headers={"Authorization": f"Bearer {token}"})


async def received(client: RelayClient, count: int) -> list[bytes]:
    plaintexts: list[bytes] = []
    while len(plaintexts) < count:
        for event in await client.receive():
            if isinstance(event, DataReceived):
                plaintexts += event.plaintexts
    return plaintexts


async def _forward(source: Connection, target: Connection, passed: list[bytes], change: Change) -> None:
    async for message in source:
        passed.append(message)
        for changed in change(message):
            await target.send(changed)


__all__ = ["Bench", "SessionEnded", "SessionOpened", "SessionRefused", "Tamperer"]
