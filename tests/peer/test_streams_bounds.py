"""Streams of peers at their bounds: those that wait for a session, a full process, and an other side that lies."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from sideband._native import (
    stream_decode,
    stream_encode_accept,
    stream_encode_done,
    stream_encode_open,
    stream_encode_resume,
    stream_encode_window,
)
from sideband.errors import PeerError
from sideband.peer import Peer, RetryPolicy, listen
from sideband.peer.streams import Stream
from sideband.protocol.streams import StreamBudget, StreamLimits
from tests.support.manual_clock import settle
from tests.support.memory_world import ENDPOINT, MemoryWorld
from tests.support.raw_end import CID, Raw, handshake, message, request
from tests.support.relay_harness import until

MIB = 1024 * 1024
SUBJECT = "app/sb.stream.v1"
TOKEN = bytes(range(16))


class Held:
    """A handler that keeps its streams open and reads when it is told to."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.errors: list[PeerError] = []
        self.read = asyncio.Event()
        self.got = 0

    async def __call__(self, stream: Stream) -> None:
        self.streams.append(stream)
        await self.read.wait()
        try:
            async for chunk in stream:
                self.got += chunk.nbytes
        except PeerError as error:
            self.errors.append(error)
            raise


async def test_streams_wait_120_seconds_for_a_session_and_no_longer(memory: MemoryWorld) -> None:
    held = Held()
    held.read.set()
    await memory.listen(lambda peer: peer.stream_handler("held", held) and None)
    # The client never comes back, and neither side has ended its stream.
    peer = memory.client(retry=RetryPolicy(mode="on-error", jitter=0, initial=1_000, max=1_000))
    await peer.connect()
    stream = await peer.open_stream("held")
    await stream.write(b"before")
    await until(lambda: held.got == 6)
    reading = asyncio.create_task(stream.read())
    await memory.cut()
    await memory.clock.advance(119.9)
    assert not reading.done()
    assert held.errors == []
    await memory.clock.advance(0.1)
    for error in (await _error_of(reading), held.errors[0]):
        assert error.code == "stream_reset"
        assert "no session came back within 120 s" in str(error)
    assert stream.closed
    assert memory.unhandled == []


async def test_streams_go_on_in_a_session_that_comes_in_time(memory: MemoryWorld) -> None:
    held = Held()
    held.read.set()
    await memory.listen(lambda peer: peer.stream_handler("held", held) and None)
    peer = memory.client(retry=RetryPolicy(mode="on-error", jitter=0, initial=119, max=119))
    await peer.connect()
    stream = await peer.open_stream("held")
    await stream.write(b"before")
    await until(lambda: held.got == 6)
    await memory.cut()
    writing = asyncio.create_task(stream.write(b"meanwhile"))
    await settle()
    assert not writing.done()
    await memory.clock.advance(119)
    assert peer.ready
    await writing
    # Neither end's 120 s run on.
    await memory.clock.advance(120)
    await stream.end()
    assert held.got == len(b"beforemeanwhile")
    assert held.errors == []


async def test_a_full_process_makes_writes_wait_and_tells_them_when_to_go_on(memory: MemoryWorld) -> None:
    budget = StreamBudget(limit=MIB)
    held, quick = Held(), Held()
    quick.read.set()

    def on_connection(peer: Peer) -> None:
        peer.stream_handler("held", held)
        peer.stream_handler("quick", quick)
        peer.rpc.handle("echo", lambda value: value)

    await memory.listen(on_connection)
    first, second = (memory.client(stream_budget=budget) for _ in range(2))
    await first.connect()
    await second.connect()
    unread = await first.open_stream("held")
    writes = [asyncio.create_task(unread.write(bytes(4 * MIB)))]
    await until(lambda: budget.held == budget.limit)
    other = await second.open_stream("quick")
    writes.append(asyncio.create_task(other.write(bytes(MIB))))
    await settle()
    assert not any(write.done() for write in writes)
    assert quick.got == 0
    # Calls and opening streams need none of it.
    assert await second.rpc.call("echo", 1) == 1
    held.read.set()
    async with asyncio.timeout(30):
        await asyncio.gather(*writes)
        await unread.end()
        await other.end()
    assert (held.got, quick.got) == (4 * MIB, MIB)
    assert budget.held == 0


async def test_a_stream_that_is_given_up_leaves_its_part_of_the_process(memory: MemoryWorld) -> None:
    budget = StreamBudget(limit=MIB)
    held = Held()
    await memory.listen(lambda peer: peer.stream_handler("held", held) and None)
    peer = memory.client(stream_budget=budget)
    await peer.connect()
    first, second = [await peer.open_stream("held") for _ in range(2)]
    writing = asyncio.create_task(first.write(bytes(2 * MIB)))
    await until(lambda: budget.held == budget.limit)
    waiting = asyncio.create_task(second.write(b"x"))
    await settle()
    assert not waiting.done()
    first.reset()
    with pytest.raises(PeerError):
        await writing
    async with asyncio.timeout(60):
        await waiting
    second.reset()
    assert budget.held == 0
    held.read.set()


