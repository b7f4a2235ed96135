"""Fifty sessions with calls and events under way, and the network between daemon and relay fails in every way.

In one process and with short intervals; tests/faults has the same with real processes and networks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sideband.peer import PeerOptions, RelayServer
from tests.support.relay_harness import PAUSE, QUICK, World, quick_transport, until
from tests.support.traffic import Ledger, Traffic, assert_defined, assert_exactly_once

SESSIONS = 50


async def with_traffic(
    world: World, fault: Callable[[list[Traffic], RelayServer], Awaitable[None]], ledger: Ledger | None = None
) -> tuple[Ledger, list[Traffic], RelayServer]:
    ledger = ledger or Ledger()
    options = PeerOptions(peer_id="daemon", connection=PAUSE, retry=QUICK)
    server = await world.daemon(ledger.serve, options=options)
    clients = [Traffic(world.client(peer_id=f"client-{n}")) for n in range(SESSIONS)]
    for client in clients:
        await client.peer.connect()
    async with asyncio.TaskGroup() as running:
        for client in clients:
            running.create_task(client.run())
        await until(lambda: all(len(client.results) > 5 and client.emitted > 5 for client in clients))
        await fault(clients, server)
        done = {client: len(client.results) for client in clients}
        await until(lambda: all(len(client.results) > done[client] + 5 for client in clients), 60)
        for client in clients:
            client.stopping = True
    return ledger, clients, server


async def everything_arrived(ledger: Ledger, clients: list[Traffic]) -> None:
    await until(lambda: all(len(client.echoed) == client.emitted for client in clients))
    assert_exactly_once(ledger, clients)


async def test_reset_connections_lose_nothing(world: World) -> None:
    async def reset(clients: list[Traffic], server: RelayServer) -> None:
        for round_ in range(1, 4):
            world.daemon_network.cut()
            await until(lambda round_=round_: all(one.seen.count("paused") == round_ for one in clients))
            await until(lambda: all(one.peer.ready for one in clients))

    ledger, clients, server = await with_traffic(world, reset)
    await everything_arrived(ledger, clients)
    assert len(server.connections) == SESSIONS
    for client in clients:
        assert client.seen == ["connecting", "negotiating", "active", *["paused", "active"] * 3]


async def test_a_silent_network_pauses_and_loses_nothing() -> None:
    async with World(keepalive_seconds=0.5) as world:

        async def silence(clients: list[Traffic], server: RelayServer) -> None:
            server._transport = quick_transport(heartbeat_seconds=0.5)
            world.daemon_network.cut()
            await until(lambda: all(one.seen[-2:] == ["paused", "active"] for one in clients))
            world.daemon_network.freeze()
            await until(lambda: all(one.peer.state == "paused" for one in clients))
            await until(lambda: not server.online)
            world.daemon_network.cut()
            world.daemon_network.thaw()
            await until(lambda: all(one.peer.ready for one in clients))

        ledger, clients, _ = await with_traffic(world, silence)
        await everything_arrived(ledger, clients)
        assert all("reconnecting" not in client.seen for client in clients)


async def test_a_short_silence_is_not_even_a_pause(world: World) -> None:
    async def hiccup(clients: list[Traffic], server: RelayServer) -> None:
        world.daemon_network.freeze()
        await asyncio.sleep(0.2)
        world.daemon_network.thaw()

    ledger, clients, _ = await with_traffic(world, hiccup)
    await everything_arrived(ledger, clients)
    assert all(client.seen == ["connecting", "negotiating", "active"] for client in clients)


async def test_a_restarted_relay_brings_both_ends_back(world: World) -> None:
    async def restart(clients: list[Traffic], server: RelayServer) -> None:
        await world.relay.stop()
        await until(lambda: all(one.peer.reconnecting is not None for one in clients))
        await world.relay.start()
        await until(lambda: all(one.peer.ready for one in clients))

    ledger, clients, server = await with_traffic(world, restart)
    assert_defined(ledger, clients)
    assert all(client.seen.count("active") == 2 for client in clients)
    await until(lambda: len(server.connections) == SESSIONS, 150)


@pytest.mark.parametrize("lost", ["daemon", "clients"])
async def test_a_daemon_that_forgot_and_clients_that_were_cut_come_back(world: World, lost: str) -> None:
    ledger = Ledger()

    async def restart(clients: list[Traffic], server: RelayServer) -> None:
        if lost == "clients":
            world.client_network.cut()
        else:
            await server.close()
            await world.daemon(ledger.serve)
        await until(lambda: all(one.seen.count("active") == 2 for one in clients))

    _, clients, _ = await with_traffic(world, restart, ledger)
    assert_defined(ledger, clients)
