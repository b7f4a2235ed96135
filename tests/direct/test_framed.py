"""Messages and records over a byte stream that arrives in any pieces."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband._native import NOISE_MAX_RECORD, NoiseHandshake, NoiseKeyPair
from sideband.errors import SbdpError, SidebandError, TransportError
from sideband.transport import framed
from sideband.transport.base import BytesLike
from sideband.transport.framed import HIGH_WATER_BYTES, UNCUT_BYTES, FramedConnection
from tests.native.test_noise import sessions
from tests.support.sbdp_by_hand import DATA, NEXT_KEY, Side


class Stream(FramedConnection):
    """A stream whose other end is the test."""

    transport_name = "test"

    def __init__(self, max_message_bytes: int = 1 << 20) -> None:
        super().__init__(max_message_bytes)
        self.written = bytearray()
        self.reading = True

    def arrive(self, data: bytes) -> None:
        assert self.reading, "a stream that is not read gives nothing"
        self._received(data)

    def abort(self) -> None:
        self._lost(None)

    def _write(self, data: BytesLike) -> None:
        self.written += data

    def _shut(self) -> None:
        self._lost(None)

    def _set_reading(self, reading: bool) -> None:
        self.reading = reading

    @property
    def buffered_bytes(self) -> int:
        return 0


messages = st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 5000).map(bytes)), max_size=12)
cuts = st.lists(st.integers(0, 1 << 16), max_size=30)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in at)})
    return [data[begin:end] for begin, end in itertools.pairwise(bounds)]


async def read_while_it_arrives(
    stream: Stream, count: int, arriving: list[bytes], first: Callable[[], Awaitable[None]] | None = None
) -> list[Any]:
    got: list[Any] = []

    async def read() -> None:
        if first is not None:
            await first()
        while len(got) < count:
            got.extend(await stream.receive_many())

    reading = asyncio.create_task(read())
    for piece in arriving:
        stream.arrive(piece)
        await asyncio.sleep(0)
    await reading
    return got


@given(messages, cuts)
def test_messages_come_out_as_they_went_in_however_the_stream_is_cut(sent: list[bytes], at: list[int]) -> None:
    async def run() -> None:
        near, far = Stream(), Stream()
        await near.send_many(sent)
        assert await read_while_it_arrives(far, len(sent), pieces(bytes(near.written), at)) == sent

    asyncio.run(run())


@given(messages, messages, cuts, st.integers(2, 5))
def test_records_follow_the_handshake_in_one_stream(
    before: list[bytes], contents: list[bytes], at: list[int], records: int
) -> None:
    """The reader takes over in the middle of a read, wherever that ends."""

    async def run() -> None:
        sealing, opening = sessions(rekey_records=records)
        near, far = Stream(), Stream()
        await near.send_many(before)
        await near.write(sealing.seal_stream(contents))

        async def take_over() -> None:
            first = [await far.receive() for _ in before]
            assert first == before
            far.adopt(opening.push)

        arriving = pieces(bytes(near.written), at)
        assert await read_while_it_arrives(far, len(contents), arriving, take_over) == contents

    asyncio.run(run())


@given(st.binary(max_size=400), cuts)
def test_any_bytes_give_what_was_sealed_before_them_and_nothing_else(noise: bytes, at: list[int]) -> None:
    async def run() -> None:
        sealing, opening = sessions()
        stream = Stream()
        stream.adopt(opening.push)
        for piece in pieces(sealing.seal_stream([b"good"]) + noise, at):
            stream.arrive(piece)
        assert await stream.receive_many() == [b"good"]
        stream.abort()
        for _ in range(2):
            with pytest.raises(SidebandError):
                await stream.receive_many()

    asyncio.run(run())


async def test_a_flood_of_next_keys_neither_fills_memory_nor_stops_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, since a sender of ours makes no next key without data under the last one."""
    monkeypatch.setattr(framed, "HIGH_WATER_BYTES", 1 << 16)
    static, ephemeral = os.urandom(32), os.urandom(32)
    other = Side("other", initiator=True, static=static, ephemeral=ephemeral, bound_to=b"p")
    ours = NoiseHandshake(NoiseKeyPair.generate(), initiator=False, prologue=b"p")
    ours.read(other.first()[1:])
    ours.read(other.third(b"\x02" + ours.write(msgpack.packb({})))[0][1:])
    session = ours.session()
    stream = Stream()
    stream.adopt(session.push)
    for number in range(1, 5):
        flood = b"".join(message(other.seal(NEXT_KEY)) for _ in range(1000))
        stream.arrive(flood)
        assert stream.reading
        assert session.received == (1000 * number, 0)
    stream.arrive(message(other.seal(DATA, b"after all that")))
    assert await stream.receive_many() == [b"after all that"]


def message(sealed: bytes) -> bytes:
    return len(sealed).to_bytes(4, "big") + sealed


@pytest.mark.parametrize("size", [0, 1, 4096, 4097])
async def test_a_message_up_to_the_limit_is_taken(size: int) -> None:
    stream = Stream(4097)
    await stream.send(bytes(size))
    stream.arrive(bytes(stream.written))
    assert await stream.receive() == bytes(size)


async def test_a_message_over_the_limit_is_neither_sent_nor_kept() -> None:
    stream = Stream(4097)
    with pytest.raises(TransportError, match="message_too_large"):
        await stream.send(bytes(4098))
    assert not stream.written
    stream.arrive((4098).to_bytes(4, "big"))
    for _ in range(2):
        with pytest.raises(TransportError, match="message_too_large"):
            await stream.receive()


async def test_a_stream_that_nobody_takes_from_is_not_read_on() -> None:
    stream = Stream()
    while stream.reading:
        stream.arrive(bytes(4) * 4096)
    assert stream._held <= UNCUT_BYTES + 16_384
    while not stream.reading:
        assert await stream.receive() == b""
    sealing, opening = sessions()
    stream = Stream()
    stream.adopt(opening.push)
    while stream.reading:
        stream.arrive(sealing.seal_stream([bytes(1 << 20)]))
    assert stream._held <= HIGH_WATER_BYTES + (1 << 20) + 64
    assert len(await stream.receive_many()) == HIGH_WATER_BYTES // (1 << 20)
    assert stream.reading


async def test_the_largest_record_is_taken_and_one_byte_more_ends_the_session() -> None:
    sealing, opening = sessions()
    stream = Stream()
    stream.adopt(opening.push)
    largest = sealing.seal_stream([bytes(NOISE_MAX_RECORD - 17)])
    assert len(largest) == 4 + 1 + (1 << 20) + 17
    stream.arrive(largest)
    assert await stream.receive_many() == [bytes(1 << 20)]
    stream.arrive((NOISE_MAX_RECORD + 2).to_bytes(4, "big"))
    with pytest.raises(SbdpError, match="protocol_violation"):
        await stream.receive_many()