async def test_drain_returns_when_all_has_left_and_not_before(memory: MemoryWorld) -> None:
    held = Held()
    await memory.listen(lambda peer: peer.stream_handler("held", held) and None)
    peer = memory.client()
    await peer.connect()
    stream = await peer.open_stream("held")
    await stream.drain()  # nothing was written
    window = StreamLimits().window
    await stream.write(bytes(window + 100_000))
    drained = asyncio.create_task(stream.drain())
    await settle()
    # What is beyond the other side's window has not left.
    assert not drained.done()
    assert stream.confirmed == 0
    held.read.set()
    async with asyncio.timeout(60):
        await drained
    await stream.end()
    assert held.got == window + 100_000


async def test_drain_waits_through_a_pause_and_fails_with_its_stream(memory: MemoryWorld) -> None:
    held = Held()
    await memory.listen(lambda peer: peer.stream_handler("held", held) and None)
    peer = memory.client()
    await peer.connect()
    stream, other = [await peer.open_stream("held") for _ in range(2)]
    await memory.pause()
    await stream.write(b"while paused")
    await other.write(b"while paused")
    drains = [asyncio.create_task(one.drain()) for one in (stream, other)]
    await settle()
    assert not any(drain.done() for drain in drains)
    other.reset(1234, "no more")
    assert (await _error_of(drains[1])).details == {"code": 1234, "remote": False}
    await memory.resume()
    async with asyncio.timeout(60):
        await drains[0]
    held.read.set()
    await stream.end()


class Liar(Raw):
    """An other side that says about streams what it likes."""

    async def tell(self, *messages: bytes) -> None:
        await self.send(*(message(SUBJECT, one) for one in messages))

    async def reset_of(self, stream_id: int) -> tuple[int, str]:
        """Code and reason of the reset that the peer answers with; what it says besides is let through."""
        while True:
            frame = await self.frame()
            assert frame.kind == 1, frame
            if frame.subject != SUBJECT:
                continue
            op, about, _, body = stream_decode(frame.data)
            if (op, about) == (5, stream_id):
                return body

    async def answers_a_call(self) -> None:
        await self.send(request("echo", p=[1]))
        while (frame := await self.frame()).subject != "rpc":
            pass
        assert json.loads(frame.data) == {"t": "R", "cid": CID.hex(), "result": [1]}


def _data(stream_id: int, offset: int, size: int) -> bytes:
    return b"\x02" + stream_id.to_bytes(4, "little") + offset.to_bytes(8, "little") + bytes(size)


LIES: dict[str, tuple[list[bytes], str]] = {
    "the window is ignored": ([_data(2, at, 65_000) for at in range(0, 5 * 65_000, 65_000)], "ignores the window"),
    "an offset past the window": ([_data(2, 1 << 40, 1)], "ignores the window"),
    "more consumed than was sent": ([stream_encode_window(2, 1, 1 << 20)], "consumed 1 bytes of 0"),
    "done before the end": ([stream_encode_done(2, 0)], "done with 0 bytes"),
    "accepts what it has opened": ([stream_encode_accept(2, 1000)], "from the side that opened it"),
    "goes on from where nothing was": ([stream_encode_resume(2, 5, TOKEN, 1000)], "goes on from 5"),
    "another token": ([stream_encode_resume(2, 0, bytes(16), 1000)], "token"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_costs_its_stream_and_neither_the_session_nor_the_others(memory: MemoryWorld, lie: str) -> None:
    messages, reason = LIES[lie]
    held = Held()
    unread, written = StreamBudget(), StreamBudget()

    def on_connection(peer: Peer) -> None:
        peer.stream_handler("held", held)
        peer.rpc.handle("echo", lambda value: value)

    server = memory.server = await listen(
        ENDPOINT,
        on_connection,
        transport=memory.transport,
        options=replace(memory.options(), unread_budget=unread, stream_budget=written),
    )
    liar = Liar(await memory.transport.connect(ENDPOINT), memory)
    try:
        await liar.send(handshake(caps=["stream/1"]))
        assert (await liar.frame()).op == 0
        await liar.tell(
            stream_encode_open(2, TOKEN, 1000, "held"), stream_encode_open(4, b"another token 16", 1000, "held")
        )
        await until(lambda: len(held.streams) == 2)
        first, second = held.streams
        await liar.tell(*messages)
        code, told = await liar.reset_of(2)
        assert code == 4
        assert reason in told
        assert first.closed
        assert unread.held == written.held == 0
        await liar.tell(_data(4, 0, 5))
        held.read.set()
        await until(lambda: held.got == 5)
        assert not second.closed
        assert [error.code for error in held.errors] == ["stream_reset"]
        await liar.answers_a_call()
    finally:
        await liar.connection.close()
        await server.close()


async def _error_of(task: asyncio.Task[object]) -> PeerError:
    with pytest.raises(PeerError) as caught:
        async with asyncio.timeout(60):
            await task
    return caught.value
