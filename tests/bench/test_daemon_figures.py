from collections.abc import AsyncIterator, Callable

import pytest

from sideband.bench.daemon import measure_daemon
from sideband.cloud.builtin import BuiltinMethods
from sideband.errors import PeerError, RpcPeerError
from sideband.peer import Peer, Stream
from tests.support.memory_world import MemoryWorld

SIZE = 100_000


@pytest.fixture
async def world() -> AsyncIterator[MemoryWorld]:
    async with MemoryWorld() as world:
        yield world


def serving(stream: Callable[[Stream], object] | None) -> Callable[[Peer], None]:
    def serve(peer: Peer) -> None:
        peer.rpc.handle_platform("$sideband/echo", lambda value: value)
        if stream is not None:
            peer.stream_handler("$sideband/echo", stream)

    return serve


async def test_every_round_trip_is_timed_and_every_byte_comes_back(world: MemoryWorld) -> None:
    await world.listen(BuiltinMethods("d_1", None, lambda: 1).serve)
    async with world.client() as client:
        found = await measure_daemon(client, calls=3, size=SIZE)
    assert len(found.seconds) == 3
    assert min(found.seconds) > 0
    assert found.echoed_bytes == SIZE
    assert found.echo_seconds is not None
    assert found.echo_seconds > 0


async def test_a_daemon_that_echoes_no_streams_is_timed_by_calls(world: MemoryWorld) -> None:
    await world.listen(serving(None))
    async with world.client() as client:
        found = await measure_daemon(client, calls=2, size=SIZE)
    assert len(found.seconds) == 2
    assert (found.echoed_bytes, found.echo_seconds) == (0, None)


async def test_a_daemon_that_answers_nothing_is_an_error(world: MemoryWorld) -> None:
    await world.listen(lambda peer: None)
    async with world.client() as client:
        with pytest.raises(RpcPeerError):
            await measure_daemon(client, calls=1, size=SIZE)


async def test_bytes_that_do_not_come_back_are_no_rate(world: MemoryWorld) -> None:
    async def swallow(stream: Stream) -> None:
        async for chunk in stream:
            if stream.written == 0:
                await stream.write(chunk)

    await world.listen(serving(swallow))
    async with world.client() as client:
        with pytest.raises(PeerError, match=f"{SIZE} bytes were sent") as failed:
            await measure_daemon(client, calls=1, size=SIZE)
    assert failed.value.code == "integrity_error"


async def test_a_daemon_that_gives_the_stream_up_is_told_as_one_error(world: MemoryWorld) -> None:
    async def give_up(stream: Stream) -> None:
        await stream.read(1)
        stream.reset(1234, "no more")

    await world.listen(serving(give_up))
    async with world.client() as client:
        with pytest.raises(PeerError) as failed:
            await measure_daemon(client, calls=1, size=64 << 20)
    assert failed.value.details["code"] == 1234
