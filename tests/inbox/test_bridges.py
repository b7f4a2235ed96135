"""The three bridges on the server's side, and presence."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from sideband.inbox.config import RateLimit
from sideband.inbox.store import Blob, InboxStore, MemoryInboxStore, Notices, Page

from .conftest import gather_all
from .served import BOB, CAROL, Clock, Served, events, serving
from .test_routes import code

KINDS = ["ws", "stream", "poll"]


@pytest.fixture
async def served(store: InboxStore) -> AsyncIterator[Served]:
    async with serving(store) as running:
        await running.register()
        yield running


@pytest.fixture
async def small() -> AsyncIterator[Served]:
    async with serving() as running:
        await running.register()
        yield running


async def receive(served: Served, kind: str, count: int, since: int = 0, connected: asyncio.Event | None = None) -> Any:
    """Return `count` messages by one kind of bridge: cursor and content."""
    async with asyncio.timeout(30):
        if kind == "ws":
            return await receive_ws(served, count, since, connected)
        if kind == "stream":
            return await receive_stream(served, count, since, connected)
        return await receive_polls(served, count, since, connected)


async def receive_ws(served: Served, count: int, since: int, connected: asyncio.Event | None) -> Any:
    got: list[Any] = []
    async with served.ws(since) as socket:
        assert await socket.receive_json() == {"type": "ready", "cursor": since}
        if connected:
            connected.set()
        while len(got) < count:
            message = await socket.receive_json()
            assert message.pop("type") == "envelope"
            got.append(content(message))
    return got


async def receive_stream(served: Served, count: int, since: int, connected: asyncio.Event | None) -> Any:
    got: list[Any] = []
    async with served.stream(since) as coming:
        async for name, number, message in coming:
            if not name:
                if connected:
                    connected.set()
                continue
            assert (name, number) == ("envelope", str(message["receivedAt"]))
            got.append(content(message))
            if len(got) == count:
                break
    return got


async def receive_polls(served: Served, count: int, since: int, connected: asyncio.Event | None) -> Any:
    got: list[Any] = []
    if connected:
        connected.set()
    while len(got) < count:
        status, body = await served.poll(since)
        assert status == 200
        assert set(body) == {"messages", "cursor"}
        got += map(content, body["messages"])
        since = body["cursor"]
    return got


def content(message: dict[str, Any]) -> tuple[int, bytes]:
    assert set(message) == {"msgId", "ciphertext", "receivedAt", "expiresAt", "from"}
    return message["receivedAt"], base64.b64decode(message["ciphertext"])


async def refusal(served: Served, kind: str, query: dict[str, str]) -> tuple[Any, Any]:
    """Return status or close code, and the refusal as JSON."""
    if kind != "ws":
        return await served.ask("GET", f"/v1/bridge/{kind}", params=query)
    async with served.http.ws_connect(served.url / "v1/bridge/ws", params=query) as socket:
        body = await socket.receive_json()
        assert body.pop("type") == "error"
        assert (await socket.receive()).type == aiohttp.WSMsgType.CLOSE
        body.pop("retryAfter", None)
        return socket.close_code, body


async def until(holds: Callable[[], bool]) -> None:
    """Let the event loop run until something holds that nothing tells of."""
    while not holds():  # noqa: ASYNC110  (what is waited for is a count without an event)
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hundred_messages_that_were_there(served: Served, kind: str) -> None:
    for number in range(100):
        await served.put(b"%d" % number)
    got = await receive(served, kind, 100)
    assert [each for _, each in got] == [b"%d" % number for number in range(100)]
    assert [cursor for cursor, _ in got] == sorted({cursor for cursor, _ in got})


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hundred_messages_that_come_while_connected(served: Served, kind: str) -> None:
    connected = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        receiving = tasks.create_task(receive(served, kind, 100, connected=connected))
        await connected.wait()
        for number in range(100):
            await served.put(b"%d" % number)
    assert [each for _, each in receiving.result()] == [b"%d" % number for number in range(100)]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_burst_gives_each_message_once_and_in_order(served: Served, kind: str) -> None:
    connected = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        receiving = tasks.create_task(receive(served, kind, 60, connected=connected))
        await connected.wait()
        await gather_all(*(served.put(b"%d" % (number % 60)) for number in range(120)))
    cursors = [cursor for cursor, _ in receiving.result()]
    assert cursors == sorted(set(cursors))
    assert {each for _, each in receiving.result()} == {b"%d" % number for number in range(60)}


@pytest.mark.parametrize("kind", KINDS)
async def test_exactly_what_is_above_the_cursor(served: Served, kind: str) -> None:
    receipts = [(await served.put(b"%d" % number))[1]["receivedAt"] for number in range(6)]
    got = await receive(served, kind, 2, since=receipts[3])
    assert got == [(receipts[4], b"4"), (receipts[5], b"5")]
    assert len((await served.fetch())[1]["blobs"]) == 6  # delivering does not delete


async def test_a_stream_goes_on_after_the_larger_of_since_and_the_last_event(small: Served) -> None:
    for number in range(4):
        await small.put(b"%d" % number)

    async def first(since: int, last: str) -> int:
        async with small.stream(since, headers={"Last-Event-ID": last}) as coming:
            async for name, _, message in coming:
                if name:
                    return int(message["receivedAt"])
        raise AssertionError

    assert [await first(*each) for each in ((1, "2"), (2, "1"), (1, "x"), (1, "-5"), (0, "9" * 30))] == [3, 3, 2, 2, 1]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wrong_key(small: Served, kind: str) -> None:
    status, body = await refusal(small, kind, small.query(kind, identity=CAROL))
    assert (status, body["code"]) == (4401 if kind == "ws" else 401, "SHADE_UNAUTHORIZED")


@pytest.mark.parametrize("kind", KINDS)
async def test_an_unregistered_address(small: Served, kind: str) -> None:
    status, body = await refusal(small, kind, small.query(kind, address="nobody"))
    assert (status, body["code"]) == (4404 if kind == "ws" else 404, "SHADE_NOT_FOUND")


@pytest.mark.parametrize("signed", KINDS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_signature_for_one_kind_is_none_for_the_others(small: Served, kind: str, signed: str) -> None:
    if kind == signed:
        return await good(small, kind)
    status, body = await refusal(small, kind, small.query(signed))
    assert (status, body["code"]) == (4403 if kind == "ws" else 401, "SHADE_UNAUTHORIZED")
    status, body = await refusal(small, kind, small.query(signed) | {"kind": kind})
    assert (status, body["code"]) == (4401 if kind == "ws" else 401, "SHADE_UNAUTHORIZED")
    return None


async def good(small: Served, kind: str) -> None:
    await small.put(b"x")
    assert await receive(small, kind, 1) == [(1, b"x")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changed", [{"kind": None}, {"address": "carol"}, {"since": 1}, {"signedAt": None}])
async def test_swapped_fields(small: Served, kind: str, changed: dict[str, Any]) -> None:
    await small.register("carol", CAROL)
    await small.put(b"x")
    other = "poll" if kind == "ws" else "ws"
    query = small.query(other if "kind" in changed else kind)
    query |= {name: str(value) for name, value in changed.items() if value is not None}
    if "kind" in changed:
        query["kind"] = kind
    if "signedAt" in changed:
        query["signedAt"] = str(small.clock.ms - 1)
    status, body = await refusal(small, kind, query)
    assert (status, body["code"]) == (4401 if kind == "ws" else 401, "SHADE_UNAUTHORIZED")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [-300.001, 60.001])
async def test_outside_the_window(small: Served, kind: str, seconds: float) -> None:
    query = at(small, seconds).query(kind)
    status, body = await refusal(small, kind, query)
    assert (status, body["code"]) == (4408 if kind == "ws" else 401, "SHADE_REPLAY")


def at(served: Served, seconds: float) -> Served:
    """Return a client whose clock is so far from the server's."""
    clock = Clock()
    clock.now = served.clock.now + seconds
    return Served(served.inbox, served.url, served.http, clock)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [-300, 60])
