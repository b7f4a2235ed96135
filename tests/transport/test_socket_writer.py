"""The outgoing side of a transport against real sockets that take as much as they like."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator

import pytest

from sideband.transport.socket_writer import SocketWriter


class Owner(asyncio.Protocol):
    """Passes on what a transport tells."""

    writer: SocketWriter

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def pause_writing(self) -> None:
        self.writer.pause()

    def resume_writing(self) -> None:
        self.writer.resume()


class Stage:
    def __init__(self, transport: asyncio.Transport, owner: Owner, reader: socket.socket) -> None:
        self.transport = transport
        self.lost = owner.lost
        self.reader = reader
        self.rooms = 0
        self.writer = owner.writer = SocketWriter(transport, self.has_room)

    def has_room(self) -> None:
        self.rooms += 1

    async def read(self, size: int) -> bytes:
        loop, source, came = asyncio.get_running_loop(), random.Random(size), b""
        while len(came) < size:
            came += await loop.sock_recv(self.reader, source.randrange(1, 50_000))
        return came


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    ours.setblocking(False)
    theirs.setblocking(False)
    transport, owner = await asyncio.get_running_loop().create_connection(Owner, sock=ours)
    with theirs:
        yield Stage(transport, owner, theirs)
        transport.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(5))
async def test_pieces_of_every_size_leave_whole_and_in_order(stage: Stage, seed: int) -> None:
    source = random.Random(seed)
    pieces = [source.randbytes(source.choice([0, 1, 3, 100, 5000, 70_000])) for _ in range(300)]
    expected = b"".join(pieces)

    async def write() -> None:
        for number, piece in enumerate(pieces):
            stage.writer.write(memoryview(piece) if number % 2 else piece)
            if source.random() < 0.3:
                await asyncio.sleep(0)

    writing = asyncio.ensure_future(write())
    assert await stage.read(len(expected)) == expected
    await writing
    assert stage.writer.buffered_bytes == 0
    assert stage.rooms > 0


async def test_what_goes_first_waits_for_the_piece_that_has_begun_only(stage: Stage) -> None:
    stage.writer.write(b"a" * 100_000)
    stage.writer.write(b"b" * 100_000)
    stage.writer.write_first(b"!")
    assert await stage.read(200_001) == b"a" * 100_000 + b"!" + b"b" * 100_000


async def test_what_is_dropped_had_not_begun(stage: Stage) -> None:
    for piece in (b"a", b"b", b"c"):
        stage.writer.write(piece * 100_000)
    stage.writer.drop()
    stage.writer.write(b"z")
    assert await stage.read(100_001) == b"a" * 100_000 + b"z"
    assert stage.writer.buffered_bytes == 0


async def test_more_pieces_than_one_call_takes(stage: Stage) -> None:
    stage.writer.write(b"x" * 50_000)
    for number in range(1000):
        stage.writer.write(b"%03d" % number)
    assert await stage.read(53_000) == b"x" * 50_000 + b"".join(b"%03d" % number for number in range(1000))


async def test_the_end_comes_when_everything_has_left(stage: Stage) -> None:
    stage.writer.write(b"x" * 300_000)
    stage.writer.finish(stage.transport.close)
    assert not stage.transport.is_closing()
    assert await stage.read(300_000) == b"x" * 300_000
    await stage.lost.wait()
    assert stage.writer.buffered_bytes == 0


async def test_the_end_comes_at_once_where_nothing_waits(stage: Stage) -> None:
    stage.writer.finish(stage.transport.close)
    assert stage.transport.is_closing()


async def test_a_transport_that_is_closing_is_written_to_no_more(stage: Stage) -> None:
    stage.writer.write(b"x" * 300_000)
    stage.transport.abort()
    stage.writer.write(b"y")
    stage.writer.resume()
    assert stage.writer.buffered_bytes == 0


async def test_a_broken_socket_is_told_by_its_transport(stage: Stage) -> None:
    stage.reader.close()
    for _ in range(3):
        stage.writer.write(b"x" * 300_000)
    await stage.lost.wait()
    assert stage.writer.buffered_bytes == 0


async def test_what_the_transport_had_to_write_goes_first() -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    theirs.setblocking(False)
    ours.setblocking(False)
    transport, owner = await asyncio.get_running_loop().create_connection(Owner, sock=ours)
    with theirs:
        transport.write(b"a" * 100_000)
        stage = Stage(transport, owner, theirs)
        assert stage.writer.full
        stage.writer.write(b"b")
        assert await stage.read(100_001) == b"a" * 100_000 + b"b"
        transport.abort()
        await asyncio.sleep(0)
