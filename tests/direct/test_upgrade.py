"""A relayed session becomes a direct one: real relay, real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sideband import direct
from sideband.errors import ConfigError, PeerError
from sideband.peer import ConnectionPolicy, Peer, PeerOptions
from sideband.peer.session import Session
from tests.support.relay_harness import PAUSE, QUICK, World, until

HERE = {"loopback": True, "host_candidates": True}


def options(*, name: str, **policy: Any) -> PeerOptions:
    policy = HERE | {"transports": ("tcp",)} | policy
    return PeerOptions(
        peer_id=name, connection=PAUSE, retry=QUICK, upgrade=direct.upgrades(direct.DirectPolicy(**policy))
    )


def serve(peer: Peer) -> None:
    peer.rpc.handle("echo", lambda value: value)


async def moved(peer: Peer) -> str:
    path: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    peer.on("path_changed", path.set_result)
    return peer.path or "" if (peer.path or "").startswith("direct:") else await path


@pytest.mark.parametrize("transport", ["tcp", "quic", "webrtc"])
async def test_a_session_moves_and_the_relay_is_let_go(world: World, transport: str) -> None:
    served: list[Peer] = []

    def on_connection(peer: Peer) -> None:
        served.append(peer)
        serve(peer)

    await world.daemon(on_connection, options=options(name="daemon", transports=(transport,)))
    async with world.client(options=options(name="client", transports=(transport,))) as peer:
        assert await peer.rpc.call("echo", "before") == "before"
        assert await moved(peer) == f"direct:{transport}"
        await until(lambda: served[0].path == f"direct:{transport}")
        assert await peer.rpc.call("echo", "after") == "after"
        world.daemon_network.cut()
        assert await peer.rpc.call("echo", "x" * 300_000) == "x" * 300_000
        assert served[0].ready
    await until(lambda: served[0].closed)


async def test_what_is_under_way_during_the_move_arrives_once_and_in_order(world: World) -> None:
    seen: list[int] = []
    stream_bytes = bytearray()
    ended = asyncio.Event()

    def on_connection(peer: Peer) -> None:
        serve(peer)
        peer.events.on("tick", lambda event: seen.append(event))

        async def take(stream: Any) -> None:
            async for chunk in stream:
                stream_bytes.extend(chunk)
            ended.set()

        peer.stream_handler("take", take)

    await world.daemon(on_connection, options=options(name="daemon"))
    async with world.client(options=options(name="client")) as peer:
        stream = await peer.open_stream("take")
        data = bytes(range(256)) * 4096
        ticks = 0
        for at in range(0, len(data), 16_384):
            await stream.write(data[at : at + 16_384])
            peer.events.emit("tick", ticks)
            ticks += 1
            assert await peer.rpc.call("echo", ticks) == ticks
        assert await moved(peer) == "direct:tcp"
        await stream.end()
        await ended.wait()
        await until(lambda: len(seen) == ticks)
        assert [value if isinstance(value, int) else value.data for value in seen] == list(range(ticks))
        assert bytes(stream_bytes) == data


async def test_a_side_that_does_not_take_part_leaves_the_other_on_the_relay(world: World) -> None:
    await world.daemon(serve)
    async with world.client(options=options(name="client")) as peer:
        assert await peer.rpc.call("echo", 1) == 1
        assert peer.path == "relay"
        assert "direct/1" not in peer.capabilities


async def test_forbid_offers_nothing(world: World) -> None:
    await world.daemon(serve, options=options(name="daemon", mode="forbid"))
    async with world.client(options=options(name="client")) as peer:
        assert await peer.rpc.call("echo", 1) == 1
        assert "direct/1" not in peer.capabilities


async def test_where_nothing_connects_the_session_stays_and_nobody_hears_of_it(world: World) -> None:
    quiet = options(name="daemon", host_candidates=False, loopback=False)
    await world.daemon(serve, options=quiet)
    client = options(name="client", host_candidates=False, timeout=0.2)
    async with world.client(options=client) as peer:
        heard: list[object] = []
        for event in ("path_changed", "error", "session_paused", "disconnected"):
            peer.on(event, lambda *arguments: heard.append(arguments))  # type: ignore[arg-type]
        session: Session | None = peer._session
        assert session is not None
        upgrade = session.upgrade
        await until(lambda: upgrade._timer is None and upgrade.state._attempt is not None)  # type: ignore[union-attr]
        assert await peer.rpc.call("echo", 1) == 1
        assert peer.path == "relay"
        assert not heard


async def test_require_closes_a_session_that_cannot_move(world: World) -> None:
    await world.daemon(serve, options=options(name="daemon", host_candidates=False, loopback=False))
    strict = PeerOptions(
        connection=ConnectionPolicy(),
        upgrade=direct.upgrades(
            direct.DirectPolicy(mode="require", transports=("tcp",), host_candidates=False, timeout=0.2)
        ),
    )
    peer = world.client(options=strict)
    await peer.connect()
    await until(lambda: peer.closed)
    assert isinstance(peer.error, PeerError)
    assert "policy requires" in str(peer.error)


async def test_a_lost_direct_way_is_a_new_relayed_session(world: World) -> None:
    await world.daemon(serve, options=options(name="daemon"))
    async with world.client(options=options(name="client")) as peer:
        await moved(peer)
        session: Session | None = peer._session
        assert session is not None
        (channel,) = session.upgrade._channels.values()  # type: ignore[union-attr]
        await until(lambda: session.moved.done())
        lost = asyncio.Event()
        peer.on("disconnected", lambda _: lost.set())
        channel.link.connection.abort()
        await lost.wait()
        await peer.when_ready()
        assert peer._session is not session
        assert await peer.rpc.call("echo", 5) == 5
        assert await moved(peer) == "direct:tcp"


@pytest.mark.parametrize("wrong", [{"mode": "maybe"}, {"transports": ("udp",)}, {"timeout": 0}])
def test_a_policy_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        direct.DirectPolicy(**wrong)
    with pytest.raises(ConfigError):
        direct.DirectPolicy(mode="require", transports=())