async def test_at_the_edges_of_the_window(small: Served, kind: str, seconds: int) -> None:
    await small.put(b"x")
    query = at(small, seconds).query(kind)
    if kind == "poll":
        assert (await small.ask("GET", "/v1/bridge/poll", params=query))[0] == 200
    elif kind == "stream":
        async with small.http.get(small.url / "v1/bridge/stream", params=query) as response:
            assert response.status == 200
    else:
        async with small.http.ws_connect(small.url / "v1/bridge/ws", params=query) as socket:
            assert (await socket.receive_json())["type"] == "ready"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cursor_from_the_future(small: Served, kind: str) -> None:
    await small.put(b"x")
    status, body = await refusal(small, kind, small.query(kind, since=2))
    assert (status, body["code"], body["cursor"]) == (4409 if kind == "ws" else 409, "SHADE_CONFLICT", 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changed",
    [
        {"since": "-1"},
        {"since": "x"},
        {"since": "1.0"},
        {"since": "01"},
        {"since": "٣"},
        {"since": ""},
        {"since": "9" * 17},
        {"signedAt": "now"},
        {"signature": "x"},
        {"signature": ""},
        {"address": "b ob"},
        {"address": ""},
        {"kind": "sse"},
        {"more": "1"},
        {"since": None},
        {"signature": None},
    ],
    ids=str,
)
async def test_a_malformed_query(small: Served, kind: str, changed: dict[str, str | None]) -> None:
    query = {name: value for name, value in (small.query(kind) | changed).items() if value is not None}
    status, body = await refusal(small, kind, query)
    assert (status, body["code"]) == (4400 if kind == "ws" else 400, "SHADE_VALIDATION")


