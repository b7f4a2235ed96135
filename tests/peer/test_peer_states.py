"""The states of a peer as its user sees them: docs/protocol/peer.md, "States", and its events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sideband.errors import ConfigError, PeerError, SbpError, SbrpError, TransportError
from sideband.peer import ConnectionParams, ConnectionPolicy, Negotiator, Peer, PeerOptions, RetryPolicy, create_peer
from sideband.peer.link import Link, PlainLink
from sideband.transport import Connection, MemoryTransport
from tests.support.manual_clock import settle
from tests.support.memory_world import ENDPOINT, MemoryWorld

RETRY = RetryPolicy(mode="on-error", jitter=0)
PAUSE = ConnectionPolicy(on_disconnect="pause")


def watch(peer: Peer) -> list[Any]:
    seen: list[Any] = []
    peer.on("state_change", lambda state, previous: seen.append(f"{previous}>{state}"))
    peer.on("connected", lambda: seen.append("connected"))
    peer.on("disconnected", lambda error: seen.append(("disconnected", getattr(error, "code", error))))
    peer.on("reconnecting", lambda attempt, delay: seen.append(("reconnecting", attempt, delay)))
    peer.on("session_paused", lambda: seen.append("session_paused"))
    peer.on("session_resumed", lambda: seen.append("session_resumed"))
    peer.on("error", lambda error: seen.append(("error", type(error).__name__)))
    return seen


async def test_the_life_of_a_session(memory: MemoryWorld) -> None:
    await memory.listen()
    peer = memory.client()
    seen = watch(peer)
    assert (peer.state, peer.connected, peer.ready) == ("idle", False, False)
    await peer.connect()
    assert (peer.state, peer.connected, peer.ready) == ("active", True, True)
    assert (peer.remote_id, peer.path) == ("server", "relay")
    await memory.pause()
    assert (peer.state, peer.connected, peer.ready) == ("paused", True, False)
    await memory.resume()
    assert peer.state == "active"
    await peer.disconnect()
    assert (peer.state, peer.connected, peer.ready) == ("closed", False, False)
    assert seen == [
        "idle>connecting",
        "connecting>negotiating",
        "negotiating>active",
        "connected",
        "active>paused",
        "session_paused",
        "paused>active",
        "session_resumed",
        "active>closed",
        ("disconnected", None),
    ]


async def test_connect_twice_waits_for_the_same_attempt(memory: MemoryWorld) -> None:
    await memory.listen()
    peer = memory.client()
    await asyncio.gather(peer.connect(), peer.connect(), peer.when_ready())
    assert len(memory.near.links) == 1


async def test_connect_from_other_states_is_invalid_at_once(memory: MemoryWorld) -> None:
    await memory.listen()
    peer = memory.client(retry=RETRY)
    await peer.connect()
    states: dict[str, str] = {}

    async def attempt() -> None:
        with pytest.raises(PeerError) as caught:
            await peer.connect()
        states[str(peer.state)] = caught.value.code

    await attempt()
    await memory.pause()
    await attempt()
    await memory.cut()
    await attempt()
    await peer.disconnect()
    await attempt()
    assert states == dict.fromkeys(("active", "paused", "reconnecting", "closed"), "invalid_state")


async def test_a_refused_connection_raises_and_closes(memory: MemoryWorld) -> None:
    peer = memory.client()
    seen = watch(peer)
    with pytest.raises(TransportError) as caught:
        await peer.connect()
    assert caught.value.kind == "connection_refused"
    assert peer.error is caught.value
    assert seen == ["idle>connecting", "connecting>closed", ("error", "TransportError")]


async def test_the_attempt_raises_and_the_peer_goes_on_trying(memory: MemoryWorld) -> None:
    peer = memory.client(retry=RETRY)
    with pytest.raises(TransportError):
        await peer.connect()
    cycle = peer.reconnecting
    assert cycle is not None
    ready = asyncio.create_task(peer.when_ready())
    await memory.clock.advance(1)
    await memory.listen()
    await memory.clock.advance(2)
    await ready
    assert (await cycle).outcome == "connected"
    assert peer.reconnecting is None
    assert peer.error is None
    assert memory.clock.slept == [1.0, 2.0]


async def test_a_cycle_that_fails(memory: MemoryWorld) -> None:
    peer = memory.client(retry=RetryPolicy(mode="on-error", jitter=0, max_attempts=2))
    peer.start()
    await settle()
    cycle = peer.reconnecting
    assert cycle is not None
    ready = asyncio.create_task(peer.when_ready())
    await memory.clock.advance(1)
    await memory.clock.advance(2)
    result = await cycle
    assert result.outcome == "failed"
    assert isinstance(result.error, TransportError)
    with pytest.raises(PeerError) as caught:
        await ready
    assert caught.value.code == "peer_closed"
    assert caught.value.__cause__ is result.error


async def test_a_cycle_that_is_aborted(memory: MemoryWorld) -> None:
    peer = memory.client(retry=RETRY)
    peer.start()
    await settle()
    cycle = peer.reconnecting
    assert cycle is not None
    await peer.disconnect()
    result = await cycle
    assert (result.outcome, result.error) == ("aborted", None)
    assert peer.reconnecting is None


async def test_a_lost_connection_reconnects(memory: MemoryWorld) -> None:
    await memory.listen()
    peer = memory.client(retry=RETRY)
    await peer.connect()
    seen = watch(peer)
    await memory.cut()
    peer_error = peer.error
    assert isinstance(peer_error, TransportError)
    assert len(memory.server.connections) == 0
    await memory.clock.advance(1)
    assert seen == [
        "active>reconnecting",
        ("disconnected", peer_error),
        ("error", "TransportError"),
        ("reconnecting", 1, 1.0),
        "reconnecting>connecting",
        "connecting>negotiating",
        "negotiating>active",
        "connected",
    ]
    assert len(memory.server.connections) == 1
    assert len(memory.near.terminated) == 1


async def test_when_ready_waits_through_a_pause(memory: MemoryWorld) -> None:
    await memory.listen()
    async with memory.client() as peer:
        await peer.when_ready()
        await memory.pause()
        ready = asyncio.create_task(peer.when_ready())
        await settle()
        assert not ready.done()
        await memory.resume()
        await ready


async def test_when_ready_of_a_closed_peer(memory: MemoryWorld) -> None:
    peer = memory.client()
    waiting = asyncio.create_task(peer.when_ready())
    await settle()
    await peer.disconnect()
    for call in (waiting, peer.when_ready()):
        with pytest.raises(PeerError) as caught:
            await call
        assert caught.value.code == "peer_closed"


async def test_disconnect_is_idempotent_in_every_state(memory: MemoryWorld) -> None:
    await memory.listen()
    for prepare in (None, "connect", "pause", "cut"):
        peer = memory.client(retry=RETRY)
        if prepare is not None:
            await peer.connect()
        if prepare == "pause":
            await memory.pause()
        if prepare == "cut":
            await memory.cut()
        await asyncio.gather(peer.disconnect(), peer.disconnect())
        await peer.disconnect()
        assert peer.closed
        await settle()
    assert memory.server.connections == ()


async def test_disconnect_while_connecting(memory: MemoryWorld) -> None:
    class Never(MemoryTransport):
        async def connect(self, endpoint: str, options: Any = None) -> Connection:
            await asyncio.Event().wait()
            raise AssertionError

    peer = create_peer(ENDPOINT, transport=Never(), options=memory.options())
    connecting = asyncio.create_task(peer.connect())
    await settle()
    assert peer.state == "connecting"
    await peer.disconnect()
    with pytest.raises(PeerError) as caught:
        await connecting
    assert caught.value.code == "peer_closed"


async def test_the_context_connects_and_closes(memory: MemoryWorld) -> None:
    await memory.listen()
    async with memory.client() as peer:
        assert peer.ready
    assert peer.closed
    with pytest.raises(PeerError, match="peer_closed"):
        async with peer:
            raise AssertionError


async def test_the_context_goes_through_retries(memory: MemoryWorld) -> None:
    peer = memory.client(retry=RETRY)

    async def use() -> None:
        async with peer:
            assert peer.ready

    using = asyncio.create_task(use())
    await settle()
    await memory.listen()
    await memory.clock.advance(1)
    await using


async def test_a_context_whose_connection_is_refused_leaves_nothing_behind(memory: MemoryWorld) -> None:
    peer = memory.client()
    with pytest.raises(PeerError) as caught:
        async with peer:
            raise AssertionError
    assert isinstance(caught.value.__cause__, TransportError)
    assert peer.closed


async def test_listeners_that_fail_or_take_their_time(memory: MemoryWorld) -> None:
    await memory.listen()
    peer = memory.client()
    done: list[str] = []

    def bad(*_: Any) -> None:
        raise RuntimeError("sync")

    async def slow(*_: Any) -> None:
        await asyncio.sleep(0)
        done.append("slow")
        raise RuntimeError("async")

    peer.on("connected", bad)
    remove = peer.on("connected", slow)
    async with peer:
        pass
    assert done == ["slow"]
    assert sorted(str(error) for error in memory.unhandled) == ["async", "sync"]
    remove()
    remove()
    with pytest.raises(ConfigError):
        peer.on("opened", bad)  # type: ignore[arg-type]  # the point of the test


async def test_an_async_listener_may_close_the_peer(memory: MemoryWorld) -> None:
    await memory.listen()
    peer = memory.client()
    peer.on("session_paused", peer.disconnect)
    await peer.connect()
    await memory.pause()
    assert peer.closed


async def test_the_other_sides_close_is_for_good_unless_it_shuts_down(memory: MemoryWorld) -> None:
    await memory.listen()
    peer = memory.client(retry=RETRY)
    await peer.connect()
    await memory.peers[0].disconnect()
    await settle()
    assert peer.closed
    assert isinstance(peer.error, PeerError)
    assert peer.error.code == "peer_closed"

    peer = memory.client(retry=RETRY)
    await peer.connect()
    await memory.server.close()
    await settle()
    assert peer.state == "reconnecting"


async def test_a_silent_server_ends_the_attempt_in_time(memory: MemoryWorld) -> None:
    async def mute(connection: Connection) -> None:
        await connection.wait_closed()

    listener = await memory.transport.listen(ENDPOINT, mute)
    peer = memory.client()
    connecting = asyncio.create_task(peer.connect())
    await settle()
    assert peer.state == "negotiating"
    await memory.clock.advance(29.9)
    assert not connecting.done()
    await memory.clock.advance(0.1)
    with pytest.raises(TransportError) as caught:
        await connecting
    assert caught.value.kind == "timeout"
    await listener.close()


class FreshParams(Negotiator):
    """Counts what it is asked for; fails as told."""

    def __init__(self, failures: list[Exception]) -> None:
        self.asked = 0
        self.failures = failures
        self.headers: list[Any] = []

    async def get_connection_params(self) -> ConnectionParams:
        self.asked += 1
        return ConnectionParams(endpoint=ENDPOINT, headers={"n": str(self.asked)}, metadata={"acme:try": self.asked})

    async def negotiate(self, connection: Connection) -> Link:
        if self.failures:
            raise self.failures.pop(0)
        return PlainLink(connection)


async def test_connection_params_are_asked_for_before_every_attempt(memory: MemoryWorld) -> None:
    await memory.listen()
    negotiator = FreshParams([SbrpError("daemon_offline"), SbrpError("backpressure")])
    peer = create_peer(transport=memory.transport, negotiator=negotiator, options=memory.options(retry=RETRY))
    peer.start()
    await settle()
    assert negotiator.asked == 1
    await memory.clock.advance(1)
    assert negotiator.asked == 2
    await memory.clock.advance(2)
    await peer.when_ready()
    assert negotiator.asked == 3
    assert memory.peers[0].remote_metadata["acme:try"] == 3
    await peer.disconnect()


@pytest.mark.parametrize(
    "error",
    [
        SbrpError("identity_key_changed"),
        SbpError(1000, "x"),
        ValueError("a bug in a callback"),
        asyncio.CancelledError(),
    ],
)
async def test_a_fatal_error_closes_whatever_the_policy(memory: MemoryWorld, error: Any) -> None:
    await memory.listen()
    peer = create_peer(transport=memory.transport, negotiator=FreshParams([error]), options=memory.options(retry=RETRY))
    ready = asyncio.create_task(peer.when_ready())
    with pytest.raises(PeerError if isinstance(error, asyncio.CancelledError) else type(error)):
        await peer.connect()
    assert peer.closed
    with pytest.raises(PeerError if isinstance(error, asyncio.CancelledError) else type(error)):
        await ready


async def test_a_wait_that_the_other_side_asked_for_is_kept(memory: MemoryWorld) -> None:
    await memory.listen()
    busy = TransportError("transport_failure", "busy", http_status=429, retry_after=17)
    peer = create_peer(transport=memory.transport, negotiator=FreshParams([busy]), options=memory.options(retry=RETRY))
    peer.start()
    await settle()
    assert memory.clock.slept == [17]
    await peer.disconnect()


async def test_an_endpoint_is_needed(memory: MemoryWorld) -> None:
    peer = create_peer(options=memory.options())
    with pytest.raises(PeerError, match="endpoint"):
        await peer.connect()


def test_options_are_set_in_one_place() -> None:
    with pytest.raises(ConfigError, match="retry"):
        create_peer("memory://x", retry=RETRY, options=PeerOptions())


class DirectThenRelayed(Negotiator):
    def __init__(self, world: MemoryWorld) -> None:
        self.world = world
        self.attempts = 0

    async def negotiate(self, connection: Connection) -> Link:
        self.attempts += 1
        return PlainLink(connection) if self.attempts == 1 else await self.world.near.negotiate(connection)

    async def terminate(self, connection: Connection) -> None:
        await self.world.near.terminate(connection)


async def test_path_changed(memory: MemoryWorld) -> None:
    await memory.listen()
    paths: list[str] = []
    negotiator = DirectThenRelayed(memory)
    options = memory.options(retry=RETRY)
    async with create_peer(ENDPOINT, transport=memory.transport, negotiator=negotiator, options=options) as peer:
        peer.on("path_changed", paths.append)
        assert peer.path == "direct"
        memory.far.links[-1].connection.abort()  # type: ignore[attr-defined]  # connections in memory can be aborted
        await settle()
        await memory.clock.advance(1)
        assert peer.path == "relay"
        assert paths == ["relay"]
