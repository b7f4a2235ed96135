"""What a WebSocket connection of an endpoint promises, byte by byte, on each event loop, with and without TLS."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sideband._native import frame_messages
from sideband.errors import ConfigError, ConnectionClosed, TransportError
from sideband.transport import Connection, WebSocketTransport
from sideband.transport.websocket_protocol import RECEIVE_AHEAD_BYTES, SEND_AHEAD_BYTES
from tests.support.certificate import server_context, write_certificate

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
Run = Callable[[Coroutine[Any, Any, None]], None]


class Wire:
    """The server's end, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, first: int, payload: bytes = b"") -> None:
        self.writer.write(bytes((first,)) + bytes(frame_messages([payload], False).view())[1:])

    async def read(self) -> tuple[int, bytes]:
        """Return the next frame's first byte and payload; a client's are masked."""
        first, size = await self.reader.readexactly(2)
        assert size & 0x80, "a client's frames are masked"
        size &= 0x7F
        if size >= 126:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        mask = await self.reader.readexactly(4)
        body = await self.reader.readexactly(size)
        repeated = (mask * (size // 4 + 1))[:size]
        return first, (int.from_bytes(body, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(main: Coroutine[Any, Any, None]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(60):
                await main

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(limited())

    return run


@pytest.fixture(params=["ws", "wss"])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext] | None:
    if request.param == "ws":
        return None
    certificate, key = write_certificate(tmp_path)
    return server_context(certificate, key), ssl.create_default_context(cafile=str(certificate))


Tls = tuple[ssl.SSLContext, ssl.SSLContext] | None


@asynccontextmanager
async def opened(
    tls: Tls = None, *, behind: bytes = b"", headers: str = "", **options: Any
) -> AsyncIterator[tuple[Connection, Wire]]:
    """Connect our client to a server that does as the test says."""
    wires: asyncio.Queue[Wire] = asyncio.Queue()
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        writer.write(answer(lines[b"Sec-WebSocket-Key"], headers) + behind)
        wires.put_nowait(Wire(reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=None if tls is None else tls[0])
    transport = WebSocketTransport(proxy="", ssl_context=None if tls is None else tls[1], **options)
    scheme = "ws" if tls is None else "wss"
    try:
        async with await transport.connect(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as connection:
            yield connection, await wires.get()
            hang_up(writers)
    finally:
        hang_up(writers)
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0)


def hang_up(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.transport.abort()


def answer(key: bytes, headers: str) -> bytes:
    accept = b64encode(sha1(key + GUID, usedforsecurity=False).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n{headers}\r\n"
    ).encode()


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  (what is waited for has no event to wait on)
        await asyncio.sleep(0.001)


def test_messages_behind_the_answer_and_in_fragments(run: Run, tls: Tls) -> None:
    async def main() -> None:
        behind = b"\x82\x03one" + b"\x02\x02tw" + b"\x89\x04ping" + b"\x80\x01o"
        async with opened(tls, behind=behind) as (connection, wire):
            assert [await connection.receive(), await connection.receive()] == [b"one", b"two"]
            assert await wire.read() == (0x8A, b"ping")

    run(main())


def test_everything_sent_arrives_in_order_though_nobody_reads_at_first(run: Run, tls: Tls) -> None:
    async def main() -> None:
        async with opened(tls) as (connection, wire):
            masked = connection.masks_frames
            assert masked is True

            async def send() -> None:
                for number in range(40):
                    mark = number.to_bytes(2, "big")
                    await connection.send(mark + bytes(65_000))
                    await connection.send_many([mark, memoryview(mark), mark + bytes(300_000)])
                    await connection.send_framed(frame_messages([(mark, bytes(200)), mark], masked))

            sending = asyncio.ensure_future(send())
            await until(lambda: connection.buffered_bytes > SEND_AHEAD_BYTES)
            assert not sending.done()
            for number in range(40):
                sizes = []
                for _ in range(6):
                    first, payload = await wire.read()
                    assert (first, payload[:2]) == (0x82, number.to_bytes(2, "big"))
                    assert not any(payload[2:])
                    sizes.append(len(payload))
                assert sizes == [65_002, 2, 2, 300_002, 202, 2]
            await sending
            assert connection.buffered_bytes == 0

    run(main())


def test_what_is_not_taken_is_not_read(run: Run, tls: Tls) -> None:
    async def main() -> None:
        async with opened(tls) as (connection, wire):
            message = bytes(60_000)
            count = 400

            async def push() -> None:
                for _ in range(count):
                    wire.send(0x82, message)
                    await wire.writer.drain()

            pushing = asyncio.ensure_future(push())
            held = connection._protocol._input  # type: ignore[attr-defined]  # only it knows what it holds
            await until(lambda: held.ready_cost >= RECEIVE_AHEAD_BYTES)
            for _ in range(20):
                await asyncio.sleep(0)
            assert held.ready_cost < 2 * RECEIVE_AHEAD_BYTES
            assert not pushing.done()
            came = 0
            while came < count:
                batch = await connection.receive_many()
                assert set(map(len, batch)) == {len(message)}
                came += len(batch)
            await pushing

    run(main())


@pytest.mark.parametrize(("limit", "reads"), [(1064, False), (1065, True)])
def test_receiving_ahead_at_its_edge(run: Run, limit: int, reads: bool) -> None:
    async def main() -> None:
        async with opened(receive_ahead_bytes=limit) as (connection, wire):
            held = connection._protocol._input  # type: ignore[attr-defined]  # only it knows what it holds
            wire.send(0x82, bytes(1000))
            await until(lambda: held.ready_cost)
            assert connection._transport.is_reading() is reads  # type: ignore[attr-defined]  # nothing else shows it
            assert await connection.receive() == bytes(1000)
            wire.send(0x89, b"again")
            assert await wire.read() == (0x8A, b"again")

    run(main())


def test_senders_wait_at_the_bound_that_was_set(run: Run) -> None:
    async def main() -> None:
        limit, size, count = 1000, 60_000, 400
        async with opened(send_ahead_bytes=limit) as (connection, wire):

            async def send() -> None:
                for _ in range(count):
                    await connection.send(bytes(size))

            sending = asyncio.ensure_future(send())
            await until(lambda: connection.buffered_bytes > limit)
            for _ in range(20):
                await asyncio.sleep(0)
            assert not sending.done()
            assert connection.buffered_bytes <= limit + size + 14
            for _ in range(count):
                assert await wire.read() == (0x82, bytes(size))
            await sending

    run(main())


@pytest.mark.parametrize("name", ["max_message_bytes", "receive_ahead_bytes", "send_ahead_bytes"])
def test_bounds_are_at_least_1(name: str) -> None:
    WebSocketTransport(**{name: 1})
    with pytest.raises(ConfigError, match=f"{name} is at least 1, not 0"):
        WebSocketTransport(**{name: 0})


def test_of_pings_that_cannot_be_answered_the_latest_is(run: Run) -> None:
    async def main() -> None:
        async with opened() as (connection, wire):
            sending = asyncio.ensure_future(connection.send_many([bytes(1_000_000)] * 20))
            await until(lambda: connection.buffered_bytes > SEND_AHEAD_BYTES)
            for number in range(1000):
                wire.send(0x89, number.to_bytes(2, "big"))
            wire.send(0x82, b"behind")
            assert await connection.receive() == b"behind"
            pongs, messages = [], 0
            while messages < 20 or not pongs:
                first, payload = await wire.read()
                if first == 0x8A:
                    pongs.append(payload)
                else:
                    messages += 1
            assert pongs == [(999).to_bytes(2, "big")]
            await sending

    run(main())


def test_a_close_is_answered_and_told_behind_the_messages_before_it(run: Run, tls: Tls) -> None:
    async def main() -> None:
        async with opened(tls) as (connection, wire):
            wire.send(0x82, b"last words")
            wire.send(0x88, b"\x0f\xa1replaced")
            assert await wire.read() == (0x88, b"\x0f\xa1")
            await connection.wait_closed()
            assert (connection.closed, connection.close_code, connection.close_reason) == (True, 4001, "replaced")
            # As if it had been sent a moment earlier.
            await connection.send(b"lost")
            assert await connection.receive() == b"last words"
            for act in (connection.receive, lambda: connection.send(b"x")):
                with pytest.raises(TransportError) as caught:
                    await act()
                assert (caught.value.kind, caught.value.close_code) == ("abnormal_close", 4001)
            assert await wire.reader.read() == b""

    run(main())


def test_a_close_without_a_code_is_a_clean_end(run: Run) -> None:
    async def main() -> None:
        async with opened() as (connection, wire):
            wire.send(0x88)
            with pytest.raises(ConnectionClosed):
                await connection.receive()
            assert connection.close_code == 1005
            assert await wire.read() == (0x88, b"")

    run(main())


def test_our_close_says_code_and_reason_and_waits_for_theirs(run: Run, tls: Tls) -> None:
    async def main() -> None:
        async with opened(tls) as (connection, wire):
            receiving = asyncio.ensure_future(connection.receive())
            await asyncio.sleep(0)
            closing = asyncio.ensure_future(connection.close(4000, "x" * 200))
            first, payload = await wire.read()
            assert (first, payload) == (0x88, b"\x0f\xa0" + b"x" * 123)
            with pytest.raises(ConnectionClosed):
                await receiving
            wire.send(0x82, b"too late")
            assert not closing.done()
            wire.send(0x88, b"\x0f\xa0")
            await closing
            assert (connection.close_code, await wire.reader.read()) == (4000, b"")

    run(main())


@pytest.mark.parametrize(
    ("wire_bytes", "code"),
    [
        (b"\x82\x81\x00\x00\x00\x00x", 1002),
        (b"\xc2\x01x", 1002),
        (b"\x80\x01x", 1002),
        (b"\x88\x01\x03", 1002),
        (b"\x88\x04\x03\xe8\xff\xfe", 1007),
        (b"\x81\x01x", 1003),
        (b"\x82\x7e\x03\xe9", 1009),
    ],
)
def test_a_broken_rule_ends_the_connection(run: Run, wire_bytes: bytes, code: int) -> None:
    async def main() -> None:
        async with opened(max_message_bytes=1000) as (connection, wire):
            wire.send(0x82, b"sound")
            wire.writer.write(wire_bytes)
            first, payload = await wire.read()
            assert (first, int.from_bytes(payload[:2], "big")) == (0x88, code)
            assert await connection.receive() == b"sound"
            with pytest.raises(TransportError) as caught:
                await connection.receive()
            assert caught.value.close_code == code
            if code in (1002, 1007):
                assert await wire.reader.read() == b""

    run(main())


def test_a_lost_connection_wakes_whoever_waits(run: Run, tls: Tls) -> None:
    async def main() -> None:
        async with opened(tls) as (connection, wire):
            receiving = asyncio.ensure_future(connection.receive())
            sending = asyncio.ensure_future(connection.send_many([bytes(1_000_000)] * 20))
            await until(lambda: connection.buffered_bytes > SEND_AHEAD_BYTES)
            wire.writer.transport.abort()
            for waiting in (receiving, sending):
                with pytest.raises(TransportError) as caught:
                    await waiting
                assert (caught.value.kind, caught.value.close_code) == ("abnormal_close", 1006)
            assert connection.buffered_bytes == 0

    run(main())


def test_closing_a_full_connection_takes_no_longer_than_it_may(run: Run, tls: Tls) -> None:
    async def main() -> None:
        async with opened(tls, close_timeout_seconds=0.05) as (connection, _):
            sending = asyncio.ensure_future(connection.send_many([bytes(1_000_000)] * 20))
            await until(lambda: connection.buffered_bytes > SEND_AHEAD_BYTES)
            await connection.close()
            with pytest.raises(ConnectionClosed):
                await sending
            assert connection.buffered_bytes == 0

    run(main())


def test_a_cancelled_send_leaves_whole_messages(run: Run) -> None:
    async def main() -> None:
        async with opened() as (connection, wire):
            sending = asyncio.ensure_future(connection.send_many([b"\x01" * 1_000_000] * 20))
            await until(lambda: connection.buffered_bytes > SEND_AHEAD_BYTES)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            mark = asyncio.ensure_future(connection.send(b"after"))
            while (frame := await wire.read()) != (0x82, b"after"):
                assert frame == (0x82, b"\x01" * 1_000_000)
            await mark

    run(main())


def test_pings_that_nobody_answers_end_the_connection(run: Run) -> None:
    async def main() -> None:
        async with opened(heartbeat_seconds=0.05) as (connection, wire):
            for _ in range(2):
                assert await wire.read() == (0x89, b"")
                wire.send(0x8A)
            assert await wire.read() == (0x89, b"")
            with pytest.raises(TransportError) as caught:
                await connection.receive()
            assert (caught.value.kind, connection.close_code) == ("abnormal_close", 1006)

    run(main())


@pytest.mark.parametrize(
    "headers", ["Sec-WebSocket-Extensions: permessage-deflate\r\n", "Sec-WebSocket-Protocol: x\r\n"]
)
def test_what_was_not_offered_is_not_taken(run: Run, headers: str) -> None:
    async def main() -> None:
        with pytest.raises(TransportError, match="did not answer as a WebSocket server"):
            async with opened(headers=headers):
                pass

    run(main())


def test_only_one_task_may_receive(run: Run) -> None:
    async def main() -> None:
        async with opened() as (connection, wire):
            receiving = asyncio.ensure_future(connection.receive())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task"):
                await connection.receive()
            wire.send(0x82, b"one")
            assert await receiving == b"one"

    run(main())