async def test_a_websocket_route_without_an_upgrade(small: Served) -> None:
    assert code(await small.ask("GET", "/v1/bridge/ws", params=small.query("ws"))) == (400, "VALIDATION")


class SlowFirstRead(MemoryInboxStore):
    """Stores one blob right before the first read of a bridge returns."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[Any]] | None = None

    async def read(self, address: str, since: int, **words: Any) -> Page:
        page = await super().read(address, since, **words)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return page


@pytest.mark.parametrize("kind", KINDS)
async def test_a_blob_stored_between_subscribe_and_first_read_is_delivered(kind: str) -> None:
    store = SlowFirstRead()
    async with serving(store) as served:
        await served.register()
        await served.put(b"before")
        store.meanwhile = lambda: served.put(b"between")
        assert await receive(served, kind, 2) == [(1, b"before"), (2, b"between")]


class Deaf(MemoryInboxStore):
    """A store that tells nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.notices = Silent(pushing=False)


class Silent(Notices):
    def stored(self, address: str, previous: int | None = None, blob: Blob | None = None) -> None:
        pass


@pytest.mark.parametrize("kind", KINDS)
async def test_without_an_event_a_timer_looks(kind: str) -> None:
    async with serving(Deaf(), timer_seconds=0.01) as served:
        await served.register()
        connected = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(receive(served, kind, 1, connected=connected))
            await connected.wait()
            await served.put(b"x")
        assert receiving.result() == [(1, b"x")]


async def test_a_poll_without_a_message_ends_after_its_time() -> None:
    async with serving(poll_seconds=0.02) as served:
        await served.register()
        assert await served.poll() == (200, {"messages": [], "cursor": 0})
        await served.put(b"x")
        assert (await served.poll(1))[1] == {"messages": [], "cursor": 1}


async def test_a_poll_gives_a_page_at_once() -> None:
    async with serving() as served:
        await served.register()
        for number in range(51):
            await served.put(b"%d" % number)
        _, body = await served.poll()
        assert (len(body["messages"]), body["cursor"]) == (50, 50)


async def test_a_quiet_stream_sends_comments() -> None:
    async with serving(comment_seconds=0.01) as served:
        await served.register()
        async with served.stream() as coming:
            comments = [name async for name, _, _ in take(coming, 5)]
        assert comments == [""] * 5


async def take(coming: AsyncIterator[Any], count: int) -> AsyncIterator[Any]:
    async for each in coming:
        yield each
        count -= 1
        if count == 0:
            return


async def test_a_quiet_websocket_is_pinged() -> None:
    async with serving(ping_seconds=0.02) as served:
        await served.register()
        async with served.http.ws_connect(
            served.url / "v1/bridge/ws", params=served.query("ws"), autoping=False
        ) as socket:
            await socket.receive_json()
            assert (await socket.receive()).type == aiohttp.WSMsgType.PING


async def test_the_head_of_a_stream_keeps_proxies_from_buffering(small: Served) -> None:
    async with small.http.get(small.url / "v1/bridge/stream", params=small.query("stream")) as response:
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_shutdown_ends_connections_in_good_order(kind: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving())
        await served.register()
        bridges = served.inbox.bridges

        async def ended() -> Any:
            if kind == "poll":
                return await served.poll()
            if kind == "stream":
                async with served.stream() as coming:
                    return [name async for name, _, _ in coming]
            async with served.ws() as socket:
                await socket.receive_json()
                await socket.receive()
                return socket.close_code

        waiting = asyncio.create_task(ended())
        async with asyncio.timeout(60):
            await until(lambda: bridges[kind] == 1)
            await served.close()
            outcome = await waiting
        assert outcome == {"poll": (200, {"messages": [], "cursor": 0}), "stream": [""], "ws": 1001}[kind]
        assert bridges[kind] == 0


