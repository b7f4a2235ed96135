"""The sending side of a file transfer (docs/protocol/streams.md, "Files")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from sideband.peer.files.failures import telling
from sideband.peer.files.messages import Held, Offer, read_held
from sideband.peer.files.progress import FileTransfer, Progress, ProgressFunction
from sideband.peer.files.source import BLOCK_BYTES, FileSource
from sideband.peer.files.worker import begin_in_worker, in_worker, settled

if TYPE_CHECKING:
    from sideband.peer.streams.stream import Stream

__all__ = ["send_source"]

STEP_BYTES: Final = 64 * 1024 * 1024
"""Hashed in a thread at once, so that a cancelled transfer is over soon."""


async def send_source(
    stream: Stream, source: FileSource, progress: ProgressFunction | None = None, *, held: Held | None = None
) -> FileTransfer:
    """Send a file on a stream, whose other side receives it. The source stays open.

    Reading and hashing of a block go on in a thread while the one before is sent.

    Args:
        stream: nothing was written to it yet.
        source: the file.
        progress: called as `progress(done, total)` in bytes.
        held: what the other side holds, where that was read from the stream already.

    Raises:
        FileTransferError: `changed`, or what the other side tells.
        PeerError: as `Stream.write`.
    """
    with telling(stream, source.name):
        if held is None:
            held = await read_held(stream.read)
        start = await _agreed(source, held)
        told = Progress(progress, asyncio.get_running_loop().time, source.size)
        await stream.write(Offer(source.size, source.mtime, source.executable, start).encode())
        told.reach(start)
        await _send_blocks(stream, source, told)
        await in_worker(source.check_unchanged)
        await stream.end_file(source.digest)
        return FileTransfer(source.size, start, source.digest)


async def _agreed(source: FileSource, held: Held) -> int:
    """Return up to where the receiver holds the same bytes, and have `source` stand there."""
    agreed = 0
    if (held.size, held.mtime) == (source.size, source.mtime):
        for offset, digest in held.marks:
            await _pass_over(source, offset)
            if source.digest != digest:
                break
            agreed = offset
    if source.position != agreed:
        source.rewind()
        await _pass_over(source, agreed)
    return agreed


async def _pass_over(source: FileSource, offset: int) -> None:
    while not await in_worker(source.pass_over, offset, STEP_BYTES):
        pass


async def _send_blocks(stream: Stream, source: FileSource, told: Progress) -> None:
    size = BLOCK_BYTES // 4  # the first one soon
    done = source.position
    reading = begin_in_worker(source.read, size)
    try:
        while block := await settled(reading):
            reading = begin_in_worker(source.read, BLOCK_BYTES)
            await stream.write(block)
            done += len(block)
            told.reach(done)
    finally:
        if not reading.done():
            # It uses the source, which the caller closes.
            await asyncio.wait((reading,))
        if not reading.cancelled():
            reading.exception()
