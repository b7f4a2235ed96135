"""Byte streams through a real relay, encrypted: pauses, lost sessions, many at once."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from sideband.errors import PeerError
from sideband.identity import IdentityTrust, generate_identity_key_pair
from sideband.peer import Peer, PeerOptions
from sideband.peer.streams import Stream
from sideband.protocol.connection import DEFAULT_CAPS
from sideband.protocol.handshake import STREAM_1
from tests.support.relay_harness import PAUSE, QUICK, World, until

SIZE = 12 * 1024 * 1024
DATA = random.Random(5).randbytes(SIZE)


async def echo(stream: Stream) -> None:
    async for chunk in stream:
        await stream.write(chunk)


def serve(peer: Peer) -> None:
    peer.stream_handler("echo", echo)


async def exchange(peer: Peer, data: bytes, during: Callable[[Stream], None] = lambda _: None) -> bytes:
    stream = await peer.open_stream("echo")
    got = bytearray()

    async def send() -> None:
        await stream.write(data)
        await stream.end()

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(send())
        async for chunk in stream:
            got += chunk
            during(stream)
    return bytes(got)


async def test_bytes_travel_both_ways(world: World) -> None:
    await world.daemon(serve)
    async with world.client() as peer:
        assert await exchange(peer, DATA) == DATA


async def test_many_streams_opened_by_both_sides(world: World) -> None:
    server = await world.daemon(serve)
    async with world.client() as peer:
        serve(peer)
        (other,) = server.connections
        parts = [DATA[n : n + 300_000] for n in range(0, 6_000_000, 300_000)]
        async with asyncio.TaskGroup() as tasks:
            results = [
                tasks.create_task(exchange(side, part)) for part, side in zip(parts, (peer, other) * 10, strict=True)
            ]
        assert [result.result() for result in results] == parts


async def test_a_slow_reader_leaves_the_others_alone(world: World) -> None:
    held: list[Stream] = []
    go_on = asyncio.Event()
    sums: list[str] = []

    async def slow(stream: Stream) -> None:
        held.append(stream)
        await go_on.wait()
        sums.append(hashlib.sha256(await stream.read()).hexdigest())

    def on_connection(peer: Peer) -> None:
        serve(peer)
        peer.stream_handler("slow", slow)
        peer.rpc.handle("ping", lambda: "pong")

    await world.daemon(on_connection)
    async with world.client() as peer:
        stream = await peer.open_stream("slow")
        writing = asyncio.create_task(stream.write(DATA))
        await until(lambda: held and held[0].received > 0)
        for _ in range(3):
            assert await exchange(peer, DATA[:3_000_000]) == DATA[:3_000_000]
            assert await peer.rpc.call("ping") == "pong"
        assert not writing.done()
        go_on.set()
        await writing
        await stream.end()
    assert sums == [hashlib.sha256(DATA).hexdigest()]


class _Cuts:
    """Cuts the network each time so many more bytes have come, so many times."""

    def __init__(self, cut: Callable[[], None], every: int, times: int) -> None:
        self._cut = cut
        self._every = every
        self.left = times
        self._next = every

    def __call__(self, stream: Stream) -> None:
        if self.left and stream.received >= self._next:
            self._next += self._every
            self.left -= 1
            self._cut()


async def test_no_byte_is_lost_or_doubled_when_the_daemons_connection_is_cut(world: World) -> None:
    await world.daemon(serve)
    async with world.client() as peer:
        pauses: list[str] = []
        peer.on("session_paused", lambda: pauses.append("paused"))
        cuts = _Cuts(world.daemon_network.cut, 1_500_000, 5)
        assert await exchange(peer, DATA, cuts) == DATA
        assert cuts.left == 0
        assert pauses


async def test_streams_opened_and_ended_while_paused_go_on(world: World) -> None:
    server = await world.daemon(serve)
    async with world.client() as peer:
        (other,) = server.connections
        stream = await peer.open_stream("echo")
        await stream.write(b"before ")
        assert await stream.read(7) == b"before "
        world.daemon_network.refusing = True
        world.daemon_network.cut()
        await until(lambda: str(peer.state) == "paused" and str(other.state) == "paused")
        opening = asyncio.create_task(peer.open_stream("echo"))
        await stream.write(b"meanwhile")
        await stream.end(wait=False)
        world.daemon_network.refusing = False
        late = await opening
        assert await stream.read() == b"meanwhile"
        await stream.drain()
        await late.end()
        assert await late.read() == b""


async def test_streams_go_on_in_a_new_session_when_the_clients_connection_is_cut(world: World) -> None:
    server = await world.daemon(serve)
    async with world.client() as peer:
        connected: list[str] = []
        peer.on("connected", lambda: connected.append("connected"))
        cuts = _Cuts(world.client_network.cut, 2_000_000, 3)
        assert await exchange(peer, DATA, cuts) == DATA
        assert cuts.left == 0
        assert connected
        await until(lambda: len(server.connections) == 1)


async def test_a_restarted_relay_costs_no_byte(world: World) -> None:
    await world.daemon(serve)
    async with world.client() as peer:
        restarts: set[asyncio.Task[None]] = set()

        async def restart() -> None:
            await world.relay.stop()
            await world.relay.start()

        cuts = _Cuts(lambda: restarts.add(asyncio.create_task(restart())), 3_000_000, 1)
        assert await exchange(peer, DATA, cuts) == DATA
        assert restarts
        await asyncio.gather(*restarts)


async def test_streams_never_go_on_under_another_identity_key(world: World) -> None:
    server = await world.daemon(serve)
    peer = world.client(trust=IdentityTrust(world.store, "auto"))
    async with peer:
        stream = await peer.open_stream("echo")
        await stream.write(b"for the first daemon only")
        world.client_network.refusing = True
        world.client_network.cut()
        await until(lambda: not peer.connected)
        await server.close()
        world.identity = generate_identity_key_pair()
        await world.daemon(serve)
        world.client_network.refusing = False
        async with asyncio.timeout(60):
            with pytest.raises(PeerError, match="identity key") as caught:
                await stream.end()
        assert caught.value.code == "stream_reset"
        assert await exchange(peer, b"new") == b"new"


@pytest.mark.parametrize("leaves_out", [{STREAM_1}, {"resume/1"}])
async def test_no_streams_over_a_relay_without_both_capabilities(world: World, leaves_out: set[str]) -> None:
    caps = tuple(cap for cap in (*DEFAULT_CAPS, STREAM_1) if cap not in leaves_out)
    base = PeerOptions(peer_id="daemon", connection=PAUSE, retry=QUICK)
    await world.daemon(serve, options=replace(base, capabilities=caps))
    async with world.client() as peer:
        assert STREAM_1 not in peer.capabilities
        with pytest.raises(PeerError, match="stream/1") as caught:
            await peer.open_stream("echo")
        assert caught.value.code == "invalid_state"


async def test_a_client_that_leaves_ends_its_streams_at_the_daemon(world: World) -> None:
    errors: list[PeerError | None] = []

    async def watch(stream: Stream) -> None:
        try:
            await stream.read()
        finally:
            errors.append(stream.error)

    await world.daemon(lambda peer: peer.stream_handler("watch", watch))
    async with world.client() as peer:
        await peer.open_stream("watch")
    await until(lambda: errors)
    assert errors[0] is not None
    assert errors[0].code == "stream_reset"


async def test_a_handler_goes_on_after_its_peer_was_replaced(world: World) -> None:
    """The stream outlives the daemon's peer object, which is made anew for each session."""
    peers: list[Peer] = []

    def on_connection(peer: Peer) -> None:
        peers.append(peer)
        serve(peer)

    await world.daemon(on_connection)
    async with world.client() as peer:
        stream = await peer.open_stream("echo")
        await stream.write(b"one")
        assert await stream.read(3) == b"one"
        world.client_network.cut()
        await until(lambda: len(peers) == 2)
        await stream.write(b"two")
        await stream.end(wait=False)
        assert await stream.read() == b"two"
        await stream.end()
