"""QUIC: its contract, its limits, and another implementation of it (aioquic) on either side of the wire."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aioquic.asyncio import QuicConnectionProtocol
from aioquic.asyncio import serve as aioquic_serve
from aioquic.asyncio.client import connect as aioquic_connect
from aioquic.quic.configuration import QuicConfiguration
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given
from hypothesis import strategies as st

from sideband.errors import ConnectionClosed, TransportError
from sideband.transport import ConnectOptions
from sideband.transport.framed import UNCUT_BYTES
from sideband.transport.quic import ALPN, QuicTransport
from sideband.transport.quic_connection import WRITE_HIGH_BYTES
from sideband.transport.quic_listener import _self_made
from sideband.transport.quic_retry import FirstDatagram, RetryTokens

HERE = ("127.0.0.1", 4321)


async def echo(connection: Any) -> None:
    while True:
        await connection.send_many(await connection.receive_many())


@asynccontextmanager
async def listening(handler: Any = echo, **more: Any) -> AsyncIterator[Any]:
    async with await QuicTransport(**more).listen("quic://127.0.0.1:0", handler) as listener:
        yield listener


def port_of(listener: Any) -> int:
    return int(listener.address.rpartition(":")[2])


class Valve(asyncio.DatagramProtocol):
    """A way from one client to a port that can be shut: what comes then is lost."""

    def __init__(self, port: int) -> None:
        self.open = True
        self._port = port
        self._client: Any = None
        self._front: Any = None
        self._back: Any = None

    async def start(self) -> str:
        loop = asyncio.get_running_loop()
        self._front, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        valve = self

        class Back(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, _: Any) -> None:
                if valve.open:
                    valve._front.sendto(data, valve._client)

        self._back, _ = await loop.create_datagram_endpoint(Back, remote_addr=("127.0.0.1", self._port))
        return f"quic://127.0.0.1:{self._front.get_extra_info('sockname')[1]}"

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._client = addr
        if self.open:
            self._back.sendto(data)

    async def close(self) -> None:
        self._front.close()
        self._back.close()
        await asyncio.sleep(0)


class Vandal(Valve):
    """A way that changes, cuts and makes up datagrams besides those that it passes on."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__(port)
        self._random = random.Random(seed)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        at, byte = self._random.randrange(len(data)), self._random.randrange(256)
        changed = data[:at] + bytes((byte,)) + data[at + 1 :]
        made_up = data[: self._random.randrange(1, 20)] + self._random.randbytes(1200)
        for each in self._random.sample([changed, data[:at] or data[:1], made_up, data], 4):
            super().datagram_received(each, addr)


async def held_back(connection: Any) -> None:
    """Wait until a writer has to."""
    while connection._room.is_set():  # noqa: ASYNC110  (nothing tells of it)
        await asyncio.sleep(0)


@asynccontextmanager
async def valve(port: int) -> AsyncIterator[tuple[Valve, str]]:
    made = Valve(port)
    address = await made.start()
    yield made, address
    await made.close()


async def test_messages_of_every_size_up_to_the_limit_come_back_whole_and_in_order() -> None:
    limit = 100_000
    async with listening(max_message_bytes=limit) as listener:
        connection = await QuicTransport(max_message_bytes=limit).connect(listener.address)
        sent = [bytes([size % 251]) * size for size in (0, 1, 1199, 1200, 65_535, 65_536, limit)]
        await connection.send_many(sent)
        assert [await connection.receive() for _ in sent] == sent
        with pytest.raises(TransportError, match=r"message_too_large: .*100001"):
            await connection.send(bytes(limit + 1))
        await connection.close()
        assert connection.closed
        with pytest.raises(ConnectionClosed):
            await connection.send(b"late")


async def test_a_message_over_the_limit_of_the_reader_is_refused_by_its_size() -> None:
    refused: asyncio.Future[TransportError] = asyncio.get_running_loop().create_future()

    async def read(connection: Any) -> None:
        with pytest.raises(TransportError) as told:
            await connection.receive()
        refused.set_result(told.value)

    async with listening(read, max_message_bytes=100) as listener:
        connection = await QuicTransport().connect(listener.address)
        await connection.send(bytes(101))
        assert (await refused).kind == "message_too_large"
        await connection.wait_closed()
        await connection.close()


