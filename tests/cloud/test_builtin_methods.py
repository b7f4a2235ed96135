"""The methods that every daemon answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sideband.cloud.builtin import TICK_EVENT, BuiltinMethods
from sideband.errors import PeerError, RpcPeerError
from sideband.peer import Peer
from tests.cloud.conftest import Daemon, Platform
from tests.support.memory_world import MemoryWorld


class Asked:
    """A daemon with the methods, whose time stands still, and a client."""

    def __init__(self, world: MemoryWorld, client: Peer) -> None:
        self.world = world
        self.client = client
        self.daemon = world.peers[0]
        self.ticks: list[dict[str, Any]] = []
        client.events.on(TICK_EVENT, self.ticks.append)

    async def call(self, method: str, params: Any = None) -> Any:
        return await self.client.rpc.call(f"$sideband/{method}", params)

    async def after(self, seconds: float) -> int:
        """Let time go on; return how many ticks there have been."""
        await self.world.clock.advance(seconds)
        return len(self.ticks)


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    async with MemoryWorld() as world:
        await world.listen(BuiltinMethods("d_1", "attic", lambda: 3).serve)
        async with world.client() as client:
            yield Asked(world, client)


@pytest.mark.parametrize("value", [None, 1, "text", [1, [2]], {"a": None}, b"\x00\xff"])
async def test_echo(asked: Asked, value: Any) -> None:
    assert await asked.call("echo", value) == value


async def test_info(asked: Asked) -> None:
    info = await asked.call("info")
    assert set(info) == {"daemonId", "name", "version", "capabilities"}
    assert (info["daemonId"], info["name"]) == ("d_1", "attic")
    assert "stream/1" in info["capabilities"]


async def test_stats(asked: Asked) -> None:
    stats = await asked.call("stats")
    assert set(stats) == {"uptimeSeconds", "cpuSeconds", "connections"}
    assert stats["connections"] == 3
    assert stats["uptimeSeconds"] >= 0


async def test_ticks_come_until_they_are_stopped(asked: Asked) -> None:
    assert await asked.call("stats.start") == {"intervalMs": 1000}
    assert await asked.after(0.9) == 0
    assert await asked.after(0.1) == 1
    assert await asked.after(2.0) == 3
    assert [tick["count"] for tick in asked.ticks] == [1, 2, 3]
    assert set(asked.ticks[0]) == {"count", "uptimeSeconds", "cpuSeconds", "connections"}
    assert await asked.call("stats.stop") == {"stopped": True}
    assert await asked.call("stats.stop") == {"stopped": False}
    assert await asked.after(10) == 3


async def test_a_peer_has_one_ticker(asked: Asked) -> None:
    for interval in (250, 60_000, 500):
        assert await asked.call("stats.start", {"intervalMs": interval}) == {"intervalMs": interval}
    assert await asked.after(1.0) == 2


@pytest.mark.parametrize(
    "params",
    [
        *({"intervalMs": value} for value in (249, 249.9, 60_001, 0, -1000, True, None, "1000", [1000])),
        249.9,
        "soon",
        [1000],
    ],
)
async def test_an_interval_out_of_bounds(asked: Asked, params: Any) -> None:
    with pytest.raises(RpcPeerError, match="250 to 60000"):
        await asked.call("stats.start", params)
    assert await asked.after(120) == 0


@pytest.mark.parametrize("params", [{"intervalMs": 250}, 60_000, {}])
async def test_an_interval_at_its_bounds(asked: Asked, params: Any) -> None:
    await asked.call("stats.start", params)
    assert await asked.after(60) > 0


async def test_a_paused_client_gets_no_ticks(asked: Asked) -> None:
    await asked.call("stats.start")
    assert await asked.after(2.0) == 2
    await asked.world.pause()
    assert await asked.after(5.0) == 2
    assert asked.daemon.events.buffered == 0
    await asked.world.resume()
    assert await asked.after(1.0) == 3


async def test_ticks_end_with_the_peer(asked: Asked) -> None:
    await asked.call("stats.start")
    await asked.client.disconnect()
    await asked.world.clock.advance(0)
    assert asked.daemon.closed
    before = asked.world.clock.now
    await asked.after(100)
    assert asked.ticks == []
    assert [due for due in asked.world.clock._due if due[0] > before and not due[2].cancelled] == []


async def test_they_are_there_once(asked: Asked) -> None:
    with pytest.raises(PeerError):
        BuiltinMethods("d_1", None, int).serve(asked.daemon)


async def test_every_daemon_of_a_control_plane_has_them(platform: Platform, daemon: Daemon) -> None:
    await platform.listen(daemon, name="attic")
    async with platform.connect(daemon) as peer:
        methods = await peer.rpc.call("$sideband/rpc.list")
        assert {f"$sideband/{name}" for name in ("echo", "info", "stats", "stats.start", "stats.stop")} <= set(methods)
        assert (await peer.rpc.call("$sideband/info"))["daemonId"] == daemon.id
        assert (await peer.rpc.call("$sideband/stats"))["connections"] == 1
        for method in methods:
            assert (await peer.rpc.call("$sideband/rpc.describe", {"method": method}))["method"] == method


async def test_a_daemon_may_do_without(platform: Platform, daemon: Daemon) -> None:
    await platform.listen(daemon, builtin_methods=False)
    async with platform.connect(daemon) as peer:
        with pytest.raises(RpcPeerError):
            await peer.rpc.call("$sideband/echo", 1)


async def test_a_stream_is_echoed_too(asked: Asked) -> None:
    stream = await asked.client.open_stream("$sideband/echo")
    await stream.write(b"there ")
    await stream.write(b"and back")
    await stream.end(wait=False)
    assert await stream.read() == b"there and back"
