"""The other side breaks the rules of file transfers: the error is exact, and nothing but whole files appears."""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.errors import FileTransferError, PeerError
from sideband.peer.files import RESET_CODES
from sideband.peer.files.messages import Held, Offer, read_held, read_offer
from sideband.peer.streams import Stream
from tests.peer.files.conftest import Pair
from tests.peer.files.test_transfers import blake3, interrupted, left

DATA = os.urandom(2_000_000)


def message(value: Any) -> bytes:
    body = msgpack.packb(value)
    return struct.pack("<I", len(body)) + bytes(body)


def offer(**changes: Any) -> dict[str, Any]:
    return {"v": 1, "size": len(DATA), "mtime": 1, "exec": False, "offset": 0} | changes


def held(**changes: Any) -> dict[str, Any]:
    return {"v": 1, "size": 0, "mtime": 0, "marks": []} | changes


async def receive_from(pair: Pair, target: Path, *said: bytes, digest: bytes | None = None) -> tuple[Any, Stream]:
    """Let a receiver deal with a sender that says just this; return what it raised, and the sender's stream."""
    stream = await pair.open(lambda stream: stream.receive_file(target))
    await read_held(stream.read)
    try:
        for one in said:
            await stream.write(one)
        if digest is None:
            await stream.end(wait=False)
        else:
            await stream.end_file(digest)
    except PeerError:
        pass  # it was told meanwhile
    return await pair.results.get(), stream


BAD_OFFERS: list[bytes] = [
    b"",
    b"\x01",
    b"\xff\xff\xff\xff",
    struct.pack("<I", 5) + b"\xc1" * 5,
    message([]),
    message(offer(v=2)),
    message(offer(size=-1)),
    message(offer(size=1 << 63)),
    message(offer(size="5")),
    message(offer(size=True)),
    message(offer(mtime=None)),
    message(offer(mtime=1 << 63)),
    message(offer(offset=len(DATA) + 1)),
    message(offer(offset=1)),
    message(offer(offset=len(DATA))),
]


@pytest.mark.parametrize("said", BAD_OFFERS, ids=lambda said: repr(said)[:40])
async def test_a_sender_that_offers_what_cannot_be(pair: Pair, target: Path, said: bytes) -> None:
    error, stream = await receive_from(pair, target, said, DATA, digest=blake3(DATA))
    assert (error.code, error.remote) == ("protocol", False)
    assert stream.error is None or stream.error.details["code"] == RESET_CODES["protocol"]
    assert left(target) == set()


async def test_more_bytes_than_announced(pair: Pair, target: Path) -> None:
    error, _ = await receive_from(pair, target, message(offer(size=len(DATA) - 1)), DATA, digest=blake3(DATA))
    assert error.code == "protocol"
    assert not target.exists()


async def test_fewer_bytes_than_announced(pair: Pair, target: Path) -> None:
    error, stream = await receive_from(pair, target, message(offer(size=len(DATA) + 1)), DATA, digest=blake3(DATA))
    assert error.code == "changed"
    assert stream.error is not None
    assert stream.error.details["code"] == RESET_CODES["changed"]
    assert not target.exists()


async def test_a_wrong_digest_leaves_nothing(pair: Pair, target: Path) -> None:
    error, stream = await receive_from(pair, target, message(offer()), DATA, digest=blake3(b""))
    assert isinstance(error, PeerError)
    assert error.code == "integrity_error"
    assert stream.error is not None
    assert stream.error.code == "integrity_error"
    assert left(target) == set()


async def test_no_digest_at_all(pair: Pair, target: Path) -> None:
    error, _ = await receive_from(pair, target, message(offer()), DATA)
    assert isinstance(error, PeerError)
    assert (error.code, error.details["code"]) == ("stream_reset", 4)
    assert not target.exists()


