"""Events: docs/protocol/peer.md, "Events"."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from sideband.errors import PeerError, SbpError
from sideband.peer import ConnectionPolicy, Event, EventPolicy, Peer, RetryPolicy
from tests.support.manual_clock import settle
from tests.support.memory_world import MemoryWorld
from tests.support.relay_harness import until

RETRY = RetryPolicy(mode="on-error", jitter=0)


@pytest.fixture
async def peer(memory: MemoryWorld) -> Peer:
    await memory.listen()
    client = memory.client()
    await client.connect()
    return client


@pytest.fixture
def far(memory: MemoryWorld, peer: Peer) -> Peer:
    return memory.peers[0]


async def test_on_gets_the_data_of_one_name(peer: Peer, far: Peer) -> None:
    got: list[Any] = []
    remove = far.events.on("file.changed", got.append)
    peer.events.emit("file.changed", {"path": "a"})
    peer.events.emit("file.removed", {"path": "b"})
    peer.events.emit("file.changed")
    await settle()
    assert got == [{"path": "a"}, None]
    remove()
    peer.events.emit("file.changed", 3)
    await settle()
    assert len(got) == 2


async def test_decorators(peer: Peer, far: Peer) -> None:
    got: list[Any] = []

    @far.events.on("a")
    def on_a(data: Any) -> None:
        got.append(data)

    @far.events.on_pattern("a.*")
    async def on_more(event: Event) -> None:
        got.append((event.name, event.data))

    peer.events.emit("a", 1)
    peer.events.emit("a.b", 2)
    await settle()
    assert got == [1, ("a.b", 2)]
    assert on_a.__name__ == "on_a"
    assert asyncio.iscoroutinefunction(on_more)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.b", ["a.b"]),
        ("a.*", ["a.b", "a.c"]),
        ("*.b", ["a.b"]),
        ("a.>", ["a.b", "a.c", "a.b.c"]),
        (">", ["a", "a.b", "a.c", "a.b.c", "A.b"]),
    ],
)
async def test_patterns_are_matched_at_the_subscriber(peer: Peer, far: Peer, pattern: str, names: list[str]) -> None:
    got: list[str] = []
    far.events.on_pattern(pattern, lambda event: got.append(event.name))
    for name in ("a", "a.b", "a.c", "a.b.c", "A.b"):
        peer.events.emit(name)
    await settle()
    wanted = names if pattern != "*.b" else ["a.b", "A.b"]
    assert got == wanted


@pytest.mark.parametrize("name", ["", "a..b", "a b", "a/b", "*", "a.>", "$sideband/x", "ü", "x" * 256])
async def test_names_that_cannot_be_emitted(peer: Peer, name: str) -> None:
    with pytest.raises(PeerError) as caught:
        peer.events.emit(name)
    assert caught.value.code == "invalid_pattern"


@pytest.mark.parametrize("pattern", ["", "**", "a.**", ">.a", "a.>.b", "a*", "a..b"])
async def test_patterns_that_are_refused(peer: Peer, pattern: str) -> None:
    for subscribe in (peer.events.subscribe, lambda pattern: peer.events.on_pattern(pattern, print)):
        with pytest.raises(PeerError) as caught:
            subscribe(pattern)
        assert caught.value.code == "invalid_pattern"


async def test_on_takes_no_wildcard(peer: Peer) -> None:
    with pytest.raises(PeerError, match="on_pattern"):
        peer.events.on("a.*", print)


async def test_a_subscription_is_an_async_iterator(peer: Peer, far: Peer) -> None:
    with far.events.subscribe("n.>") as subscription:
        for number in range(3):
            peer.events.emit("n.x", number)
        got = [await anext(subscription) for _ in range(3)]
    assert got == [Event("n.x", 0), Event("n.x", 1), Event("n.x", 2)]
    peer.events.emit("n.x", 4)
    await settle()
    assert [event async for event in subscription] == []


async def test_a_subscription_ends_with_its_peer(peer: Peer, far: Peer) -> None:
    subscription = far.events.subscribe("n")
    reading = asyncio.create_task(_all_of(subscription))
    peer.events.emit("n", 1)
    await settle()
    await peer.disconnect()
    assert await reading == [1]
    assert [event async for event in far.events.subscribe("n")] == []


async def _all_of(subscription: Any) -> list[Any]:
    return [event.data async for event in subscription]


async def test_one_task_reads_a_subscription(peer: Peer) -> None:
    subscription = peer.events.subscribe("n")
    reading = asyncio.create_task(anext(subscription))
    await settle()
    with pytest.raises(PeerError, match="invalid_state"):
        await anext(subscription)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_a_subscriber_that_falls_behind_loses_the_oldest_and_is_told(peer: Peer, far: Peer) -> None:
    subscription = far.events.subscribe("n", limit=3)
    for number in range(10):
        peer.events.emit("n", number)
    await settle()
    assert subscription.waiting == 3
    assert subscription.dropped == 7
    assert await anext(subscription) == Event("n", 7, dropped=7)
    assert await anext(subscription) == Event("n", 8)
    for number in range(10, 14):
        peer.events.emit("n", number)
    await settle()
    assert await anext(subscription) == Event("n", 11, dropped=2)


async def test_a_flood_reaches_a_quick_subscriber_whole_and_a_slow_one_in_part(memory: MemoryWorld) -> None:
    async def slow(data: int) -> None:
        if not seen:
            await release.wait()
        seen.append(data)

    release, seen, quick = asyncio.Event(), list[int](), list[int]()

    def on_connection(peer: Peer) -> None:
        peer.events.on("n", quick.append)
        peer.events.on("n", slow)
        peer.rpc.handle("echo", lambda value: value)

    await memory.listen(on_connection, options=memory.options(events=EventPolicy(subscriber_queue=100)))
    async with memory.client() as peer:
        for number in range(20_000):
            peer.events.emit("n", number)
        assert await peer.rpc.call("echo", "still there") == "still there"
        assert quick == list(range(20_000))
        release.set()
        await settle()
        # One was in work, or none yet, when the flood came; of the rest the newest hundred are left.
        assert seen[-100:] == list(range(19_900, 20_000))
        assert {getattr(error, "code", None) for error in memory.unhandled} == {"buffer_overflow"}
        told = sum(error.details["dropped"] for error in memory.unhandled if isinstance(error, PeerError))
        assert told + len(seen) == 20_000


async def test_a_handler_that_raises_stops_neither_the_others_nor_itself(
    memory: MemoryWorld, peer: Peer, far: Peer
) -> None:
    got: list[Any] = []

    def bad(_data: Any) -> None:
        raise RuntimeError("sync")

    async def worse(_data: Any) -> None:
        raise RuntimeError("async")

    far.events.on("n", bad)
    far.events.on("n", worse)
    far.events.on("n", got.append)
    peer.events.emit("n", 1)
    await settle()
    peer.events.emit("n", 2)
    await settle()
    assert got == [1, 2]
    assert sorted(str(error) for error in memory.unhandled) == ["async", "async", "sync", "sync"]


async def test_on_unhandled_error_may_itself_fail(memory: MemoryWorld, caplog: pytest.LogCaptureFixture) -> None:
    def failing(_error: BaseException) -> None:
        raise RuntimeError("the handler of errors")

    def bad(_data: Any) -> None:
        raise RuntimeError("the handler")

    await memory.listen(lambda peer: peer.events.on("n", bad), options=memory.options(on_unhandled_error=failing))
    async with memory.client() as peer:
        peer.events.emit("n")
        await settle()
        assert peer.ready
    assert "on_unhandled_error itself failed" in caplog.text


async def test_coroutine_functions_in_disguise_run_as_such(peer: Peer, far: Peer) -> None:
    got: list[Any] = []

    class Callable:
        async def __call__(self, data: Any) -> None:
            got.append(("object", data))

    async def with_prefix(prefix: str, data: Any) -> None:
        got.append((prefix, data))

    far.events.on("n", Callable())
    far.events.on("n", functools.partial(with_prefix, "partial"))
    peer.events.emit("n", 1)
    await settle()
    assert got == [("object", 1), ("partial", 1)]


async def test_a_plain_function_that_returns_a_coroutine_is_reported(
    memory: MemoryWorld, peer: Peer, far: Peer
) -> None:
    async def work(_data: Any) -> None: ...

    far.events.on("n", lambda data: work(data))
    peer.events.emit("n")
    await settle()
    assert [type(error) for error in memory.unhandled] == [TypeError]


@pytest.mark.parametrize("policy", ["fail", "pause"])
async def test_events_are_buffered_on_a_pause_and_arrive_in_order(memory: MemoryWorld, policy: Any) -> None:
    got: list[int] = []
    await memory.listen(lambda peer: peer.events.on("n", got.append))
    async with memory.client(connection=ConnectionPolicy(on_disconnect=policy)) as peer:
        peer.events.emit("n", 0)
        await memory.pause()
        for number in range(1, 129):
            peer.events.emit("n", number)
        assert peer.events.buffered == 128
        await memory.resume()
        await until(lambda: len(got) == 129)
        assert got == list(range(129))
        assert peer.events.dropped == 0


async def test_over_128_the_oldest_is_dropped(memory: MemoryWorld) -> None:
    got: list[int] = []
    await memory.listen(lambda peer: peer.events.on("n", got.append))
    async with memory.client() as peer:
        await memory.pause()
        for number in range(130):
            peer.events.emit("n", number)
        assert (peer.events.buffered, peer.events.dropped) == (128, 2)
        await memory.resume()
        await until(lambda: len(got) == 128)
        assert got == list(range(2, 130))


async def test_events_wait_for_the_first_and_for_the_next_session(memory: MemoryWorld) -> None:
    got: list[Any] = []
    await memory.listen(lambda peer: peer.events.on("n", got.append))
    peer = memory.client(retry=RETRY)
    peer.events.emit("n", "idle")
    await peer.connect()
    await settle()
    await memory.cut()
    peer.events.emit("n", "away")
    await memory.clock.advance(1)
    await settle()
    assert got == ["idle", "away"]


async def test_what_is_buffered_is_what_was_emitted(memory: MemoryWorld) -> None:
    got: list[Any] = []
    await memory.listen(lambda peer: peer.events.on("n", got.append))
    peer = memory.client()
    data = {"list": [1], "bytes": b"x"}
    peer.events.emit("n", data)
    data["list"] = "changed"
    with pytest.raises(SbpError):
        peer.events.emit("n", object())
    await peer.connect()
    await settle()
    assert got == [{"list": [1], "bytes": b"x"}]


async def test_emitting_faster_than_the_network_carries_loses_events_not_memory(memory: MemoryWorld) -> None:
    got: list[int] = []
    await memory.listen(lambda peer: peer.events.on("n", lambda data: got.append(data["n"])))
    async with memory.client(events=EventPolicy(max_outgoing_bytes=10_000)) as peer:
        for number in range(1_000):
            peer.events.emit("n", {"n": number, "fill": "x" * 1_000})
        assert peer.events.buffered == 128
        assert peer.events.dropped > 800
        await until(lambda: len(got) + peer.events.dropped == 1_000)
        assert got[-128:] == list(range(872, 1_000))


async def test_a_closed_peer_emits_nothing(peer: Peer) -> None:
    await peer.disconnect()
    with pytest.raises(PeerError) as caught:
        peer.events.emit("n")
    assert caught.value.code == "peer_closed"


async def test_vendor_messages(memory: MemoryWorld, peer: Peer, far: Peer) -> None:
    got: list[bytes] = []

    def bad(_data: bytes) -> None:
        raise RuntimeError("vendor")

    far.on_message("app/acme.blob", bad)
    remove = far.on_message("app/acme.blob", got.append)
    peer.send("app/acme.blob", b"\x00\x01")
    peer.send("app/acme.other", b"unheard")
    await settle()
    assert got == [b"\x00\x01"]
    assert [str(error) for error in memory.unhandled] == ["vendor"]
    remove()
    for subject in ("rpc", "app/sb.resume.v1", "", "other/x"):
        with pytest.raises(SbpError):
            peer.send(subject, b"")
        with pytest.raises(SbpError):
            peer.on_message(subject, got.append)


async def test_raw_sends_need_an_active_session(memory: MemoryWorld, peer: Peer) -> None:
    idle = memory.client()
    codes = {}
    for name, one, act in (
        ("idle", idle, None),
        ("paused", peer, memory.pause),
        ("closed", peer, peer.disconnect),
    ):
        if act is not None:
            await act()
        with pytest.raises(PeerError) as caught:
            one.send("app/x", b"")
        codes[name] = caught.value.code
    assert codes == {"idle": "not_connected", "paused": "session_paused", "closed": "peer_closed"}
