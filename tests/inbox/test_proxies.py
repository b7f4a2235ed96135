"""The bridges through a real nginx: set up for WebSockets, as it is without that, and with idle limits."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from yarl import URL

from sideband.inbox.client.bridge import Bridge
from sideband.inbox.client.bridges import LongPollBridge, SseBridge, WsBridge
from sideband.inbox.client.fallback import FallbackBridgeTransport
from sideband.inbox.client.sending import InboxClient
from tests.support.server_process import nginx

from .served import ALICE, Served, serving
from .test_delivery import AT_ONCE, BRIDGES, Received, contents, origin

pytestmark = pytest.mark.servers

UPGRADES = """proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
              proxy_set_header Connection $connection_upgrade;"""
BUFFERING = "proxy_buffering on; proxy_buffers 8 64k; proxy_buffer_size 64k;"
IDLE = "proxy_read_timeout 1s; proxy_send_timeout 1s;"


@contextmanager
def proxy(folder: Path, served: Served, location: str) -> Iterator[URL]:
    server = nginx(folder, served.url.port or 0, location)
    server.start()
    try:
        yield URL(f"http://127.0.0.1:{server.port}/")
    finally:
        server.kill()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(presence_linger_seconds=0) as running:
        await running.register()
        yield running


@pytest.mark.parametrize("kind", BRIDGES, ids=lambda kind: kind.kind)
async def test_all_bridges_through_a_proxy_that_takes_upgrades(
    kind: type[Bridge], served: Served, tmp_path: Path
) -> None:
    with proxy(tmp_path, served, UPGRADES + BUFFERING) as url:
        received = Received()
        bridge = kind(origin(served, url))
        await bridge.connect(received)
        for number, content in enumerate(contents(100)):
            await served.put(content)
            if number < 10:
                # Each is there before the next is put: nothing between holds it back until there is more.
                await received.count(number + 1)
        await received.count(100)
        await bridge.close()
    assert received.contents == contents(100)


async def test_a_message_of_1_mib_both_ways(served: Served, tmp_path: Path) -> None:
    with proxy(tmp_path, served, UPGRADES) as url:
        for kind in BRIDGES:
            content = kind.kind.encode() + bytes(2**20 - len(kind.kind))
            async with InboxClient(str(url), ALICE, wall_clock=served.clock) as client:
                receipt = await (await client.put("bob", content))
            received = Received()
            bridge = kind(origin(served, url), start_cursor=receipt.received_at - 1)
            await bridge.connect(received)
            await received.count(1)
            await bridge.close()
            assert received.contents == [content]


async def test_a_proxy_without_upgrades_leaves_events(served: Served, tmp_path: Path) -> None:
    """What nginx does unless it is told: HTTP/1.0, no Upgrade, and answers are buffered."""
    with proxy(tmp_path, served, BUFFERING) as url:
        chain = FallbackBridgeTransport([kind(origin(served, url)) for kind in BRIDGES])
        received = Received()
        await chain.connect(received)
        assert chain.active_kind == "sse"
        for number, content in enumerate(contents(10)):
            await served.put(content)
            await received.count(number + 1)
        await chain.close()


async def test_a_proxy_that_holds_events_back_leaves_polls(served: Served, tmp_path: Path) -> None:
    blocked = BUFFERING + "if ($uri ~ /bridge/(ws|stream)) { return 502; }"
    with proxy(tmp_path, served, blocked) as url:
        chain = FallbackBridgeTransport([kind(origin(served, url)) for kind in BRIDGES])
        received = Received()
        await chain.connect(received)
        assert chain.active_kind == "long-poll"
        for content in contents(30):
            await served.put(content)
        await received.count(30)
        await chain.close()
        assert received.contents == contents(30)


@pytest.mark.parametrize("kind", [WsBridge, SseBridge], ids=lambda kind: kind.kind)
async def test_signs_of_life_keep_a_quiet_connection_open(kind: type[Bridge], tmp_path: Path) -> None:
    """The proxy gives up what is silent for 1 s; signs of life come every 0.2 s, as every 15 and 20 s in earnest."""
    async with serving(comment_seconds=0.2, ping_seconds=0.4) as served:
        await served.register()
        with proxy(tmp_path, served, UPGRADES + IDLE) as url:
            errors: list[Exception] = []
            received = Received()
            bridge = kind(origin(served, url), auto_reconnect=False, on_error=errors.append)
            await bridge.connect(received)
            async with served.stream() as coming:
                for _ in range(12):  # comments of another stream: more than 2 s of silence on this one
                    await anext(coming)
            await served.put(b"after the silence")
            await received.count(1)
            await bridge.close()
        assert errors == []


async def test_a_proxy_that_cuts_polls_loses_nothing(tmp_path: Path) -> None:
    """Its idle limit is shorter than a poll: it answers 504, and the next poll goes on."""
    async with serving(presence_linger_seconds=0) as served:
        await served.register()
        with proxy(tmp_path, served, IDLE) as url:
            received = Received()
            errors: list[Exception] = []
            failed = asyncio.Event()

            def note(error: Exception) -> None:
                errors.append(error)
                failed.set()

            bridge = LongPollBridge(origin(served, url), retry=AT_ONCE, on_error=note)
            await bridge.connect(received)
            await served.put(b"first")
            await received.count(1)
            async with asyncio.timeout(60):
                await failed.wait()
            await served.put(b"second")
            await received.count(2)
            await bridge.close()
        assert received.contents == [b"first", b"second"]
        assert "504" in str(errors[0])
