"""Byte streams over plain WebSocket and in memory: reading, writing, ends and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from sideband.errors import PeerError
from sideband.peer import Peer, PeerOptions, create_peer, listen
from sideband.peer.streams import Stream
from sideband.protocol.connection import DEFAULT_CAPS
from sideband.protocol.streams import StreamLimits
from tests.support.relay_harness import quick_transport, until

PATTERN = bytes(range(251)) * 4_177
"""A little over 1 MiB, in which no two places look alike."""


async def echo(stream: Stream) -> None:
    async for chunk in stream:
        await stream.write(chunk)


async def collect(stream: Stream) -> None:
    await stream.write(f"{len(await stream.read())} bytes".encode())


def serve(peer: Peer) -> None:
    peer.stream_handler("echo", echo)
    peer.stream_handler("collect", collect)


@asynccontextmanager
async def connected(
    on_connection: Callable[[Peer], Any] = serve, client: PeerOptions | None = None, server: PeerOptions | None = None
) -> AsyncIterator[tuple[Peer, Peer]]:
    """The client's and the server's end of a session over WebSocket."""
    peers: list[Peer] = []

    def introduce(peer: Peer) -> Any:
        peers.append(peer)
        return on_connection(peer)

    options = server or PeerOptions(peer_id="server")
    listening = await listen("ws://127.0.0.1:0/", introduce, transport=quick_transport(), options=options)
    try:
        peer = create_peer(listening.address, transport=quick_transport(), options=client or PeerOptions())
        async with asyncio.timeout(60), peer:
            await until(lambda: peers)
            yield peer, peers[0]
    finally:
        await listening.close()


async def send_all(stream: Stream, data: bytes) -> None:
    await stream.write(data)
    await stream.end()


async def exchange(peer: Peer, data: bytes) -> bytes:
    stream = await peer.open_stream("echo")
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(send_all(stream, data))
        received = tasks.create_task(stream.read())
    assert sending.done()
    await until(lambda: stream.closed)
    return received.result()


async def test_bytes_come_back_as_they_were_sent() -> None:
    async with connected() as (peer, _):
        assert await exchange(peer, PATTERN * 3) == PATTERN * 3


async def test_both_sides_open_streams_at_once() -> None:
    async with connected() as (peer, other):
        serve(peer)
        async with asyncio.TaskGroup() as tasks:
            results = [tasks.create_task(exchange(side, PATTERN[n:])) for n, side in enumerate((peer, other) * 10)]
        assert [result.result() for result in results] == [PATTERN[n:] for n in range(20)]


async def test_end_returns_when_the_other_side_has_read_everything() -> None:
    release, got = asyncio.Event(), bytearray()

    async def read_late(stream: Stream) -> None:
        await release.wait()
        got.extend(await stream.read())

    async with connected(lambda peer: peer.stream_handler("late", read_late)) as (peer, _):
        stream = await peer.open_stream("late")
        await stream.write(b"0123456789")
        await stream.drain()
        ending = asyncio.create_task(stream.end())
        await asyncio.wait((ending,), timeout=0.05)
        assert not ending.done()
        release.set()
        await ending
        assert got == b"0123456789"
        assert stream.confirmed == stream.written == 10


async def test_one_direction_goes_on_after_the_other_ended() -> None:
    async with connected() as (peer, _):
        stream = await peer.open_stream("collect")
        await stream.write(PATTERN)
        await stream.end(wait=False)
        assert await stream.read() == f"{len(PATTERN)} bytes".encode()
        await stream.drain()
        with pytest.raises(PeerError) as caught:
            await stream.write(b"more")
        assert caught.value.code == "invalid_state"


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda data: memoryview(data)[::-1][::-1]])
async def test_anything_bytes_like_is_written(make: Callable[[bytes], Any]) -> None:
    async with connected() as (peer, _):
        stream = await peer.open_stream("echo")
        await stream.write(make(b"some bytes"))
        await stream.end()
        assert await stream.read() == b"some bytes"


async def test_a_buffer_can_be_used_again_once_write_returned() -> None:
    async with connected() as (peer, _):
        stream = await peer.open_stream("echo")
        buffer = bytearray(10_000)
        for n in range(20):
            buffer[:] = bytes((n,)) * len(buffer)
            await stream.write(buffer)
        await stream.end()
        assert await stream.read() == b"".join(bytes((n,)) * 10_000 for n in range(20))


async def test_reading_by_size_and_into_a_buffer() -> None:
    async with connected() as (peer, _):
        stream = await peer.open_stream("echo", {"why": ["a", b"\0", 1]})
        await stream.write(b"abcdefghij")
        await stream.end()
        assert await stream.read(3) == b"abc"
        buffer = bytearray(4)
        assert await stream.read_into(buffer) == 4
        assert buffer == b"defg"
        assert await stream.read_into(memoryview(buffer)[1:]) == 3
        assert buffer == b"dhij"
        assert await stream.read(0) == b""
        assert (await stream.read(10), await stream.read(), await stream.read_into(buffer)) == (b"", b"", 0)
        with pytest.raises(TypeError):
            await stream.read_into(b"constant")


async def test_the_handler_sees_name_and_metadata() -> None:
    seen: list[Any] = []

    async def look(stream: Stream) -> None:
        seen.append((stream.name, dict(stream.metadata)))

    async with connected(lambda peer: peer.stream_handler("look", look)) as (peer, _):
        stream = await peer.open_stream("look", {"n": 1, "data": b"\xff"})
        assert await stream.read() == b""
        await stream.end()
    assert seen == [("look", {"n": 1, "data": b"\xff"})]


async def test_a_slow_reader_stops_its_own_stream_and_nothing_else() -> None:
    stalled, held = asyncio.Event(), []

    async def never(stream: Stream) -> None:
        held.append(stream)
        await stalled.wait()

    def on_connection(peer: Peer) -> None:
        serve(peer)
        peer.stream_handler("never", never)
        peer.rpc.handle("ping", lambda: "pong")

    limits = StreamLimits(ahead_bytes=64 * 1024)
    async with connected(on_connection, client=PeerOptions(streams=limits)) as (peer, _):
        slow = await peer.open_stream("never")
        writing = asyncio.create_task(slow.write(PATTERN * 8))
        full = limits.window - limits.chunk_bytes
        await until(lambda: held and full < held[0].received <= limits.window)
        received = held[0].received
        assert await exchange(peer, PATTERN * 4) == PATTERN * 4
        assert await peer.rpc.call("ping") == "pong"
        assert not writing.done()
        assert slow.written <= limits.window + limits.ahead_bytes
        assert held[0].received == received
        slow.reset()
        with pytest.raises(PeerError) as caught:
            await writing
        assert caught.value.code == "stream_reset"
        stalled.set()


async def test_a_reset_carries_code_and_reason() -> None:
    async def refuse(stream: Stream) -> None:
        stream.reset(1234, "not today")

    async with connected(lambda peer: peer.stream_handler("no", refuse)) as (peer, _):
        stream = await peer.open_stream("no")
        with pytest.raises(PeerError, match="not today") as caught:
            await stream.read()
        assert caught.value.code == "stream_reset"
        assert caught.value.details == {"code": 1234, "remote": True}
        assert stream.closed
        for code in (0, 2, 999, 65_536):
            with pytest.raises(ValueError, match="code"):
                stream.reset(code)


async def test_streams_nobody_takes_are_refused() -> None:
    async with connected() as (peer, _):
        with pytest.raises(PeerError, match="nobody takes") as caught:
            await peer.open_stream("unheard of")
        assert caught.value.details == {"code": 2, "remote": True}


async def test_a_handler_that_raises_resets_its_stream_and_is_reported() -> None:
    unhandled: list[BaseException] = []

    async def fail(_: Stream) -> None:
        raise RuntimeError("secret detail")

    options = PeerOptions(on_unhandled_error=unhandled.append)
    async with connected(lambda peer: peer.stream_handler("fail", fail), server=options) as (peer, _):
        stream = await peer.open_stream("fail")
        with pytest.raises(PeerError) as caught:
            await stream.read()
        assert caught.value.details["code"] == 2000
        assert "secret" not in str(caught.value)
    assert [str(error) for error in unhandled] == ["secret detail"]


async def test_what_a_handler_leaves_unread_is_stopped_once_its_own_bytes_are_delivered() -> None:
    async def answer(stream: Stream) -> None:
        await stream.write(b"enough")

    async with connected(lambda peer: peer.stream_handler("answer", answer)) as (peer, _):
        stream = await peer.open_stream("answer")
        assert await stream.read() == b"enough"
        with pytest.raises(PeerError, match="nobody reads") as caught:
            await stream.write(PATTERN * 16)
        assert caught.value.details == {"code": 1, "remote": True}


async def test_a_block_that_raises_resets_the_stream() -> None:
    errors: list[PeerError | None] = []

    async def watch(stream: Stream) -> None:
        try:
            await stream.read()
        finally:
            errors.append(stream.error)

    async with connected(lambda peer: peer.stream_handler("watch", watch)) as (peer, _):
        with pytest.raises(KeyError):
            async with await peer.open_stream("watch"):
                raise KeyError("x")
        await until(lambda: errors)
        assert errors[0] is not None
        async with await peer.open_stream("watch") as stream:
            await stream.write(b"fine")
        assert stream.confirmed == 4


async def test_digests_agree() -> None:
    async with connected() as (peer, _):
        stream = await peer.open_stream("collect", digest=True)
        await stream.write(PATTERN)
        await stream.end()
        assert await stream.read() == f"{len(PATTERN)} bytes".encode()


async def test_a_wrong_digest_is_an_integrity_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from sideband.protocol.streams import sending

    errors: list[PeerError] = []

    async def watch(stream: Stream) -> None:
        try:
            await stream.read()
        except PeerError as error:
            errors.append(error)

    async with connected(lambda peer: peer.stream_handler("watch", watch)) as (peer, _):
        stream = await peer.open_stream("watch", digest=True)
        await stream.write(PATTERN)
        # The sender's own mistake: what it hashed is not what it sent.
        monkeypatch.setattr(sending.Outgoing, "digest", bytes(32))
        with pytest.raises(PeerError) as caught:
            await stream.end()
        assert caught.value.code == "integrity_error"
        assert caught.value.details["remote"]
        await until(lambda: errors)
        assert errors[0].code == "integrity_error"


async def test_two_readers_or_writers_at_once_are_an_error() -> None:
    async with connected() as (peer, _):
        stream = await peer.open_stream("echo")
        reading = asyncio.create_task(stream.read(1))
        await asyncio.sleep(0)
        with pytest.raises(PeerError) as caught:
            await stream.read(1)
        assert caught.value.code == "invalid_state"
        await stream.write(b"x")
        assert await reading == b"x"


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_peer_without_streams_is_told_apart(side: str) -> None:
    without = replace(PeerOptions(), capabilities=DEFAULT_CAPS)
    async with connected(**{side: without}) as (peer, other):
        assert "stream/1" not in peer.capabilities
        for end in (peer, other):
            with pytest.raises(PeerError, match="stream/1") as caught:
                await end.open_stream("echo")
            assert caught.value.code == "invalid_state"


async def test_no_stream_without_a_session() -> None:
    peer = create_peer("ws://127.0.0.1:9/", transport=quick_transport())
    with pytest.raises(PeerError) as caught:
        await peer.open_stream("echo")
    assert caught.value.code == "not_connected"
    await peer.disconnect()
    with pytest.raises(PeerError) as caught:
        await peer.open_stream("echo")
    assert caught.value.code == "peer_closed"


async def test_disconnecting_ends_streams_and_their_handlers() -> None:
    cancelled = asyncio.Event()

    async def wait(_: Stream) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with connected(lambda peer: peer.stream_handler("wait", wait)) as (peer, _):
        stream = await peer.open_stream("wait")
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        await peer.disconnect()
        with pytest.raises(PeerError) as caught:
            await reading
        assert caught.value.code == "stream_reset"
        await cancelled.wait()


async def test_a_name_has_one_handler() -> None:
    peer = create_peer("ws://127.0.0.1:9/", transport=quick_transport())
    remove = peer.stream_handler("echo", echo)
    with pytest.raises(PeerError) as caught:
        peer.stream_handler("echo", echo)
    assert caught.value.code == "invalid_state"
    remove()

    @peer.stream_handler("echo")
    async def again(stream: Stream) -> None:
        await echo(stream)

    remove()  # of the first one, which is gone: the second stays
    with pytest.raises(PeerError):
        peer.stream_handler("echo", echo)
    assert again.__name__ == "again"


async def test_memory_stays_bounded_whatever_is_written() -> None:
    async def drop(stream: Stream) -> None:
        async for _ in stream:
            pass

    async with connected(lambda peer: peer.stream_handler("drop", drop)) as (peer, _):
        stream = await peer.open_stream("drop")
        most = 0
        for _ in range(64):
            await stream.write(PATTERN)
            most = max(most, stream.written - stream.confirmed)
        await stream.end()
        assert most <= StreamLimits().stream_bytes
        assert stream.confirmed == 64 * len(PATTERN)
