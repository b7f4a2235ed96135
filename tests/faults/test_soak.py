"""Twenty cuts in a row, of every kind. The network that falls silent needs root."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.network import Namespace
from tests.faults.world import FaultWorld

pytestmark = pytest.mark.soak

CUTS = 20
CLIENTS = 50


async def test_twenty_resets_lose_nothing(tmp_path: Path) -> None:
    async with FaultWorld(tmp_path, clients=CLIENTS, workers=4) as world:
        await world.load()
        for cut in range(1, CUTS + 1):
            world.proxy.cut()
            await world.all_reach("paused", times=cut)
            await world.all_reach("active", times=cut + 1)
            await world.flow_from(world.answered())
        await world.finish()
        world.ledger().check_lossless(sessions=CLIENTS)


async def test_resets_that_hit_the_resume_of_the_one_before_lose_nothing(tmp_path: Path) -> None:
    async with FaultWorld(tmp_path, clients=CLIENTS, workers=4) as world:
        await world.load()
        for cut in range(1, CUTS + 1):
            world.proxy.cut()
            # As soon as one of them is back; the others are on their way.
            await world.one_reaches("paused", times=cut)
            await world.one_reaches("active", times=cut + 1)
        await world.flow_from(world.answered())
        await world.finish()
        assert all(states.count("connecting") == 1 for states in world.states().values())
        world.ledger().check_lossless(sessions=CLIENTS)


async def test_stops_and_resets_in_turns_lose_nothing(tmp_path: Path) -> None:
    async with FaultWorld(tmp_path, clients=CLIENTS, keepalive=1.0) as world:
        await world.load()
        for cut in range(1, CUTS + 1):
            world.daemon.stop()
            if cut % 2:
                world.proxy.cut()
            await world.all_reach("paused", times=cut)
            world.daemon.go_on()
            await world.all_reach("active", times=cut + 1)
            await world.flow_from(world.answered())
        await world.finish()
        world.ledger().check_lossless(sessions=CLIENTS)


@pytest.mark.parametrize("what", ["daemon", "relay", "both"])
async def test_twenty_kills_deliver_nothing_twice(tmp_path: Path, what: str) -> None:
    async with FaultWorld(tmp_path, clients=CLIENTS) as world:
        await world.load()
        for cut in range(1, CUTS + 1):
            if what != "relay":
                await world.daemon.kill()
            if what != "daemon":
                await world.server.kill()
                await world.start_server()
            if what != "relay":
                await world.start_daemon()
            await world.all_reach("active", times=cut + 1)
            await world.flow_from(world.answered())
        told = await world.finish()
        assert set(await world.counters()) == {one["sid"] for one in told.values()}
        world.ledger().check_once()


@pytest.mark.parametrize("ways", [("input", "output"), ("input",), ("output",)], ids=["both ways", "deaf", "mute"])
async def test_silences_lose_nothing(tmp_path: Path, ways: tuple[str, ...]) -> None:
    async with Namespace() as namespace, FaultWorld(tmp_path, clients=CLIENTS, workers=4, namespace=namespace) as world:
        await world.load()
        for cut in range(1, 4):
            await namespace.silence(*ways)
            await world.all_reach("paused", times=cut)
            await namespace.speak()
            await world.all_reach("active", times=cut + 1)
            await world.flow_from(world.answered())
        await world.finish()
        world.ledger().check_lossless(sessions=CLIENTS)
