"""TCP: messages with their lengths, limits at their edges, and a reader that stops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sideband.errors import ConnectionClosed, SbdpError, TransportError
from sideband.transport.framed import HIGH_WATER_BYTES, UNCUT_BYTES
from sideband.transport.tcp import WRITE_HIGH_BYTES, TcpTransport


async def idle(connection: Any) -> None:
    await connection.wait_closed()


async def echo(connection: Any) -> None:
    while True:
        await connection.send_many(await connection.receive_many())


@asynccontextmanager
async def listening(handler: Any = echo, limit: int = 1 << 20) -> AsyncIterator[Any]:
    async with await TcpTransport(max_message_bytes=limit).listen("tcp://127.0.0.1:0", handler) as listener:
        yield listener


@asynccontextmanager
async def raw(listener: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(listener.address.rpartition(":")[2]))
    yield reader, writer
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_messages_of_every_size_up_to_the_limit_come_back_whole_and_in_order() -> None:
    limit = 700_000  # more than is kept otherwise before a session is made
    async with listening(limit=limit) as listener:
        connection = await TcpTransport(max_message_bytes=limit).connect(listener.address)
        sent = [bytes([size % 251]) * size for size in (0, 1, UNCUT_BYTES, limit - 1, limit, 2)]
        await connection.send_many([sent[0], bytearray(sent[1]), memoryview(sent[2]), *sent[3:]])
        assert [await connection.receive() for _ in sent] == sent
        with pytest.raises(TransportError, match=r"message_too_large: .*700001"):
            await connection.send(bytes(limit + 1))
        await connection.close()
        with pytest.raises(ConnectionClosed):
            await connection.send(b"late")


@pytest.mark.parametrize("size", [101, 1 << 20, 2**32 - 1])
async def test_a_length_over_the_limit_is_refused_before_any_of_it_came(size: int) -> None:
    refused: asyncio.Future[TransportError] = asyncio.get_running_loop().create_future()

    async def read(connection: Any) -> None:
        with pytest.raises(TransportError) as told:
            await connection.receive()
        refused.set_result(told.value)

    async with listening(read, 100) as listener, raw(listener) as (reader, writer):
        writer.write(struct.pack(">I", size))
        assert (await refused).kind == "message_too_large"
        assert await reader.read() == b""


async def test_a_message_that_comes_byte_by_byte_is_whole() -> None:
    async with listening() as listener, raw(listener) as (reader, writer):
        for byte in b"\x00\x00\x00\x03abc\x00\x00\x00\x00":
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0)
        assert await reader.readexactly(11) == b"\x00\x00\x00\x03abc\x00\x00\x00\x00"


async def test_a_reader_that_stops_holds_the_writer_and_keeps_little() -> None:
    reading: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def stop(connection: Any) -> None:
        reading.set_result(connection)
        await done.wait()
        while True:
            await connection.receive_many()

    async with listening(stop) as listener:
        connection = await TcpTransport().connect(listener.address)
        piece, written = bytes(64 * 1024), 0

        async def write() -> None:
            nonlocal written
            for _ in range(64 * 16):
                await connection.send(piece)
                written += 1

        writing = asyncio.create_task(write())
        held = await reading
        while connection._room.is_set() or not held._reading_paused:  # noqa: ASYNC110  (nothing tells of it)
            await asyncio.sleep(0)
        assert not writing.done()
        assert held._held <= UNCUT_BYTES + 256 * 1024  # and what one read takes
        assert connection.buffered_bytes <= WRITE_HIGH_BYTES + 2 * len(piece)
        done.set()
        await writing
        assert written == 64 * 16
        await connection.close()


async def test_a_session_that_does_not_take_what_it_decoded_stops_the_reading() -> None:
    async with listening(idle) as listener, raw(listener) as (_, writer):
        while not listener._served:  # noqa: ASYNC110  (nothing tells of it)
            await asyncio.sleep(0)
        (held,) = listener._served.connections
        held.adopt(lambda data: [len(data)])
        piece = bytes(1 << 20)

        async def write() -> None:
            while True:
                writer.write(piece)
                await writer.drain()

        writing = asyncio.create_task(write())
        while not held._reading_paused:  # noqa: ASYNC110  (nothing tells of it)
            await asyncio.sleep(0)
        assert HIGH_WATER_BYTES < held._held <= HIGH_WATER_BYTES + 256 * 1024
        assert sum(await held.receive_many()) > HIGH_WATER_BYTES
        assert not held._reading_paused
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        writer.transport.abort()  # or the other side would be waited for
        await held.close()


async def test_what_a_decoder_refuses_is_told_after_all_that_came_before_it() -> None:
    def decode(data: bytes) -> list[Any]:
        if b"!" in data:
            raise SbdpError("protocol_violation")
        return [data]

    async with listening(idle) as listener, raw(listener) as (_, writer):
        while not listener._served:  # noqa: ASYNC110  (nothing tells of it)
            await asyncio.sleep(0)
        (held,) = listener._served.connections
        held.adopt(decode)
        writer.write(b"good")
        assert await held.receive_many() == [b"good"]
        writer.write(b"bad!")
        with pytest.raises(SbdpError):
            await held.receive_many()
        writer.close()  # or the other side would be waited for
        await held.close()


async def test_what_was_written_before_a_close_arrives() -> None:
    got: list[bytes] = []
    ended = asyncio.Event()

    async def read(connection: Any) -> None:
        with contextlib.suppress(TransportError):
            while True:
                got.extend(await connection.receive_many())
        ended.set()

    async with listening(read) as listener:
        connection = await TcpTransport().connect(listener.address)
        await connection.send(b"a" * 900_000)
        await connection.send(b"the last")
        await connection.close()
        await ended.wait()
    assert got == [b"a" * 900_000, b"the last"]


async def test_a_close_frees_a_writer_that_waits() -> None:
    async with listening(idle) as listener:
        connection = await TcpTransport().connect(listener.address)

        async def write() -> None:
            while True:
                await connection.send(bytes(64 * 1024))

        writing = asyncio.create_task(write())
        while connection._room.is_set():  # noqa: ASYNC110  (nothing tells of it)
            await asyncio.sleep(0)
        connection.abort()
        with pytest.raises(TransportError, match="abnormal_close"):
            await writing
        await connection.close()


async def test_nobody_there_is_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(TransportError, match="connection_refused"):
        await TcpTransport().connect(f"tcp://127.0.0.1:{port}")


async def test_a_port_that_is_taken_is_told() -> None:
    async with listening() as listener:
        with pytest.raises(TransportError, match=r"transport_failure: cannot listen at tcp://127\.0\.0\.1"):
            await TcpTransport().listen(listener.address, idle)


@pytest.mark.parametrize("endpoint", ["tcp://", "tcp://x", "tcp://x:1/path", "udp://x:1", "tcp://x:99999", "nonsense"])
async def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(TransportError, match="an endpoint here is tcp://host:port"):
        await TcpTransport().connect(endpoint)