async def test_an_offset_that_was_not_asked_for(pair: Pair, source: Path, target: Path) -> None:
    """Of a partial file that is there, from a place between its marks, and of another file."""
    await interrupted(pair, source, target, 2_500_000)
    status = source.stat()
    for size, offset in ((status.st_size, 1_500_000), (status.st_size + 1, 2_500_000)):
        said = message(offer(size=size, mtime=status.st_mtime_ns, offset=offset))
        error, _ = await receive_from(pair, target, said, DATA, digest=blake3(DATA))
        assert error.code == "protocol"
    assert not target.exists()


async def test_a_partial_file_survives_a_liar(pair: Pair, content: bytes, source: Path, target: Path) -> None:
    await interrupted(pair, source, target, 2_500_000)
    await receive_from(pair, target, message(offer(size=5)), b"12345678", digest=blake3(b""))
    stream = await pair.open(lambda stream: stream.receive_file(target))
    await stream.send_file(source)
    await pair.results.get()
    assert target.read_bytes() == content


BAD_HELD: list[bytes] = [
    b"",
    b"\xff\xff\xff\xff",
    message(5),
    message(held(v=9)),
    message(held(marks=5)),
    message(held(size=10, marks=[[11, bytes(32)]])),
    message(held(size=10, marks=[[0, bytes(32)]])),
    message(held(size=10, marks=[[-1, bytes(32)]])),
    message(held(size=10, marks=[[5, bytes(31)]])),
    message(held(size=10, marks=[[5, "a" * 32]])),
    message(held(size=10, marks=[[5, bytes(32)], [5, bytes(32)]])),
    message(held(size=10, marks=[[5, bytes(32)], [4, bytes(32)]])),
    message(held(size=10, marks=[[5]])),
    message(held(size=100, marks=[[number + 1, bytes(32)] for number in range(65)])),
]


@pytest.mark.parametrize("said", BAD_HELD, ids=lambda said: repr(said)[:40])
async def test_a_receiver_that_claims_what_cannot_be(pair: Pair, source: Path, said: bytes) -> None:
    stream = await pair.open(lambda stream: stream.send_file(source))
    await stream.write(said)
    await stream.end(wait=False)
    error = await pair.results.get()
    assert (error.code, error.remote) == ("protocol", False)
    with pytest.raises(PeerError) as told:
        await stream.read()
    assert told.value.details["code"] == RESET_CODES["protocol"]


async def test_a_receiver_that_claims_other_bytes_gets_all(pair: Pair, content: bytes, source: Path) -> None:
    status = source.stat()
    marks = ((1_000_000, blake3(content[:1_000_000])), (2_000_000, bytes(32)), (3_000_000, blake3(content[:3_000_000])))
    for claimed, start in ((marks, 1_000_000), (marks[1:], 0), ((marks[0], marks[2]), 3_000_000)):
        stream = await pair.open(lambda stream: stream.send_file(source))
        stream.withhold()
        await stream.write(Held(status.st_size, status.st_mtime_ns, claimed).encode())
        assert await read_offer(stream.read) == Offer(len(content), status.st_mtime_ns, executable=False, offset=start)
        assert await stream.read() == content[start:]
        assert stream.remote_digest == blake3(content)
        stream.confirm()
        assert (await pair.results.get()).resumed_at == start


@given(st.binary(max_size=200))
async def test_no_bytes_make_a_receiver_fail_otherwise(said: bytes) -> None:
    waiting = [said[:7], said[7:], b""]

    async def read(size: int) -> bytes:
        while waiting and not waiting[0]:
            del waiting[0]
        if not waiting:
            return b""
        piece, waiting[0] = waiting[0][:size], waiting[0][size:]
        return piece

    for decode in (read_offer, read_held):
        waiting[:] = [said[:7], said[7:]]
        try:
            await decode(read)
        except FileTransferError as error:
            assert error.code == "protocol"  # noqa: PT017  (only some bytes raise)


async def test_who_ends_without_a_word_is_told(pair: Pair, source: Path, target: Path) -> None:
    async def nothing(stream: Stream) -> None:
        await asyncio.sleep(0)

    stream = await pair.open(nothing)
    with pytest.raises(FileTransferError, match="receive_file"):
        await stream.send_file(source)
