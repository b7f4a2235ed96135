"""The program behind `sideband daemon`, in this process, with its time in the test's hands."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from sideband.cli.daemon_output import Client, DaemonOutput, Shared
from sideband.cli.daemon_run import CODE_SECONDS, RENEW_BEFORE_SECONDS, DaemonSettings, run_daemon
from sideband.cloud import CloudServer, QuickConnectCode
from sideband.errors import CloudApiError, SidebandError
from sideband.identity import FileIdentity
from sideband.sharing import SharedTransfer, get_file, put_file
from tests.cloud.conftest import Daemon, Platform
from tests.support.faulty_front import refuses, says
from tests.support.manual_clock import ManualClock
from tests.support.relay_harness import until


class Told(DaemonOutput):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[tuple[Any, ...]] = []
        self.codes: list[str] = []
        self.gone = False

    def names(self) -> list[str]:
        return [one[0] for one in self.all]

    async def until(self, name: str, times: int = 1) -> tuple[Any, ...]:
        await until(lambda: self.names().count(name) >= times)
        return [one for one in self.all if one[0] == name][times - 1]

    @override
    def ready(self, server: CloudServer, name: str | None, shared: Shared | None) -> None:
        self.all.append(("ready", server, name, shared))

    @override
    def code(self, code: QuickConnectCode, reason: str) -> None:
        self.codes.append(code.code)
        self.all.append(("code", reason))

    @override
    def no_code(self, error: BaseException) -> None:
        self.all.append(("no_code", error))

    @override
    def connected(self, client: Client, fingerprint: str) -> None:
        if self.gone:
            raise BrokenPipeError
        self.all.append(("connected", client, fingerprint))

    @override
    def moved(self, client: Client) -> None:
        self.all.append(("path", client))

    @override
    def disconnected(self, client: Client) -> None:
        self.all.append(("disconnected", client))

    @override
    def transferred(self, client: Client, transfer: SharedTransfer) -> None:
        self.all.append(("transfer", client.number, transfer.direction, transfer.path, transfer.error))

    @override
    def online(self) -> None:
        self.all.append(("online",))

    @override
    def offline(self, error: BaseException) -> None:
        self.all.append(("offline", error))

    @override
    def stopping(self, reason: str) -> None:
        self.all.append(("stopping", reason))


class Running:
    def __init__(self, told: Told, clock: ManualClock, stop: asyncio.Future[str], task: asyncio.Task[None]) -> None:
        self.told = told
        self.clock = clock
        self.stop = stop
        self.task = task

    async def end(self) -> None:
        self.stop.set_result("test")
        await self.task


Run = Callable[..., Any]


@pytest.fixture
def run(platform: Platform, daemon: Daemon, identity: FileIdentity) -> Run:
    @asynccontextmanager
    async def start(**more: Any) -> AsyncIterator[Running]:
        settings = DaemonSettings(
            **{"api_url": platform.front.url, "api_key": daemon.api_key, "identity": identity, **more}
        )
        told, clock = Told(), ManualClock()
        stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run_daemon(settings, told, stop, clock=clock))
        try:
            yield Running(told, clock, stop, task)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, BrokenPipeError, CloudApiError):
                await task

    return start


async def test_it_is_ready_and_says_who_connects(run: Run, platform: Platform, daemon: Daemon) -> None:
    async with run(codes=False, name="attic") as running:
        _, server, name, shared = await running.told.until("ready")
        assert (server.daemon_id, name, shared) == (daemon.id, "attic", None)
        async with platform.connect(daemon) as peer:
            _, client, fingerprint = await running.told.until("connected")
            assert (client.number, client.name, client.path) == (1, "me", "relay")
            assert client.subject.startswith("u_")
            assert fingerprint == peer.fingerprint == server.fingerprint
            assert (await peer.rpc.call("$sideband/info"))["name"] == "attic"
        assert (await running.told.until("disconnected"))[1] is client
        async with platform.connect(daemon):
            assert (await running.told.until("connected", 2))[1].number == 2
        await running.end()
        assert running.told.names() == [
            *("ready", "connected", "disconnected", "connected", "disconnected"),
            "stopping",
        ]


async def test_ready_comes_first(run: Run, platform: Platform) -> None:
    platform.front.fail("daemon.register", says(503))
    platform.front.fail("daemon.renewToken", says(503))
    async with run() as running:
        await running.told.until("ready")
        assert running.told.names()[0] == "ready"


async def test_a_code_that_is_used_is_followed_by_another(run: Run, platform: Platform) -> None:
    async with run() as running:
        await running.told.until("code")
        for times in (2, 3):
            async with platform.connect(quick_connect_code=running.told.codes[-1]):
                await running.told.until("code", times)
        assert [one[1] for one in running.told.all if one[0] == "code"] == ["first", "used", "used"]
        assert len(set(running.told.codes)) == 3


async def test_a_code_is_renewed_before_it_expires(run: Run) -> None:
    async with run() as running:
        await running.told.until("code")
        await running.clock.advance(CODE_SECONDS - RENEW_BEFORE_SECONDS - 1)
        assert len(running.told.codes) == 1
        await running.clock.advance(1)
        assert await running.told.until("code", 2) == ("code", "renewed")
        await running.clock.advance(CODE_SECONDS - RENEW_BEFORE_SECONDS)
        assert await running.told.until("code", 3) == ("code", "renewed")


async def test_a_user_of_the_account_uses_up_no_code(run: Run, platform: Platform, daemon: Daemon) -> None:
    async with run() as running:
        await running.told.until("code")
        async with platform.connect(daemon):
            await running.told.until("connected")
        assert len(running.told.codes) == 1


async def test_a_code_is_asked_for_until_there_is_one(run: Run, platform: Platform) -> None:
    platform.front.fail("quickConnect.create", says(503), refuses(429, retry_after="90"))
    async with run() as running:
        await until(lambda: len(running.clock.slept) == 1)
        await running.clock.advance(2)
        await until(lambda: len(running.clock.slept) == 2)
        assert running.clock.slept[1] == 90.0
        await running.clock.advance(90)
        assert await running.told.until("code") == ("code", "first")


async def test_a_daemon_without_codes_lives_on(run: Run, platform: Platform, daemon: Daemon) -> None:
    platform.front.fail("quickConnect.create", refuses(403))
    async with run() as running:
        await running.told.until("no_code")
        async with platform.connect(daemon):
            await running.told.until("connected")
        assert not running.task.done()


async def test_the_relay_goes_and_comes(run: Run, platform: Platform) -> None:
    async with run(codes=False) as running:
        await running.told.until("ready")
        await platform.stop()
        await running.told.until("offline")
        await platform.start()
        await running.told.until("online")


async def test_a_refusal_ends_it(run: Run, platform: Platform) -> None:
    platform.front.fail("daemon.register", refuses(401, "UNAUTHORIZED"))
    async with run() as running:
        with pytest.raises(CloudApiError) as caught:
            await running.task
        assert caught.value.status == 401
        assert running.told.all == []


async def test_it_can_be_stopped_before_it_is_ready(run: Run, platform: Platform) -> None:
    platform.front.away = True
    async with run() as running:
        await until(lambda: platform.front.asked)
        await running.end()
        assert running.told.all == []


async def test_once(run: Run, platform: Platform, daemon: Daemon) -> None:
    async with run(once=True) as running:
        await running.told.until("ready")
        async with platform.connect(daemon):
            assert not running.task.done()
        await running.task
        assert running.told.names()[-1] == "stopping"


async def test_a_folder_is_shared(run: Run, platform: Platform, daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "shared"
    root.mkdir()
    (root / "note.txt").write_text("hello")
    async with run(codes=False, shared=Shared(root, writable=False, hidden=False)) as running:
        await running.told.until("ready")
        async with platform.connect(daemon) as peer:
            await get_file(peer, "note.txt", tmp_path / "got.txt")
            assert (tmp_path / "got.txt").read_text() == "hello"
            assert await running.told.until("transfer") == ("transfer", 1, "get", "note.txt", None)
            with pytest.raises(SidebandError):
                await put_file(peer, tmp_path / "got.txt", "put.txt")
        await running.end()
    assert [path.name for path in root.iterdir()] == ["note.txt"]


async def test_a_reader_that_is_gone_costs_no_client_its_session(run: Run, platform: Platform, daemon: Daemon) -> None:
    async with run(codes=False) as running:
        await running.told.until("ready")
        running.told.gone = True
        async with platform.connect(daemon) as peer:
            with pytest.raises(BrokenPipeError):
                await running.task
            await until(lambda: peer.state == "reconnecting")


async def test_its_clients_are_told_that_it_may_be_back(run: Run, platform: Platform, daemon: Daemon) -> None:
    async with run(codes=False) as running:
        await running.told.until("ready")
        peer = platform.connect(daemon)
        await peer.when_ready()
        await running.end()
        await until(lambda: peer.state == "reconnecting")


async def test_the_service_manager_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, daemon: Daemon
) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
        manager.bind(str(address))
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        async with run(codes=False) as running:
            await running.told.until("ready")
            assert manager.recv(1000).decode() == f"READY=1\nSTATUS=daemon {daemon.id}"
            await running.end()
            assert manager.recv(1000) == b"STOPPING=1"


async def test_no_secret_in_what_describes_it(daemon: Daemon, identity: FileIdentity) -> None:
    assert daemon.api_key not in repr(DaemonSettings(api_url="", api_key=daemon.api_key, identity=identity))
