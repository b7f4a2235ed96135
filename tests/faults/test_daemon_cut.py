"""The daemon's relay connection is cut under load: sessions pause and go on, or notice nothing; nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.network import Namespace
from tests.faults.world import FaultWorld

GONE_SECONDS = 20.0


async def check_same_sessions(
    world: FaultWorld, paused: dict[int, dict[str, Any]], resumed: dict[int, dict[str, Any]]
) -> None:
    """After the load has ended: each client still has its first session, whose counters went on counting."""
    told = await world.finish()
    daemon = await world.counters()
    assert len(daemon) == world.clients
    for client in range(world.clients):
        before, after, end = paused[client], resumed[client], told[client]
        assert before["session"] == after["session"] == end["session"] == 1
        assert before["sid"] == after["sid"] == end["sid"]
        for counter in ("sent", "received"):
            assert 0 < before[counter] <= after[counter] < end[counter]
        sealed_there, opened_there = daemon[end["sid"]]
        # Both ends count on from before the cut: what one has opened lies between what the other had sealed by then
        # and what it has sealed in all.
        assert before["sent"] <= opened_there < end["sent"]
        assert before["received"] < end["received"] < sealed_there


async def pause_and_resume(
    world: FaultWorld, cut: Callable[[], Awaitable[None]], heal: Callable[[], Awaitable[None]]
) -> None:
    await world.load()
    await cut()
    paused = await world.all_reach("paused")
    await heal()
    resumed = await world.all_reach("active", times=2)
    await world.flow_from(world.answered())
    await check_same_sessions(world, paused, resumed)
    assert set(map(tuple, world.states().values())) == {("connecting", "negotiating", "active", "paused", "active")}
    world.ledger().check_lossless(sessions=world.clients)


@pytest.mark.parametrize("clients", [10, pytest.param(50, marks=pytest.mark.servers)])
async def test_a_reset(tmp_path: Path, clients: int) -> None:
    async with FaultWorld(tmp_path, clients=clients) as world:

        async def reset() -> None:
            world.proxy.cut()

        async def nothing() -> None:
            """It comes back by itself."""

        await pause_and_resume(world, reset, nothing)


@pytest.mark.parametrize(
    ("clients", "keepalive"), [(10, 0.5), pytest.param(50, 5.0, marks=pytest.mark.servers)], ids=["small", "full"]
)
async def test_a_process_that_stands_still_until_the_relay_gives_it_up(
    tmp_path: Path, clients: int, keepalive: float
) -> None:
    async with FaultWorld(tmp_path, clients=clients, keepalive=keepalive) as world:

        async def stop() -> None:
            world.daemon.stop()

        async def go_on() -> None:
            world.daemon.go_on()

        await pause_and_resume(world, stop, go_on)


async def test_a_process_that_stands_still_for_a_moment(tmp_path: Path) -> None:
    async with FaultWorld(tmp_path, clients=10) as world:
        await world.load()
        world.daemon.stop()
        await world.stalled()
        world.daemon.go_on()
        await world.flow_from(world.answered())
        await world.finish()
        assert set(map(tuple, world.states().values())) == {("connecting", "negotiating", "active")}
        world.ledger().check_lossless(sessions=world.clients)


@pytest.mark.servers
@pytest.mark.parametrize("how", ["silence", "pulled cable"])
async def test_a_network_that_is_gone_for_20_seconds(tmp_path: Path, how: str) -> None:
    async with Namespace() as namespace, FaultWorld(tmp_path, clients=50, workers=4, namespace=namespace) as world:
        cut, heal = (namespace.silence, namespace.speak) if how == "silence" else (namespace.pull, namespace.plug)
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def cut_and_note() -> None:
            nonlocal began
            began = loop.time()
            await cut()

        async def heal_after_20_seconds() -> None:
            # How long the network is gone is what is tested; nothing waits for something to have happened by then.
            await asyncio.sleep(began + GONE_SECONDS - loop.time())
            await heal()

        await pause_and_resume(world, cut_and_note, heal_after_20_seconds)
