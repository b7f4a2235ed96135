"""A daemon or a relay that loses its memory: both ends come back with new handshakes, and nothing happens twice."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from sideband.cli.demo.api import call
from tests.faults.ledger import failures
from tests.faults.world import FaultWorld

CLIENTS = pytest.mark.parametrize("clients", [10, pytest.param(50, marks=pytest.mark.servers)])


async def check_new_sessions(world: FaultWorld) -> None:
    """Every client is active again in a second session, and the daemon holds these and no others."""
    again = await world.all_reach("active", times=2)
    await world.flow_from(world.answered())
    told = await world.finish()
    assert {client: one["session"] > 1 for client, one in again.items()} == dict.fromkeys(told, True)
    assert set(await world.counters()) == {one["sid"] for one in told.values()}
    ledger = world.ledger()
    ledger.check_once()
    lost = failures(ledger.clients, "answered")
    # Those that waited for `release` were under way for certain.
    assert set(lost) == {"not_connected"}
    assert lost["not_connected"] >= 2 * world.clients
    assert set(failures(ledger.daemon, "told")) <= {"not_connected", "peer_closed", "handler cancelled"}


@CLIENTS
async def test_a_daemon_that_was_killed_closes_what_it_no_longer_knows(tmp_path: Path, clients: int) -> None:
    async with FaultWorld(tmp_path, clients=clients) as world:
        await world.load()
        await world.daemon.kill()
        await world.all_reach("paused")
        await world.start_daemon()
        reconnecting = await world.all_reach("reconnecting")
        assert {one["error"].split(":")[0] for one in reconnecting.values()} == {"SbrpError session_expired"}
        await check_new_sessions(world)


async def test_a_daemon_that_ends_in_good_order_lets_its_clients_come_back(tmp_path: Path) -> None:
    async with FaultWorld(tmp_path, clients=10) as world:
        await world.load()
        world.daemon.order("close")
        await world.all_reach("reconnecting")
        await world.daemon.expect("closed")
        await world.daemon.end()
        await world.start_daemon()
        await check_new_sessions(world)


@CLIENTS
async def test_a_relay_that_was_killed(tmp_path: Path, clients: int) -> None:
    async with FaultWorld(tmp_path, clients=clients) as world:
        await world.load()
        used, unused = await _token(world), await _token(world)
        assert await _upgrade(world, used) == 101
        await world.server.kill()
        await world.all_reach("reconnecting")
        await world.start_server()
        assert await _upgrade(world, used) == 409
        assert await _upgrade(world, unused) == 101
        await check_new_sessions(world)


@CLIENTS
async def test_a_relay_that_is_restarted_in_good_order(tmp_path: Path, clients: int) -> None:
    async with FaultWorld(tmp_path, clients=clients) as world:
        await world.load()
        assert await world.server.terminate() == 0
        await world.all_reach("reconnecting")
        await world.start_server()
        await check_new_sessions(world)


async def _token(world: FaultWorld) -> str:
    made = world.made
    told = await call(world.url, "relay.createSession", made["user_token"], {"daemonId": made["daemon_id"]})
    return str(told["token"])


async def _upgrade(world: FaultWorld, token: str) -> int:
    """Connect as a client and leave; return the HTTP status."""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.ws_connect(world.relay_url, headers={"Authorization": f"Bearer {token}"}):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status
