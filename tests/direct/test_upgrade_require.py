"""A policy that requires direct sessions: the relay carries nothing of the application."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sideband import direct
from sideband.direct import DirectPolicy
from sideband.direct.upgrade import Phase
from sideband.errors import PeerError
from sideband.peer import ConnectionPolicy, Peer, PeerOptions, RetryPolicy
from sideband.peer.session import Session
from sideband.protocol.limits import SbpLimits
from tests.support.relay_harness import PAUSE, QUICK, World, until
from tests.support.upgrade_network import Network, check, close

REQUIRE, PREFER = DirectPolicy(mode="require"), DirectPolicy()


def options(name: str, mode: Any, **more: Any) -> PeerOptions:
    policy = DirectPolicy(mode=mode, transports=("tcp",), loopback=True, **more)
    return PeerOptions(peer_id=name, connection=PAUSE, retry=QUICK, upgrade=direct.upgrades(policy))


def on_relay(network: Network, side: int) -> list[bytes]:
    """Frames of this side that are on the relay, except those of direct/1 and the rest that is no message."""
    network.flush(side)
    return [frame for frame in network.ends[side].relay if b"app/x" in frame or b"app/sb.stream" in frame]


@pytest.mark.parametrize("policies", [(REQUIRE, PREFER), (PREFER, REQUIRE), (REQUIRE, REQUIRE)])
async def test_what_is_sent_before_the_move_waits_for_the_direct_way(policies: tuple[DirectPolicy, ...]) -> None:
    network = Network(*policies)
    await network.greet()
    opening = asyncio.create_task(network.client.peer.open_stream("nobody"))
    strict = [side for side in (0, 1) if policies[side] is REQUIRE]
    for end in network.ends:
        for size in (1, 70_000, 1):
            end.send(size)
    network.client.upgrade.begin()
    await network.settle()
    for _ in range(4):
        for side in (0, 1):
            if side in strict:
                assert not on_relay(network, side)
            await network.take(("relay", side, 10))
    for side in strict:
        assert not network.ends[1 - side].got
    for _ in range(10):
        await network.take(("connect", 0, 0))
        for side in (0, 1):
            if side in strict:
                assert not on_relay(network, side)
            await network.take(("relay", side, 10))
            await network.take(("direct", side, 10))
    assert network.relay_over
    assert network.ends[0].paths == ["direct:tcp"]
    check(network)
    with pytest.raises(PeerError, match="stream_reset"):
        await opening
    await close(network)


@pytest.mark.parametrize("side", [0, 1], ids=["client", "daemon"])
async def test_a_session_that_falls_back_ends_and_the_relay_has_seen_nothing(side: int) -> None:
    network = Network(REQUIRE, REQUIRE)
    await network.greet()
    network.client.upgrade.begin()
    await network.settle()
    for _ in range(100):
        if network.ends[side].upgrade.state.phase is not Phase.SWITCHING:
            await network.take(("relay", 0, 1))
            await network.take(("relay", 1, 1))
            await network.take(("connect", 0, 0))
    network.ends[side].send(1)
    await network.take(("kill", side, 0))
    assert isinstance(network.ends[side].session.error, PeerError)
    assert not on_relay(network, side)
    assert not network.ends[1 - side].got
    await close(network)


async def test_what_waits_has_the_bounds_of_what_is_sent() -> None:
    network = Network(REQUIRE, PREFER)
    await network.greet()
    client = network.client
    assert client.session.connection.buffered_bytes == 0
    for _ in range(SbpLimits().send_buffer_bytes // 1_001_000):
        client.peer.send("app/x", bytes(1_000_000))
    with pytest.raises(PeerError, match="buffer_overflow"):
        client.peer.send("app/x", bytes(2_000_000))
    assert client.session.connection.buffered_bytes <= SbpLimits().send_buffer_bytes
    await close(network)


@pytest.mark.parametrize("side", [0, 1], ids=["client", "daemon"])
async def test_a_session_for_which_no_attempt_begins_ends_in_time(side: int) -> None:
    policies = [PREFER, PREFER]
    policies[side] = REQUIRE
    network = Network(*policies)
    await network.greet()
    end = network.ends[side]
    patience = REQUIRE.timeout * (1.5 if side else 1.0)
    await network.clock.advance(patience - 0.01)
    assert end.session.error is None
    await network.clock.advance(0.02)
    assert "policy requires" in str(end.session.error)
    await close(network)


async def test_calls_made_at_once_are_answered_by_the_direct_way_and_after_its_loss_by_the_next(world: World) -> None:
    paths: list[str | None] = []

    def serve(peer: Peer) -> None:
        peer.rpc.handle("where", lambda: paths.append(peer.path))

    await world.daemon(serve, options=options("daemon", "prefer"))
    async with world.client(options=options("client", "require")) as peer:
        for _ in range(2):
            session: Session | None = peer._session
            assert session is not None
            held: Any = session.connection
            assert held.holding
            assert peer.path == "relay"
            await peer.rpc.call("where")
            assert peer.path == "direct:tcp"
            (channel,) = session.upgrade._channels.values()  # type: ignore[union-attr]
            await until(lambda session=session: session.moved.done())
            lost = asyncio.Event()
            remove = peer.on("disconnected", lambda _, lost=lost: lost.set())
            channel.link.connection.abort()
            await lost.wait()
            remove()
            await peer.when_ready()


async def test_a_stream_goes_on_by_direct_ways_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    by_relay: list[bytes] = []
    take = Session.take

    def watched(session: Session, max_bytes: int, *, direct: bool = False) -> Any:
        frames = take(session, max_bytes, direct=direct)
        if not direct:
            by_relay.extend(frame if isinstance(frame, bytes) else b"".join(frame) for frame in frames)
        return frames

    monkeypatch.setattr(Session, "take", watched)
    data = bytes(range(256)) * 800
    taken = bytearray()
    ended = asyncio.Event()

    def serve(peer: Peer) -> None:
        async def take_all(stream: Any) -> None:
            async for chunk in stream:
                taken.extend(chunk)
            ended.set()

        peer.stream_handler("take", take_all)

    await world.daemon(serve, options=options("daemon", "require"))
    async with world.client(options=options("client", "require")) as peer:
        stream = await peer.open_stream("take")
        session: Session | None = peer._session
        assert session is not None
        await stream.write(data[:100_000])
        await until(lambda: session.moved.done())
        (channel,) = session.upgrade._channels.values()  # type: ignore[union-attr]
        lost = asyncio.Event()
        peer.on("disconnected", lambda _: lost.set())
        channel.link.connection.abort()
        await lost.wait()
        await stream.write(data[100_000:])
        await stream.end()
        await ended.wait()
        assert peer._session is not session
    assert bytes(taken) == data
    assert by_relay
    assert not [frame for frame in by_relay if b"app/sb.stream" in frame]


async def test_calls_that_wait_for_a_way_that_is_not_found_fail(world: World) -> None:
    served: list[object] = []

    def serve(peer: Peer) -> None:
        peer.rpc.handle("echo", served.append)

    await world.daemon(serve, options=options("daemon", "prefer", host_candidates=False))
    policy = DirectPolicy(mode="require", transports=("tcp",), host_candidates=False, timeout=0.2)
    strict = PeerOptions(connection=ConnectionPolicy(), retry=RetryPolicy(), upgrade=direct.upgrades(policy))
    peer = world.client(options=strict)
    await peer.connect()
    with pytest.raises(PeerError, match=r"not_connected|peer_closed"):
        await peer.rpc.call("echo", "secret")
    await until(lambda: peer.closed)
    assert "policy requires" in str(peer.error)
    assert not served
