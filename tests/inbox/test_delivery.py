"""The clients against the server: every message once and in order, whatever carries it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sideband.database import sqlite_url
from sideband.errors import BridgeError
from sideband.inbox.client.bridge import Bridge
from sideband.inbox.client.bridges import LongPollBridge, SseBridge, WsBridge
from sideband.inbox.client.fallback import FallbackBridgeTransport
from sideband.inbox.client.messages import IncomingMessage
from sideband.inbox.client.outgoing import SqliteOutgoingQueue
from sideband.inbox.client.requests import InboxOrigin
from sideband.inbox.client.sending import InboxClient
from sideband.inbox.envelopes import EnvelopeKeyPair, open_envelope, seal_envelope
from sideband.inbox.store import InboxStore, MemoryInboxStore, open_inbox_store
from sideband.peer.policies import RetryPolicy

from .served import ALICE, BOB, CAROL, Served, serving

BRIDGES: list[type[Bridge]] = [WsBridge, SseBridge, LongPollBridge]
AT_ONCE = RetryPolicy(mode="on-error", initial=0.01, max=0.05)

each_bridge = pytest.mark.parametrize("kind", BRIDGES, ids=lambda kind: kind.kind)


class Received:
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[IncomingMessage] = []
        self._news = asyncio.Event()

    async def __call__(self, message: IncomingMessage) -> None:
        self.messages.append(message)
        self._news.set()

    @property
    def contents(self) -> list[bytes]:
        return [message.bytes for message in self.messages]

    async def count(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.messages) < count:
                self._news.clear()
                await self._news.wait()


def origin(served: Served, url: Any = None, identity: Any = BOB, address: str = "bob") -> InboxOrigin:
    return InboxOrigin(str(url or served.url), address, identity, wall_clock=served.clock)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(presence_linger_seconds=0) as running:
        await running.register()
        yield running


def contents(count: int, first: int = 0) -> list[bytes]:
    return [b"message %d" % number for number in range(first, first + count)]


@each_bridge
async def test_a_hundred_messages_half_of_them_while_connected(kind: type[Bridge], store: InboxStore) -> None:
    async with serving(store, presence_linger_seconds=0) as served:
        await served.register()
        for content in contents(50):
            await served.put(content)
        received = Received()
        bridge = kind(origin(served))
        await bridge.connect(received)
        for content in contents(50, 50):
            await served.put(content)
        await received.count(100)
        await bridge.close()
        assert received.contents == contents(100)
        assert bridge.get_cursor() == received.messages[-1].received_at


@each_bridge
async def test_a_message_of_1_mib(kind: type[Bridge], served: Served) -> None:
    content = bytes(range(256)) * 4096
    received = Received()
    bridge = kind(origin(served))
    await bridge.connect(received)
    async with InboxClient(str(served.url), ALICE, wall_clock=served.clock) as client:
        await (await client.put("bob", content))
    await received.count(1)
    await bridge.close()
    assert received.contents == [content]


@each_bridge
async def test_it_goes_on_exactly_where_it_was(kind: type[Bridge], served: Served) -> None:
    for content in contents(10):
        await served.put(content)
    first, second = Received(), Received()
    bridge = kind(origin(served))
    await bridge.connect(first)
    await first.count(10)
    await bridge.close()
    for content in contents(5, 10):
        await served.put(content)
    again = kind(origin(served), start_cursor=bridge.get_cursor())
    await again.connect(second)
    await second.count(5)
    await again.close()
    assert second.contents == contents(5, 10)


@each_bridge
async def test_a_server_that_restarts(kind: type[Bridge], tmp_path: Path) -> None:
    """The bridge comes back by itself; what was put meanwhile is there, nothing comes twice."""
    store = await open_inbox_store(sqlite_url(tmp_path / "inbox.db"))
    received = Received()
    async with serving(store) as served:
        await served.register()
        port = served.url.port
        bridge = kind(origin(served), retry=AT_ONCE)
        await bridge.connect(received)
        await served.put(b"before")
        await received.count(1)
    async with serving(store, port=port) as served:
        for content in contents(3):
            await served.put(content)
        await received.count(4)
        await bridge.close()
    await store.close()
    assert received.contents == [b"before", *contents(3)]


@each_bridge
async def test_a_restored_store_repeats_nothing_that_is_known(kind: type[Bridge]) -> None:
    received = Received()
    async with serving(presence_linger_seconds=0) as served:
        await served.register()
        port = served.url.port
        bridge = kind(origin(served), retry=AT_ONCE)
        await bridge.connect(received)
        for content in contents(3):
            await served.put(content)
        await received.count(3)
    async with serving(MemoryInboxStore(), port=port) as served:
        await served.register()
        await served.put(b"message 1")
        await served.put(b"new")
        await received.count(4)
        await bridge.close()
    assert received.contents == [*contents(3), b"new"]


@each_bridge
async def test_a_handler_that_raises_is_given_the_same_message_again(kind: type[Bridge], served: Served) -> None:
    for content in contents(3):
        await served.put(content)
    received, errors = Received(), []

    async def handle(message: IncomingMessage) -> None:
        if message.bytes == b"message 1" and len(errors) < 2:
            raise ZeroDivisionError
        await received(message)

    bridge = kind(origin(served), retry=AT_ONCE, on_error=errors.append)
    await bridge.connect(handle)
    await received.count(3)
    await bridge.close()
    assert received.contents == contents(3)
    assert [type(error) for error in errors] == [ZeroDivisionError] * 2


@each_bridge
@pytest.mark.parametrize(
    ("identity", "address", "code"),
    [(CAROL, "bob", "SHADE_UNAUTHORIZED"), (CAROL, "carol", "SHADE_NOT_FOUND")],
    ids=["wrong key", "unregistered"],
)
async def test_refusals_are_for_good(
    kind: type[Bridge], served: Served, identity: Any, address: str, code: str
) -> None:
    bridge = kind(origin(served, identity=identity, address=address))
    with pytest.raises(BridgeError) as caught:
        await bridge.connect(Received())
    assert caught.value.kind == "refused"
    assert caught.value.code == code or caught.value.ws_close_code in (4401, 4404)


async def test_only_one_poll_is_in_flight(served: Served) -> None:
    received = Received()
    bridge = LongPollBridge(origin(served))
    most = 0
    presence = served.inbox.presence
    opened = presence.opened

    def counted(address: str) -> None:
        nonlocal most
        opened(address)
        most = max(most, presence.connections(address))

    presence.opened = counted  # type: ignore[method-assign]  # it counts, and does what it did
    await bridge.connect(received)
    for content in contents(30):
        await served.put(content)
    await received.count(30)
    await bridge.close()
    assert most == 1


class Front:
    """A proxy that takes no upgrades and answers streams with 502."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self.seen: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append(request.path.rpartition("/")[2])
        if "Upgrade" in request.headers:
            return web.Response(status=403, text="no upgrades here")
        if request.path.endswith("/stream"):
            return web.Response(status=502, text="bad gateway")
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(request.method, self._target.join(request.rel_url), data=await request.read()) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)


