"""What the demo's client and daemon say to each other inside the encrypted session.

The client begins with a header; the daemon repeats it. Then the payload goes in segments: the client sends one, the
daemon says that it is there, and sends it back while the client acknowledges. So memory is bounded by a segment
whatever the payload's size, the two directions are measured apart, and nothing piles up at the relay, which gives up on
a client that cannot follow. At the end the daemon sends the SHA-256 of all that it received.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from sideband.cli.demo.payload import Payload
from sideband.errors import SbpError

__all__ = ["Messages", "Transfer", "echo", "exchange"]

CHUNK_BYTES = 65_508
"""Payload bytes of one message: the most that fit."""

SEGMENT_CHUNKS = 256
"""Messages of a segment, 16 MiB."""

BATCH_CHUNKS = 8
"""Messages sealed in one call, 512 KiB."""

WINDOW_CHUNKS = 32
"""Messages the daemon has under way without an acknowledgement, 2 MiB: half of what the relay holds for a client."""

_SEGMENT_BYTES = SEGMENT_CHUNKS * CHUNK_BYTES
_VIOLATION = 1002
_HEADER = struct.Struct(">8s32sQ")
_MAGIC = b"sb-demo1"
_ARRIVED = b"arrived"
_ACK = b"ack"

_Chunk = TypeVar("_Chunk", bytes, memoryview)


class Messages(Protocol):
    """An encrypted session, as far as the exchange needs it."""

    async def send(self, plaintexts: Sequence[bytes | memoryview]) -> None:
        """Send messages in order."""

    async def receive(self) -> list[bytes]:
        """Wait for messages."""


@dataclass(slots=True)
class Transfer:
    """What the client measured.

    Attributes:
        bytes: payload bytes sent, and as many received.
        frames: messages of payload sent, and as many received.
        upload_seconds: time from the first byte of each segment until the daemon has it all, summed.
        download_seconds: time from there until the client has it back, summed.
        sent_sha256, daemon_sha256, returned_sha256: digests of what was sent, of what arrived, of what came back.
    """

    bytes: int = 0
    frames: int = 0
    upload_seconds: float = 0.0
    download_seconds: float = 0.0
    sent_sha256: str = ""
    daemon_sha256: str = ""
    returned_sha256: str = ""

    @property
    def match(self) -> bool:
        """Whether all three digests are the same."""
        return bool(self.sent_sha256) and self.sent_sha256 == self.daemon_sha256 == self.returned_sha256


async def exchange(
    session: Messages,
    payload: Payload,
    marker: bytes,
    *,
    progress: Callable[[int, int], None] = lambda _sent, _returned: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Transfer:
    """Send `payload` to a daemon that runs `echo`, take it back, and compare.

    Args:
        session: the session.
        payload: what to send.
        marker: 32 bytes that travel with the header, both ways.
        progress: told the bytes sent and the bytes returned, after each batch.
        clock: seconds.

    Raises:
        SbpError: the daemon does not follow the exchange.
    """
    inbox = _Inbox(session)
    header = _HEADER.pack(_MAGIC, marker, payload.size)
    await session.send([header])
    _expect(await inbox.next(), header, "the header")
    transfer = Transfer()
    sent, returned = hashlib.sha256(), hashlib.sha256()
    upcoming = await asyncio.to_thread(payload.read, 0, _SEGMENT_BYTES)
    while transfer.bytes < payload.size:
        segment, done = upcoming, transfer.bytes
        # Digests and reading ahead run in threads that release the interpreter, beside the sending.
        async with asyncio.TaskGroup() as aside:
            aside.create_task(asyncio.to_thread(sent.update, segment))
            reading = aside.create_task(asyncio.to_thread(payload.read, done + len(segment), _SEGMENT_BYTES))
            began = clock()
            for batch in _batches(_chunks(segment)):
                await session.send(batch)
                transfer.frames += len(batch)
                transfer.bytes += sum(len(chunk) for chunk in batch)
                progress(transfer.bytes, done)
            _expect(await inbox.next(), _ARRIVED, "the arrival of a segment")
            arrived = clock()
            back = await _take_back(session, inbox, len(segment), partial(_advance, progress, transfer.bytes, done))
            transfer.upload_seconds += arrived - began
            transfer.download_seconds += clock() - arrived
            aside.create_task(asyncio.to_thread(_digest, returned, back))
        upcoming = reading.result()
    transfer.daemon_sha256 = (await inbox.next()).hex()
    transfer.sent_sha256 = sent.hexdigest()
    transfer.returned_sha256 = returned.hexdigest()
    return transfer


async def echo(session: Messages) -> None:
    """Take one payload from a client that runs `exchange`, and send it back.

    Raises:
        SbpError: the client does not follow the exchange.
    """
    inbox = _Inbox(session)
    header = await inbox.next()
    if len(header) != _HEADER.size or not header.startswith(_MAGIC):
        raise SbpError(_VIOLATION, "the client did not begin with the header of the demo")
    remaining: int = _HEADER.unpack(header)[2]
    await session.send([header])
    received = hashlib.sha256()
    while remaining:
        expected = min(remaining, _SEGMENT_BYTES)
        segment: list[bytes] = []
        while expected:
            chunk = await inbox.next()
            if not 0 < len(chunk) <= expected:
                raise SbpError(_VIOLATION, f"a message of {len(chunk)} bytes where at most {expected} are left")
            segment.append(chunk)
            expected -= len(chunk)
            remaining -= len(chunk)
        await session.send([_ARRIVED])
        async with asyncio.TaskGroup() as aside:
            aside.create_task(asyncio.to_thread(_digest, received, segment))
            under_way = 0
            for batch in _batches(segment):
                if under_way >= WINDOW_CHUNKS:
                    _expect(await inbox.next(), _ACK, "an acknowledgement")
                    under_way -= BATCH_CHUNKS
                await session.send(batch)
                under_way += len(batch)
            while under_way >= BATCH_CHUNKS:
                _expect(await inbox.next(), _ACK, "an acknowledgement")
                under_way -= BATCH_CHUNKS
    await session.send([received.digest()])


class _Inbox:
    def __init__(self, session: Messages) -> None:
        self._session = session
        self._messages: deque[bytes] = deque()

    async def next(self) -> bytes:
        while not self._messages:
            self._messages.extend(await self._session.receive())
        return self._messages.popleft()


async def _take_back(session: Messages, inbox: _Inbox, size: int, progress: Callable[[int], None]) -> list[bytes]:
    back: list[bytes] = []
    count = 0
    while count < size:
        chunk = await inbox.next()
        if not 0 < len(chunk) <= size - count:
            raise SbpError(_VIOLATION, f"a message of {len(chunk)} bytes where at most {size - count} are left")
        back.append(chunk)
        count += len(chunk)
        if len(back) % BATCH_CHUNKS == 0:
            await session.send([_ACK])
            progress(count)
    progress(count)
    return back


def _advance(progress: Callable[[int, int], None], sent: int, returned: int, count: int) -> None:
    progress(sent, returned + count)


def _chunks(segment: bytes) -> list[memoryview]:
    view = memoryview(segment)
    return [view[start : start + CHUNK_BYTES] for start in range(0, len(view), CHUNK_BYTES)]


def _batches(chunks: Sequence[_Chunk]) -> Iterator[Sequence[_Chunk]]:
    return (chunks[start : start + BATCH_CHUNKS] for start in range(0, len(chunks), BATCH_CHUNKS))


def _digest(digest: hashlib._Hash, chunks: list[bytes]) -> None:
    for chunk in chunks:
        digest.update(chunk)


def _expect(message: bytes, expected: bytes, what: str) -> None:
    if message != expected:
        raise SbpError(_VIOLATION, f"the other side sent something else than {what}")
