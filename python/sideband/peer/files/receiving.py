"""The receiving side of a file transfer (docs/protocol/streams.md, "Files")."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import stat
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from sideband.errors import FileTransferError, PeerError
from sideband.peer.files.failures import file_error, telling
from sideband.peer.files.folder import Folder
from sideband.peer.files.messages import Offer, read_offer
from sideband.peer.files.partial import Partial
from sideband.peer.files.progress import FileTransfer, Progress, ProgressFunction
from sideband.peer.files.sending import STEP_BYTES
from sideband.peer.files.source import BLOCK_BYTES
from sideband.peer.files.worker import begin_in_worker, in_worker, opened_in_worker, settled

if TYPE_CHECKING:
    from sideband.peer.streams.stream import Stream

__all__ = ["ExistsPolicy", "receive_into"]

ExistsPolicy: TypeAlias = Literal["fail", "replace"]
"""What becomes of a destination that exists: it stays and the transfer fails, or it is replaced by a whole new file."""


async def receive_into(
    stream: Stream,
    folder: Folder,
    name: str,
    *,
    shown: str,
    resume: bool = True,
    exists: ExistsPolicy = "fail",
    progress: ProgressFunction | None = None,
) -> FileTransfer:
    """Receive a file on a stream into a folder, which stays open. Writing and hashing go on in a thread.

    Args:
        stream: whose other side sends a file.
        folder: where the file and its partial file are.
        name: a single name, which is not checked here.
        shown: what the file is called in messages.
        resume: go on with what is kept of an earlier try.
        exists: what becomes of a file of that name.
        progress: told how far it is.

    Raises:
        FileTransferError, PeerError: see `Stream.receive_file`.
    """
    with telling(stream, shown):
        stream.withhold()
        await in_worker(_check_free, folder, name, shown, exists)
        partial = await opened_in_worker(lambda: Partial(folder, name, resume=resume))
        try:
            while not await in_worker(partial.look_through, STEP_BYTES):
                pass
            await stream.write(partial.held.encode())
            await stream.end(wait=False)
            offer = await read_offer(stream.read)
            await in_worker(partial.begin, offer)
            await _Writing(stream, partial, offer, progress).run()
            await _finish(stream, partial, offer, shown, exists)
            return FileTransfer(offer.size, offer.offset, partial.digest)
        finally:
            await in_worker(partial.close)


class _Writing:
    """Writes what comes, a batch while the next one is collected."""

    def __init__(self, stream: Stream, partial: Partial, offer: Offer, progress: ProgressFunction | None) -> None:
        self._stream = stream
        self._partial = partial
        self._size = offer.size
        self._progress = Progress(progress, asyncio.get_running_loop().time, offer.size)
        self._done = offer.offset
        self._batch: list[memoryview] = []
        self._writing: asyncio.Future[None] | None = None

    async def run(self) -> None:
        self._progress.reach(self._done)
        try:
            while await self._collect():
                if self._writing is not None:
                    await settled(self._writing)
                batch, self._batch = self._batch, []
                self._writing = begin_in_worker(self._partial.append, batch)
        except OSError:
            raise
        except BaseException:
            # Whatever ended this, what has come is kept for the next try.
            with contextlib.suppress(OSError):
                await self._rest()
            raise
        await self._rest()

    async def _collect(self) -> bool:
        """Collect a batch; False at the end, with less than one."""
        collected = 0
        while collected < BLOCK_BYTES and len(self._batch) < _MOST_CHUNKS:
            size = await self._stream.collect(self._batch, BLOCK_BYTES - collected)
            if not size:
                return False
            collected += size
            self._done += size
            if self._done > self._size:
                raise file_error("protocol", why="the other side sends more than it has announced")
            self._progress.reach(self._done)
        return True

    async def _rest(self) -> None:
        if self._writing is not None:
            await settled(self._writing)
        if self._batch:
            await in_worker(self._partial.append, self._batch)


async def _finish(stream: Stream, partial: Partial, offer: Offer, shown: str, exists: ExistsPolicy) -> None:
    if partial.size != offer.size:
        raise file_error("changed", shown, f"it ends after {partial.size} of {offer.size} bytes")
    if not hmac.compare_digest(stream.remote_digest or b"", partial.digest):
        partial.discard()
        stream.refuse_digest()
        raise PeerError("integrity_error", f"{shown}: what came has not the digest of what was sent; nothing is kept")
    await in_worker(lambda: partial.publish(offer, replace=exists == "replace"))
    if not stream.closed:  # or else nobody is there any more to be told, but the file is whole
        stream.confirm()


def _check_free(folder: Folder, name: str, shown: str, exists: ExistsPolicy) -> None:
    found = folder.stat(name)
    if found is None:
        return
    if exists == "fail":
        raise FileTransferError("exists", f"{shown}: there is already something of that name; it was left as it is")
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
        raise file_error("not_a_file", shown, "what is there is no regular file, so it is not replaced")


_MOST_CHUNKS: Final = 1024
