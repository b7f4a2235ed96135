"""Databases that go away in the middle of deliveries and come back: nothing is lost, doubled or out of order."""

import asyncio
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sideband.inbox.client.bridge import Bridge
from sideband.inbox.client.sending import InboxClient
from sideband.inbox.store import open_inbox_store
from tests.support.server_process import ServerProcess, free_port, nats_server

from .served import ALICE, serving
from .test_delivery import AT_ONCE, BRIDGES, Received, contents, origin

pytestmark = pytest.mark.servers

BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1] if Path("/usr/lib/postgresql").is_dir() else Path()


class Postgres:
    """A cluster of this test alone, killed as in a crash; its commits are synced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / secrets.token_hex(4)
        self._folder.mkdir(parents=True)
        self.port = free_port()
        subprocess.run(["chown", "-R", "postgres", self._folder], check=True)
        self._run("initdb", "-D", "data", "--username=sideband", "--auth=trust", "--encoding=UTF8", "--locale=C")

    @property
    def url(self) -> str:
        return f"postgresql://sideband@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        words = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories="
        self._run("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", words, "start")

    def kill(self) -> None:
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    async def restart(self) -> None:
        await asyncio.to_thread(self.kill)
        await asyncio.to_thread(self.start)

    def remove(self) -> None:
        shutil.rmtree(self._folder)

    def _run(self, program: str, *words: str) -> None:
        command = ["runuser", "-u", "postgres", "--", str(BIN / program), *words]
        subprocess.run(command, check=True, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(params=["postgresql", "nats"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    server: Postgres | ServerProcess
    if request.param == "nats":
        server = nats_server(tmp_path)
        url = f"nats://127.0.0.1:{server.port}"
    else:
        server = Postgres(Path("/var/tmp"))  # where the user postgres may go, which is not so of pytest's folders
        url = server.url
    server.start()
    yield server, url
    server.kill()
    if isinstance(server, Postgres):
        server.remove()


@pytest.mark.parametrize("kind", BRIDGES, ids=lambda kind: kind.kind)
async def test_a_restart_during_delivery(kind: type[Bridge], database: Any) -> None:
    server, url = database
    store = await open_inbox_store(url, wait_seconds=2)
    async with serving(store, timer_seconds=0.1, presence_linger_seconds=0) as served:
        await served.register()
        received = Received()
        bridge = kind(origin(served), retry=AT_ONCE, on_error=lambda _: None)
        async with InboxClient(str(served.url), ALICE, wall_clock=served.clock, retry=AT_ONCE) as client:
            await bridge.connect(received)
            for content in contents(30):
                await client.put("bob", content)
            await received.count(10)
            await server.restart()
            for content in contents(30, 30):
                await client.put("bob", content)
            await client.flush()
            await received.count(60)
            await bridge.close()
        assert received.contents == contents(60)
        page = await store.read("bob", 0, limit=100, max_bytes=2**30, now=served.clock.ms)
        assert [blob.ciphertext for blob in page.blobs] == contents(60)
    await store.close()


async def test_the_event_comes_back_after_a_restart(database: Any) -> None:
    """Once the store tells of new blobs again, they are pushed, and no timer is needed."""
    server, url = database
    first, second = await open_inbox_store(url, wait_seconds=2), await open_inbox_store(url, wait_seconds=2)
    async with serving(first, timer_seconds=3600) as sending, serving(second, timer_seconds=3600) as serving_bob:
        await sending.register()
        received = Received()
        bridge = BRIDGES[0](origin(serving_bob), retry=AT_ONCE, on_error=lambda _: None)
        await bridge.connect(received)
        await sending.put(b"before")
        await received.count(1)
        await server.restart()
        async with InboxClient(str(sending.url), ALICE, wall_clock=sending.clock, retry=AT_ONCE) as client:
            await client.put("bob", b"after")
            await client.flush()
        await received.count(2)
        await bridge.close()
    await first.close()
    await second.close()
