"""Peers through a real relay: sessions, pause and resume, and what each cut does."""

from __future__ import annotations

import asyncio

import pytest

from sideband.errors import IdentityRefusedError, PeerError, SbrpError
from sideband.identity import IdentityTrust, MemoryIdentityKeyStore, generate_identity_key_pair
from sideband.peer.peer import Peer
from tests.support.relay_harness import World, until


def serve(peer: Peer) -> None:
    peer.rpc.handle("echo", lambda value: value)


async def test_a_call_travels_through_the_relay(world: World) -> None:
    server = await world.daemon(serve)
    async with world.client() as peer:
        assert await peer.rpc.call("echo", {"a": [1, None, "x"]}) == {"a": [1, None, "x"]}
        assert peer.path == "relay"
        assert peer.fingerprint == server.fingerprint
        assert peer.remote_id == "daemon"
        assert {"resume/1", "frag/1", "bin/1"} <= peer.capabilities
        assert len(server.connections) == 1
    await until(lambda: not server.connections)


async def test_both_ends_call(world: World) -> None:
    async def on_connection(peer: Peer) -> None:
        async def ask_back(question: str) -> str:
            return str(await peer.rpc.call("answer", question))

        peer.rpc.handle("ask", ask_back)

    await world.daemon(on_connection)
    async with world.client() as peer:
        peer.rpc.handle("answer", lambda question: f"{question}!")
        assert await peer.rpc.call("ask", "why") == "why!"


async def test_a_cut_of_the_daemon_pauses_and_resumes_with_the_same_keys(world: World) -> None:
    release = asyncio.Event()
    runs = 0

    async def slow(value: int) -> int:
        nonlocal runs
        runs += 1
        await release.wait()
        return value

    def on_connection(peer: Peer) -> None:
        peer.rpc.handle("slow", slow)
        serve(peer)

    server = await world.daemon(on_connection)
    seen: list[str] = []
    async with world.client() as peer:
        peer.on("state_change", lambda state, _previous: seen.append(str(state)))
        peer.on("connected", lambda: seen.append("connected"))
        paused, resumed = asyncio.Event(), asyncio.Event()
        peer.on("session_paused", paused.set)
        peer.on("session_resumed", resumed.set)
        calls = [asyncio.create_task(peer.rpc.call("slow", n)) for n in range(3)]
        await until(lambda: runs == 3)
        (other_end,) = server.connections
        world.daemon_network.refusing = True
        world.daemon_network.cut()
        await paused.wait()
        await until(lambda: other_end.state == "paused")
        late = asyncio.create_task(peer.rpc.call("echo", "queued"))
        peer.events.emit("while.paused")
        world.daemon_network.refusing = False
        release.set()
        await resumed.wait()
        assert await asyncio.gather(*calls) == [0, 1, 2]
        assert await late == "queued"
        assert runs == 3
        assert server.connections == (other_end,)
        assert seen == ["paused", "active"]


async def test_events_sent_around_a_cut_arrive_once_and_in_order(world: World) -> None:
    received: list[int] = []
    await world.daemon(lambda peer: peer.events.on("n", received.append))
    async with world.client() as peer:
        resumed = asyncio.Event()
        peer.on("session_resumed", resumed.set)
        for number in range(400):
            peer.events.emit("n", number)
            if number == 200:
                world.daemon_network.cut()
            if number % 10 == 0:
                await asyncio.sleep(0)
        await resumed.wait()
        await until(lambda: 399 in received)
        assert received == list(range(400))


async def test_a_daemon_that_started_anew_closes_what_it_does_not_know(world: World) -> None:
    first = await world.daemon(serve)
    async with world.client() as peer:
        assert await peer.rpc.call("echo", 1) == 1
        cycles = []
        peer.on("reconnecting", lambda attempt, _delay: cycles.append(attempt))
        (wire,) = first.connections
        world.daemon_network.refusing = True
        world.daemon_network.cut()
        await until(lambda: peer.state == "paused")
        pending = asyncio.create_task(peer.rpc.try_call("echo", 2))
        await asyncio.sleep(0)
        first._task.cancel()  # type: ignore[union-attr]  # the process is gone, without a word
        world.daemon_network.refusing = False
        second = await world.daemon(serve)
        result = await pending
        assert result.ok
        assert result.reconnected
        assert cycles == [1]
        assert len(second.connections) == 1
        assert wire not in second.connections


async def test_a_relay_that_restarts_loses_both_ends_and_both_come_back(world: World) -> None:
    server = await world.daemon(serve)
    async with world.client() as peer:
        assert await peer.rpc.call("echo", 1) == 1
        await world.relay.stop()
        await until(lambda: peer.reconnecting is not None)
        cycle = peer.reconnecting
        assert cycle is not None
        await world.relay.start()
        assert (await cycle).outcome == "connected"
        assert await peer.rpc.call("echo", 2) == 2
    await until(lambda: not server.connections)


async def test_a_clients_cut_is_a_new_session(world: World) -> None:
    server = await world.daemon(serve)
    async with world.client() as peer:
        await peer.rpc.call("echo", 1)
        world.client_network.cut()
        await until(lambda: peer.reconnecting is not None)
        assert await peer.rpc.call("echo", 2) == 2
        await until(lambda: len(server.connections) == 1)


async def test_a_closing_daemon_lets_its_clients_retry_and_a_dismissed_one_does_not(world: World) -> None:
    server = await world.daemon(serve)
    async with world.client() as peer, world.client() as dismissed:
        for one in (peer, dismissed):
            assert await one.rpc.call("echo", 1) == 1
        await server.connections[1].disconnect()
        await until(lambda: dismissed.closed)
        assert isinstance(dismissed.error, PeerError)
        assert dismissed.error.code == "peer_closed"
        await server.close()
        await until(lambda: peer.reconnecting is not None)
        assert not peer.closed


async def test_an_offline_daemon_is_retried_and_an_unwanted_key_is_not(world: World) -> None:
    peer = world.client()
    with pytest.raises(SbrpError) as caught:
        await peer.connect()
    assert caught.value.code == "daemon_offline"
    assert peer.reconnecting is not None
    await peer.disconnect()

    await world.daemon(serve)
    pinned = MemoryIdentityKeyStore({"d_1": generate_identity_key_pair().public_key})
    stranger = world.client(trust=IdentityTrust(pinned, "pinned-only"))
    with pytest.raises(IdentityRefusedError):
        await stranger.connect()
    assert stranger.closed
    with pytest.raises(PeerError, match="peer_closed"):
        await stranger.when_ready()