async def test_a_slow_consumer_does_not_pile_up_memory() -> None:
    """What a client does not take stays in the store: one page at most is in its connection."""
    counted = Counted()
    async with serving(counted, bytes_per_address=2**30, page_bytes=2**20) as served:
        await served.register()
        reader, writer = await asyncio.open_connection(served.url.host, served.url.port, limit=2**16)
        url = (served.url / "v1/bridge/stream").with_query(served.query("stream"))
        writer.write(f"GET {url.raw_path_qs} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readline()
        for number in range(100):
            await served.put(bytes([number]) * 500_000)
        assert counted.read_bytes < 20 * 2**20
        got = 0
        async with asyncio.timeout(30):
            while got < 100:
                line = await read_line(reader)
                got += line.startswith(b"event: envelope")
        writer.close()
        await writer.wait_closed()


async def read_line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line's beginning, however long the line is."""
    head = b""
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            piece = await reader.readexactly(error.consumed)
            head = head or piece[:100]
        else:
            return head or line[:100]


class Counted(MemoryInboxStore):
    """Counts what bridges were given."""

    def __init__(self) -> None:
        super().__init__()
        self.read_bytes = 0

    async def read(self, address: str, since: int, **words: Any) -> Page:
        page = await super().read(address, since, **words)
        self.read_bytes += sum(len(blob.ciphertext) for blob in page.blobs)
        return page


async def test_a_client_that_takes_nothing_is_cut() -> None:
    async with serving(send_seconds=0.05, bytes_per_address=2**30) as served:
        await served.register()
        for number in range(40):
            await served.put(bytes([number]) * 1_000_000)
        _, writer = await asyncio.open_connection(served.url.host, served.url.port, limit=1024)
        url = (served.url / "v1/bridge/stream").with_query(served.query("stream"))
        writer.write(f"GET {url.raw_path_qs} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(60):
            await until(lambda: served.inbox.answers["stream", 200] == 1)
        assert served.inbox.bridges["stream"] == 0
        writer.transport.abort()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_that_disconnects_in_the_middle_of_a_batch(served: Served, kind: str) -> None:
    for number in range(120):
        await served.put(b"%d" % number)
    first = await receive(served, kind, 30)
    rest = await receive(served, kind, 90, since=first[29][0])
    assert [each for _, each in first[:30] + rest] == [b"%d" % number for number in range(120)]


@pytest.mark.parametrize("kind", ["ws", "stream"])
async def test_connections_have_a_rate(kind: str) -> None:
    async with serving(connect_rate=RateLimit(burst=1, per_second=0.1)) as served:
        await served.register()
        await served.put(b"x")
        await receive(served, kind, 1)
        status, body = await refusal(served, kind, served.query(kind))
        assert (status, body["code"]) == (4429 if kind == "ws" else 429, "SHADE_RATE_LIMIT")


async def test_polls_have_a_rate() -> None:
    async with serving(poll_rate=RateLimit(burst=1, per_second=0.1), poll_seconds=0.01) as served:
        await served.register()
        assert (await served.poll())[0] == 200
        assert code(await served.poll()) == (429, "RATE_LIMIT")
        assert served.last_headers["Retry-After"] == "10"


@pytest.mark.parametrize("limit", ["max_bridges", "max_bridges_per_address"])
async def test_open_connections_are_limited(limit: str) -> None:
    async with serving(**{limit: 2}) as served:
        await served.register()
        async with served.ws() as first, served.ws() as second:
            await first.receive_json()
            await second.receive_json()
            status, body = await refusal(served, "ws", served.query("ws"))
            assert (status, body["code"]) == (4429, "SHADE_RATE_LIMIT")
        async with asyncio.timeout(60):
            await until(lambda: served.inbox.bridges["ws"] == 0)
        async with served.ws() as again:
            assert (await again.receive_json())["type"] == "ready"


@pytest.mark.parametrize("kind", ["stream", "poll"])
async def test_connections_that_were_left_take_no_room(kind: str) -> None:
    """Nothing has been sent on them since their clients went, so nothing has failed on them yet."""
    async with serving(max_bridges_per_address=2) as served:
        await served.register()
        url = served.url / f"v1/bridge/{kind}"
        async with asyncio.timeout(60):
            for number in range(6):
                _, writer = await asyncio.open_connection(served.url.host, served.url.port)
                path = url.with_query(served.query(kind)).raw_path_qs
                writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                await until(lambda: served.inbox.bridges[kind] == number % 2 + 1)  # noqa: B023  (awaited at once)
                writer.transport.abort()
                await asyncio.sleep(0)
        async with served.ws() as socket:
            assert (await socket.receive_json())["type"] == "ready"


class Presences:
    """One watcher's stream of presence."""

    def __init__(self, served: Served) -> None:
        self.served = served

    @contextlib.asynccontextmanager
    async def watching(self, addresses: Any, **changed: Any) -> AsyncIterator[Any]:
        fields = {"address": "carol", "kind": "presence", "addresses": addresses, **changed}
        body = self.served.signed(CAROL, fields)
        async with self.served.http.post(self.served.url / "v1/bridge/presence", json=body) as response:
            if response.status == 200:
                yield (each async for each in events(response) if each[0])
            else:
                yield response.status, await response.json()


async def allow(served: Served, *watchers: str) -> None:
    body = served.signed(BOB, {"watchers": list(watchers)}, path={"address": "bob"})
    served.clock.now += 1
    assert (await served.ask("PUT", "/v1/inbox/bob/watchers", body))[0] == 200


async def test_presence_is_a_snapshot_and_then_changes() -> None:
    async with serving(comment_seconds=0.05) as served:  # a comment finds out that a stream's client has gone
        await served.register()
        await served.register("carol", CAROL)
        await allow(served, "carol")
        async with asyncio.timeout(60), Presences(served).watching(["bob", "nobody", "carol"]) as coming:
            assert await anext(coming) == ("snapshot", None, {"online": {"bob": False, "nobody": None, "carol": None}})
            async with served.ws() as first:
                assert await anext(coming) == ("presence", None, {"address": "bob", "online": True})
                async with served.stream():
                    await first.receive_json()
            assert await anext(coming) == ("presence", None, {"address": "bob", "online": False})
            await served.put(b"x")
            await served.poll()
            assert await anext(coming) == ("presence", None, {"address": "bob", "online": True})


async def test_presence_is_shown_to_those_alone_whom_the_owner_lists() -> None:
    async with serving() as served:
        await served.register()
        await served.register("carol", CAROL)
        await allow(served, "alice")
        async with served.ws() as socket:
            await socket.receive_json()
            async with Presences(served).watching(["bob"]) as coming:
                assert (await anext(coming))[2] == {"online": {"bob": None}}


async def test_presence_takes_64_addresses_and_8_kib(small: Served) -> None:
    await small.register("carol", CAROL)
    async with Presences(small).watching([f"a{number}" for number in range(64)]) as coming:
        assert len((await anext(coming))[2]["online"]) == 64
    for wrong in ([f"a{number}" for number in range(65)], "bob", [7], ["b ob"], None):
        async with Presences(small).watching(wrong) as answer:
            assert code(answer) == (400, "VALIDATION")
    async with Presences(small).watching(["a" * 256 for _ in range(40)]) as answer:
        assert code(answer) == (413, "PAYLOAD_TOO_LARGE")


async def test_presence_needs_the_watchers_signature(small: Served) -> None:
    async with Presences(small).watching([]) as answer:
        assert code(answer) == (404, "NOT_FOUND")
    await small.register("carol", CAROL)
    async with Presences(small).watching([], kind="poll") as answer:
        assert code(answer) == (401, "UNAUTHORIZED")
    async with Presences(small).watching([], address="bob") as answer:
        assert code(answer) == (401, "UNAUTHORIZED")


async def test_an_answered_poll_lingers() -> None:
    async with serving(presence_linger_seconds=0.02) as served:
        await served.register()
        await served.register("carol", CAROL)
        await allow(served, "carol")
        await served.put(b"x")
        async with asyncio.timeout(60), Presences(served).watching(["bob"]) as coming:
            await anext(coming)
            await served.poll()
            assert (await anext(coming))[2] == {"address": "bob", "online": True}
            assert (await anext(coming))[2] == {"address": "bob", "online": False}
