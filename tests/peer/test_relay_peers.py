"""Peers through a real relay: sessions, pause and resume, and what each cut does."""

from __future__ import annotations

import asyncio

import pytest

from sideband.errors import IdentityRefusedError, IdentityStoreError, PeerError, SbrpError, TransportError
from sideband.identity import (
    IdentityTrust,
    MemoryIdentityKeyStore,
    compute_fingerprint,
    generate_identity_key_pair,
)
from sideband.peer import Peer, PeerOptions, RetryPolicy, listen, relay_daemon_negotiator
from sideband.secure_relay.limits import DaemonLimits
from tests.support.relay_harness import QUICK, World, bearer, quick_transport, until


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
        for number in range(300):
            peer.events.emit("n", number)
            if number == 200:
                world.daemon_network.cut()
            if number % 10 == 0:
                await asyncio.sleep(0)
        await resumed.wait()
        await until(lambda: 299 in received)
        assert received == list(range(300))


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


async def test_auto_repins_and_tells_and_prompt_asks(world: World) -> None:
    server = await world.daemon(serve)
    old = generate_identity_key_pair().public_key
    changes: list[tuple[str, str]] = []
    store = MemoryIdentityKeyStore({"d_1": old})
    auto = world.client(trust=IdentityTrust(store, "auto"))
    auto.on("identity_changed", lambda *pair: changes.append(pair))
    await auto.connect()
    assert changes == [(compute_fingerprint(old), server.fingerprint)]
    assert await store.get("d_1") == world.identity.public_key
    await auto.disconnect()

    asked: list[object] = []

    async def first(fingerprint: str) -> bool:
        asked.append(fingerprint)
        await asyncio.sleep(0)
        return True

    def mismatch(expected: str, received: str) -> bool:
        asked.append((expected, received))
        return False

    def prompt(store: MemoryIdentityKeyStore) -> IdentityTrust:
        return IdentityTrust(store, "prompt", on_first_connection=first, on_identity_mismatch=mismatch)

    async with world.client(trust=prompt(MemoryIdentityKeyStore())) as peer:
        assert await peer.rpc.call("echo", 1) == 1
    doubted = world.client(trust=prompt(MemoryIdentityKeyStore({"d_1": old})))
    with pytest.raises(IdentityRefusedError):
        await doubted.connect()
    assert doubted.closed
    assert asked == [server.fingerprint, (compute_fingerprint(old), server.fingerprint)]


async def test_a_store_that_hangs_or_fails_ends_the_attempt_with_a_clear_error(world: World) -> None:
    class Broken(MemoryIdentityKeyStore):
        async def get(self, daemon_id: str) -> bytes | None:
            if self.hangs:
                await asyncio.Event().wait()
            raise OSError("the keyring is locked")

        hangs = False

    class Hanging(Broken):
        hangs = True

    await world.daemon(serve)
    for store in (Broken(), Hanging()):
        peer = world.client(trust=IdentityTrust(store, "accept-new", store_timeout=0.05), retry=RetryPolicy())
        with pytest.raises(IdentityStoreError, match="pin store"):
            await peer.connect()
        assert peer.closed


async def test_a_slow_handler_of_one_session_keeps_no_other_waiting(world: World) -> None:
    def on_connection(peer: Peer) -> None:
        async def never() -> None:
            await asyncio.Event().wait()

        peer.rpc.handle("never", never)
        peer.rpc.handle("echo", lambda value: value)

    server = await world.daemon(on_connection)
    async with world.client() as slow, world.client() as quick:
        stuck = [asyncio.create_task(slow.rpc.try_call("never", timeout=60)) for _ in range(2_000)]
        await until(lambda: server.connections[0].rpc.handlers.waiting > 0)
        assert [await quick.rpc.call("echo", n) for n in range(50)] == list(range(50))
        assert not any(call.done() for call in stuck)
        big = asyncio.create_task(quick.rpc.call("echo", b"x" * 10_000_000))
        assert await slow.rpc.try_call("missing") is not None
        assert len(await big) == 10_000_000
        for call in stuck:
            call.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


async def test_a_daemon_takes_no_more_sessions_than_its_own_limit(world: World) -> None:
    await world.daemon(serve, limits=DaemonLimits(sessions=2))
    async with world.client() as first, world.client() as second:
        third = world.client(retry=RetryPolicy())
        with pytest.raises(SbrpError) as caught:
            await third.connect()
        assert caught.value.code == "session_expired"
        assert (await first.rpc.call("echo", 1), await second.rpc.call("echo", 2)) == (1, 2)
    async with world.client() as fourth:
        assert await fourth.rpc.call("echo", 4) == 4


async def test_a_second_daemon_with_the_same_key_ends_the_first(world: World) -> None:
    first = await world.daemon(serve)
    async with world.client() as peer:
        second = await world.daemon(serve)
        with pytest.raises(TransportError) as caught:
            await first.wait_closed()
        assert caught.value.close_code == 4001
        assert first.connections == ()
        assert await peer.rpc.call("echo", 1) == 1
        assert len(second.connections) == 1


async def test_a_daemon_whose_first_token_is_refused_raises(world: World) -> None:
    negotiator = relay_daemon_negotiator(
        "d_1", world.identity, get_connection_params=lambda: bearer("not.a.token", world.relay.url)
    )
    with pytest.raises(TransportError) as caught:
        await listen(None, serve, negotiator=negotiator, options=PeerOptions(retry=QUICK), transport=quick_transport())
    assert caught.value.http_status == 401


async def test_a_daemon_waits_for_a_relay_that_is_not_there_yet(world: World) -> None:
    await world.relay.stop()
    starting = asyncio.create_task(world.daemon(serve))
    await asyncio.sleep(0.1)
    assert not starting.done()
    await world.relay.start()
    server = await starting
    assert server.online
    assert server.daemon_id == "d_1"