async def test_long_poll_takes_over_with_nothing_lost(served: Served) -> None:
    app = web.Application()
    front = Front(served.url)
    app.router.add_route("*", "/{path:.*}", front.handle)
    async with TestServer(app) as proxy:
        chain = FallbackBridgeTransport([kind(origin(served, proxy.make_url("/"))) for kind in BRIDGES])
        for content in contents(20):
            await served.put(content)
        received = Received()
        await chain.connect(received)
        assert chain.active_kind == "long-poll"
        for content in contents(20, 20):
            await served.put(content)
        await received.count(40)
        await chain.close()
    assert received.contents == contents(40)
    assert front.seen[:3] == ["ws", "stream", "poll"]


async def test_the_first_that_connects_is_kept(served: Served) -> None:
    chain = FallbackBridgeTransport([kind(origin(served)) for kind in BRIDGES])
    await chain.connect(Received())
    assert chain.active_kind == "ws"
    await chain.close()


async def test_put_fetch_delete_and_an_envelope_from_end_to_end(served: Served) -> None:
    key = EnvelopeKeyPair.generate()
    async with (
        InboxClient(str(served.url), BOB, wall_clock=served.clock) as bob,
        InboxClient(str(served.url), ALICE, wall_clock=served.clock) as alice,
    ):
        assert not await bob.register("bob", envelope_key=key.publish(BOB, "bob"))
        recipient = key.publish(BOB, "bob").verify("bob", BOB.public_key)
        receipt = await (await alice.put("bob", seal_envelope(b"hello", sender=ALICE, recipient=recipient)))
        page = await bob.fetch("bob")
        [message] = page.messages
        opened = open_envelope(message.bytes, key=key, address="bob", sender=ALICE.public_key)
        assert opened.plaintext == b"hello"
        assert await bob.delete("bob", receipt.msg_id)
        assert (await bob.fetch("bob")).messages == []


async def test_a_queue_survives_a_restart_and_keeps_order(served: Served, tmp_path: Path) -> None:
    await served.register("carol", CAROL)
    path = tmp_path / "outgoing.db"
    nowhere = "http://127.0.0.1:9"
    async with InboxClient(nowhere, ALICE, queue=SqliteOutgoingQueue(path), wall_clock=served.clock) as client:
        for content in contents(10):
            for address in ("bob", "carol"):
                await client.put(address, content + address.encode())
    async with InboxClient(
        str(served.url), ALICE, queue=SqliteOutgoingQueue(path), wall_clock=served.clock, retry=AT_ONCE
    ) as client:
        await client.flush()
    for address, identity in (("bob", BOB), ("carol", CAROL)):
        async with InboxClient(str(served.url), identity, wall_clock=served.clock) as owner:
            page = await owner.fetch(address)
        assert [message.bytes for message in page.messages] == [each + address.encode() for each in contents(10)]


async def test_async_iteration(served: Served) -> None:
    for content in contents(3):
        await served.put(content)
    got: list[bytes] = []
    async for message in WsBridge(origin(served)):
        got.append(message.bytes)
        if len(got) == 3:
            break
    assert got == contents(3)