async def test_what_was_written_before_a_close_arrives_and_the_close_waits_for_it() -> None:
    got: list[bytes] = []
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read(connection: Any) -> None:
        with contextlib.suppress(TransportError):
            while True:
                got.extend(await connection.receive_many())
        ended.set_result(None)

    async with listening(read) as listener:
        connection = await QuicTransport().connect(listener.address)
        await connection.send(b"a" * 200_000)
        await connection.send(b"the last")
        await connection.close()
        await ended
    assert got == [b"a" * 200_000, b"the last"]


async def test_a_way_that_is_shut_holds_the_writer_until_it_opens() -> None:
    total = 4 * WRITE_HIGH_BYTES
    arrived = asyncio.Event()

    async def read(connection: Any) -> None:
        size = 0
        while size < total:
            size += sum(map(len, await connection.receive_many()))
        arrived.set()
        await connection.wait_closed()

    async with listening(read) as listener, valve(port_of(listener)) as (way, address):
        connection = await QuicTransport().connect(address)
        way.open = False
        piece = bytes(64 * 1024)

        async def write() -> None:
            for _ in range(total // len(piece)):
                await connection.send(piece)

        writing = asyncio.create_task(write())
        await held_back(connection)
        assert connection.buffered_bytes <= WRITE_HIGH_BYTES + len(piece) + 4
        assert not writing.done()
        way.open = True
        await writing
        await arrived.wait()
        await connection.close()


async def test_who_floods_a_side_that_has_not_begun_to_read_is_cut_off() -> None:
    async def idle(connection: Any) -> None:
        await connection.wait_closed()

    async with listening(idle, max_message_bytes=100) as listener:
        connection = await QuicTransport().connect(listener.address)
        with contextlib.suppress(TransportError):
            for _ in range(UNCUT_BYTES):
                await connection.send(bytes(4096))
                await asyncio.sleep(0)
        await connection.wait_closed()
        assert connection.close_code == 1006
        await connection.close()


async def test_a_connection_over_the_limit_gets_no_answer_until_another_one_ends() -> None:
    async with listening(max_connections=2) as listener:
        first, second = [await QuicTransport().connect(listener.address) for _ in range(2)]
        for each in (first, second):
            await each.send(b"here")
            assert await each.receive() == b"here"
        with pytest.raises(TransportError, match="timeout"):
            await QuicTransport().connect(listener.address, ConnectOptions(timeout_seconds=0.3))
        await first.close()
        third = await QuicTransport().connect(listener.address)
        await third.send(b"after all")
        assert await third.receive() == b"after all"
        await third.close()
        await second.close()


async def test_in_a_crowd_who_proves_his_address_gets_in() -> None:
    async with listening(max_half_open=2) as listener:
        waiting = [await QuicTransport().connect(listener.address) for _ in range(3)]
        assert len(listener._half_open) == 2
        late = await QuicTransport().connect(listener.address)
        await late.send(b"in")
        assert await late.receive() == b"in"
        for each in (*waiting, late):
            await each.close()


async def test_silence_ends_a_connection() -> None:
    ended = asyncio.Event()

    async def read(connection: Any) -> None:
        await connection.send(b"hello")
        await connection.wait_closed()
        ended.set()

    async with listening(read, idle_seconds=0.5) as listener, valve(port_of(listener)) as (way, address):
        connection = await QuicTransport(idle_seconds=0.5).connect(address)
        await connection.send(b"here")
        assert await connection.receive() == b"hello"
        way.open = False
        await connection.wait_closed()
        await ended.wait()
        await connection.close()


async def test_nobody_there_is_told_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(TransportError, match="connection_refused"):
        await QuicTransport().connect(f"quic://127.0.0.1:{port}")


async def test_a_given_socket_is_the_one_that_is_used() -> None:
    seen: list[Any] = []
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    name = sock.getsockname()
    async with listening() as listener:
        taken = listener.datagrams_received
        listener.datagrams_received = lambda data, size, address: (seen.append(address), taken(data, size, address))
        connection = await QuicTransport(sock=sock).connect(listener.address)
        await connection.close()
    assert set(seen) == {name}


async def test_junk_and_other_versions_end_nothing() -> None:
    async with listening() as listener:
        connection = await QuicTransport().connect(listener.address)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            stranger.bind(("127.0.0.1", 0))
            to = ("127.0.0.1", port_of(listener))
            for junk in (b"\x00", b"\xff", bytes(1200), b"\x80" + bytes(1300), b"\x40" * 30):
                stranger.sendto(junk, to)
            asked = b"\xc0" + (0x1A2A3A4A).to_bytes(4) + b"\x08" + b"t" * 8 + b"\x05" + b"s" * 5
            stranger.sendto(asked + bytes(1200 - len(asked)), to)
            answer = await loop.sock_recv(stranger, 2000)
        assert answer[1:5] == bytes(4)
        assert answer[5:] == b"\x05" + b"s" * 5 + b"\x08" + b"t" * 8 + (1).to_bytes(4)
        await connection.send(b"still here")
        assert await connection.receive() == b"still here"
        await connection.close()


@pytest.mark.parametrize("seed", range(6))
async def test_a_way_that_spoils_datagrams_spoils_no_connection(seed: int) -> None:
    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with listening() as listener:
        way = Vandal(port_of(listener), seed)
        connection = await QuicTransport().connect(await way.start())
        message = random.Random(seed).randbytes(50_000)
        await connection.send(message)
        assert await connection.receive() == message
        await connection.close()
        await way.close()
    assert errors == []


@given(st.binary(max_size=80))
def test_a_first_datagram_of_any_bytes_is_read_or_refused(data: bytes) -> None:
    for first in (FirstDatagram.parse(data), FirstDatagram.parse(b"\xc3\x00\x00\x00\x01" + data)):
        assert first is None or first.version != 1 or first.packet_bytes <= 5 + len(data)


def test_a_token_proves_one_address_and_one_connection_for_some_seconds() -> None:
    now = 100.0
    tokens = RetryTokens(lambda: now)
    asked = FirstDatagram(1, b"original", b"sender", b"", 1200)
    retry = tokens.retry(asked, HERE)
    name, token = retry[13:21], retry[21:-16]
    assert retry[5:13] == b"\x06sender\x08"
    again = FirstDatagram(1, name, b"sender", token, 1200)
    assert tokens.original_target(again, HERE) == b"original"
    assert tokens.original_target(again, ("127.0.0.1", 4322)) is None
    assert tokens.original_target(again, ("127.0.0.2", 4321)) is None
    assert tokens.original_target(FirstDatagram(1, b"another8", b"sender", token, 1200), HERE) is None
    assert RetryTokens(lambda: now).original_target(again, HERE) is None
    for at in range(len(token)):
        changed = token[:at] + bytes([token[at] ^ 1]) + token[at + 1 :]
        assert tokens.original_target(FirstDatagram(1, name, b"sender", changed, 1200), HERE) is None
    now = 110.0
    assert tokens.original_target(again, HERE) == b"original"
    now = 110.1
    assert tokens.original_target(again, HERE) is None


async def test_another_implementation_dials_ours() -> None:
    async with listening() as listener:
        settings = QuicConfiguration(alpn_protocols=[ALPN], verify_mode=ssl.CERT_NONE)
        async with aioquic_connect("127.0.0.1", port_of(listener), configuration=settings) as client:
            reader, writer = await client.create_stream()
            for size in (1, 5000, 1_000_000):
                message = size.to_bytes(4) + b"x" * size
                writer.write(message)
                assert await reader.readexactly(len(message)) == message
            shown = client._quic.tls._peer_certificate.public_bytes(serialization.Encoding.DER)
            assert hashlib.sha256(shown).digest() == listener._binding
            writer.write_eof()
            assert await reader.read() == b""


async def test_ours_dials_another_implementation() -> None:
    certificate, key, digest = _self_made()
    settings = QuicConfiguration(is_client=False, alpn_protocols=[ALPN])
    settings.certificate = load_pem_x509_certificate(certificate)
    settings.private_key = serialization.load_pem_private_key(key, None)  # type: ignore[assignment]
    tasks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def back() -> None:
            while data := await reader.read(65_536):
                writer.write(data)
            writer.write_eof()

        tasks.add(asyncio.ensure_future(back()))

    made: list[QuicConnectionProtocol] = []

    def protocol(*arguments: Any, **more: Any) -> QuicConnectionProtocol:
        made.append(QuicConnectionProtocol(*arguments, **more))
        return made[-1]

    server = await aioquic_serve("127.0.0.1", 0, configuration=settings, create_protocol=protocol, stream_handler=begin)
    port = server._transport.get_extra_info("sockname")[1]
    connection = await QuicTransport().connect(f"quic://127.0.0.1:{port}")
    assert connection.binding == digest
    for size in (1, 5000, 1_000_000):
        await connection.send(b"y" * size)
        assert await connection.receive() == b"y" * size
    await connection.close()
    await asyncio.gather(*tasks)
    for each in made:
        await each.wait_closed()
    server.close()
    await asyncio.sleep(0)
