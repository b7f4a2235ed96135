"""A control plane on a real store; its time is the test's."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sideband.control.administration import Administration
from sideband.control.app import control_routes
from sideband.control.config import ControlConfig
from sideband.control.plane import ControlPlane
from sideband.control.secrets import ServerSecret
from sideband.control.store import Database, sqlite_url
from tests.support.postgres import fresh_database

PUBLIC = "https://sideband.example"


class Clock:
    """Unix time that moves by hand."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

    @property
    def milliseconds(self) -> int:
        return int(self.now * 1000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
async def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A store that nothing was ever in; both kinds run the same tests."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "store.db")
        return
    async with fresh_database() as url:
        yield url


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    database = await Database.open(store_url)
    yield database
    await database.close()


@pytest.fixture
def secret(tmp_path: Path) -> ServerSecret:
    return ServerSecret.load(tmp_path / "server.key")


@pytest.fixture
def config() -> ControlConfig:
    return ControlConfig(public_url=PUBLIC, relay_url="wss://sideband.example/relay", issuer=PUBLIC)


@pytest.fixture
async def plane(config: ControlConfig, database: Database, secret: ServerSecret, clock: Clock) -> ControlPlane:
    return await ControlPlane.open(config, database, secret, clock)


@pytest.fixture
def admin(database: Database, secret: ServerSecret, clock: Clock) -> Callable[[], Administration]:
    """Returns an administration at the present time."""
    return lambda: Administration(database, secret, actor="test", now=clock.milliseconds)


@dataclass
class Home:
    """An account with one user and one daemon, and their credentials."""

    account: str
    user: str
    token: str
    daemon: str
    key_id: str
    api_key: str
    identity: bytes

    @property
    def identity_text(self) -> str:
        return base64.b64encode(self.identity).decode()


@pytest.fixture
def make_home(admin: Callable[[], Administration]) -> Callable[[str], Awaitable[Home]]:
    async def make(name: str) -> Home:
        acting = admin()
        account = await acting.create_account(name)
        user = await acting.create_user(f"{name}-user", accounts=[name])
        token = await acting.create_user_token(user["id"])
        daemon = await acting.create_daemon(name, name=f"{name}-daemon")
        return Home(
            account["id"],
            user["id"],
            token["token"],
            daemon["id"],
            daemon["keyId"],
            daemon["apiKey"],
            secrets.token_bytes(32),
        )

    return make


@pytest.fixture
async def home(make_home: Callable[[str], Awaitable[Home]]) -> Home:
    return await make_home("home")


class Api:
    """Calls procedures over HTTP as a client does; `address` stands for what trusted proxies would tell."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self.client = client
        self.address = "192.0.2.1"

    async def call(self, procedure: str, value: Any = None, credential: str | None = None) -> tuple[int, Any]:
        headers = {"X-Test-Address": self.address}
        if credential is not None:
            headers["Authorization"] = f"Bearer {credential}"
        async with self.client.post(f"/api/trpc/{procedure}", json={"json": value}, headers=headers) as response:
            assert response.content_type == "application/json"
            assert response.headers["Cache-Control"] == "no-store"
            return response.status, await response.json()

    async def ok(self, procedure: str, value: Any = None, credential: str | None = None) -> Any:
        """Call and return the output of a call that must succeed."""
        status, body = await self.call(procedure, value, credential)
        assert status == 200, body
        assert set(body) == {"result"}
        assert set(body["result"]) == {"data"}
        return body["result"]["data"]

    async def refused(self, procedure: str, value: Any = None, credential: str | None = None) -> tuple[int, str]:
        """Call and return status and code of a call that must be refused, having checked the error's shape."""
        status, body = await self.call(procedure, value, credential)
        assert set(body) == {"error"}, body
        error = body["error"]
        assert set(error) == {"message", "data"}
        assert error["message"]
        assert error["data"]["httpStatus"] == status
        assert set(error["data"]) == {"code", "httpStatus"}
        return status, error["data"]["code"]


@pytest.fixture
async def api(plane: ControlPlane) -> AsyncIterator[Api]:
    app = web.Application(client_max_size=plane.config.max_request_bytes)
    app.add_routes(control_routes(plane, address_of=lambda request: request.headers["X-Test-Address"]))
    async with TestClient(TestServer(app)) as client:
        yield Api(client)


async def gather_all(*calls: Awaitable[Any]) -> list[Any]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_as_coroutine(call)) for call in calls]
    return [task.result() for task in running]


async def _as_coroutine(call: Awaitable[Any]) -> Any:
    return await call


@pytest.fixture(name="gather_all")
def _gather_all() -> Callable[..., Awaitable[list[Any]]]:
    """Runs calls at once and returns their results; the first failure cancels the rest."""
    return gather_all
