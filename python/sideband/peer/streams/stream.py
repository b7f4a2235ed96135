"""One byte stream as an application uses it (docs/protocol/streams.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sideband.errors import PeerError
from sideband.peer.files import (
    ExistsPolicy,
    FileSource,
    FileTransfer,
    Folder,
    ProgressFunction,
    opened_in_worker,
    receive_into,
    send_source,
    telling,
)
from sideband.protocol.streams import ByteStream, ResetCode

if TYPE_CHECKING:
    from os import PathLike

    from typing_extensions import Buffer

    from sideband.peer.streams.keeper import StreamKeeper

__all__ = ["Stream"]


class Stream:
    """Both directions of one stream, opened by `peer.open_stream` or handed to a function of `peer.stream_handler`.

    Bytes arrive whole, in order and once, also across a pause of the session, and over a relay in a new session within
    120 s. One task at a time may read and one may write; the two may be different ones.

    Everything here raises PeerError `stream_reset` once either side has given the stream up, with the code in
    `details["code"]` and in `details["remote"]` whether the other side did it, and `integrity_error` when the bytes
    that came do not have the digest that the other side sent. What was not read by then is gone.

    As a context manager it ends what is written at the block's end, or resets the stream when the block raises.
    """

    __slots__ = ("_bytes", "_flushed", "_keeper", "_readable", "_settled", "_writable", "task")

    def __init__(self, stream: ByteStream, keeper: StreamKeeper) -> None:
        self._bytes = stream
        self._keeper = keeper
        self._readable = _Gate()
        self._writable = _Gate()
        self._settled = _Gate()
        self._flushed = _Gate()
        self.task: asyncio.Task[None] | None = None
        stream.data = self

    def __repr__(self) -> str:
        return f"<Stream {self.name!r} {'closed' if self.closed else 'open'}>"

    @property
    def name(self) -> str:
        """What the opener called it."""
        return self._bytes.name

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the opener sent along."""
        return self._bytes.metadata

    @property
    def closed(self) -> bool:
        """Whether both directions are over, in whichever way."""
        return self._bytes.closed

    @property
    def error(self) -> PeerError | None:
        """Why the stream was given up, by either side; None while it was not."""
        return self._bytes.error

    @property
    def written(self) -> int:
        """Bytes written so far."""
        return self._bytes.written

    @property
    def confirmed(self) -> int:
        """Bytes of them that the other side is known to have read; told every quarter of a window, and at the end."""
        return self._bytes.confirmed

    @property
    def received(self) -> int:
        """Bytes that have come so far, read or not."""
        return self._bytes.received

    # Writing

    async def write(self, data: Buffer) -> None:
        """Write all of `data`, any bytes-like object; return once the stream has taken charge of it.

        Waits while the other side reads too slowly: at most 1 MiB is queued beyond what it takes now. `bytes` are sent
        from where they are; anything mutable is copied and may be changed once this returns. When the call is
        cancelled, a first part of `data` may have been written.

        Raises:
            PeerError: `invalid_state` after `end`, or while another task writes; `stream_reset`; `integrity_error`.
        """
        if self._writable.waited_for:
            raise PeerError("invalid_state", "another task is writing to this stream")
        stream = self._bytes
        view = memoryview(data).cast("B")
        while (taken := stream.write(view)) < view.nbytes:
            view = view[taken:]
            await self._writable.wait()

    async def drain(self) -> None:
        """Return once everything written so far has been handed to the connection; after `end`, as `end` does.

        Raises:
            PeerError: `stream_reset`; `integrity_error`.
        """
        stream = self._bytes
        stream.check()
        if stream.ended:
            await self._delivered()
        while stream.unsent:
            self._keeper.draining.add(self)
            await self._flushed.wait()
            stream.check()

    async def end(self, *, wait: bool = True) -> None:
        """Tell the other side that everything was written; it can still send. Again is fine.

        Args:
            wait: return only when the other side has read everything, and found the digest right where there is one.
                Where it may not read on before this side reads what it sends, pass False and `drain` later.

        Raises:
            PeerError: `stream_reset`; `integrity_error`.
        """
        self._bytes.end()
        if wait:
            await self._delivered()

    # Reading

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview:
        """Return the next bytes, as they came: at most 64 KiB, read-only, without a copy."""
        chunk = self._bytes.read()
        if chunk is None:
            chunk = await self._chunk(None)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def read(self, max_bytes: int = -1) -> bytes:
        """Return the next bytes: at least one and at most `max_bytes`; empty at the end.

        Args:
            max_bytes: -1, the default, reads all up to the end, however much that is.

        Raises:
            PeerError: `invalid_state` while another task reads; `stream_reset`; `integrity_error`.
        """
        if max_bytes < 0:
            return b"".join([chunk async for chunk in self])
        if max_bytes == 0:
            return b""
        chunk = await self._chunk(max_bytes)
        return b"" if chunk is None else bytes(chunk)

    async def read_into(self, buffer: Buffer) -> int:
        """Read into a writable buffer; return how many bytes, at least 1, or 0 at the end.

        Raises:
            TypeError: when the buffer cannot be written to.
            PeerError: as `read`.
        """
        target = memoryview(buffer).cast("B")
        if target.readonly:
            raise TypeError("read_into needs a buffer that can be written to")
        if not target.nbytes:
            return 0
        chunk = await self._chunk(target.nbytes)
        if chunk is None:
            return 0
        filled = 0
        while chunk is not None:
            target[filled : filled + chunk.nbytes] = chunk
            filled += chunk.nbytes
            # What has come already goes along, so that a large buffer takes few calls.
            chunk = self._bytes.read(target.nbytes - filled) if filled < target.nbytes else None
        return filled

    def reset(self, code: int = ResetCode.CANCELLED, reason: str = "") -> None:
        """Give up both directions; what was not read or sent is gone. Nothing happens when it is closed already.

        Args:
            code: 1 means that it is no longer wanted; from 1000 to 65,535 the codes are the application's.
            reason: text for the other side, at most 1,024 bytes of UTF-8.

        Raises:
            ValueError: for another code.
        """
        if code != ResetCode.CANCELLED and not _FIRST_APPLICATION_CODE <= code <= _LAST_CODE:
            raise ValueError(f"a reset's code is 1, or {_FIRST_APPLICATION_CODE} to {_LAST_CODE}; got {code}")
        self._bytes.reset(code, reason)
        self._keeper.settle()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.reset()
        else:
            await self.end()

    # Files

    async def send_file(
        self, path: str | PathLike[str], *, offset: int = 0, progress: ProgressFunction | None = None
    ) -> FileTransfer:
        """Send a file, whose other side calls `receive_file`; return when it has the file whole, checked and on disk.

        The other side says what it holds of an earlier try; when that is of the same file, of the same size and time,
        and its bytes have the same digest, only the rest is sent. A few MiB are in memory, however large the file is.

        Args:
            path: of a regular file; a link is followed.
            offset: the first byte that counts; what follows it is sent as if it were the whole file.
            progress: called as `progress(done, total)` in bytes, from the event loop, at most ten times a second and
                at the end.

        Raises:
            FileTransferError: `not_found`, `permission_denied`, `not_a_file`; `changed` when the file is changed while
                it is sent; with `remote` what the other side met, such as `no_space`. The stream is reset.
            PeerError: `stream_reset`; `integrity_error` when the other side got other bytes.
        """
        with telling(self, str(path)):
            source = await opened_in_worker(FileSource.open, Path(path), offset)
        with source:
            return await send_source(self, source, progress)

    async def receive_file(
        self,
        path: str | PathLike[str],
        *,
        resume: bool = True,
        exists: ExistsPolicy = "fail",
        progress: ProgressFunction | None = None,
    ) -> FileTransfer:
        """Receive the file that the other side sends with `send_file`, and return once it is whole and durable.

        Until then its bytes are in a hidden partial file in the same folder, `.NAME.sideband-part`. When the transfer
        does not end, by whatever cause, that stays, and the next call for the same path goes on with it where it has
        the bytes of the same file. The file gets the time of the original, and may be run if that may.

        Args:
            path: of the file; its folder has to exist.
            resume: False forgets what is kept of an earlier try.
            exists: "fail" leaves what is there already, "replace" replaces it, in one step, by the whole new file.
            progress: called as `progress(done, total)` in bytes, from the event loop, at most ten times a second and
                at the end; what was kept counts as done.

        Raises:
            FileTransferError: `exists`, `no_space`, `permission_denied`, `busy` and the like; with `remote` what the
                other side met, such as `changed`. The stream is reset.
            PeerError: `stream_reset`; `integrity_error` when the bytes have not the sender's digest: then nothing is
                kept.
        """
        path = Path(path)
        with telling(self, str(path)):
            folder = await opened_in_worker(Folder, path.parent)
        with folder:
            return await receive_into(
                self, folder, path.name, shown=str(path), resume=resume, exists=exists, progress=progress
            )

    # What follows is for files.

    async def collect(self, into: list[memoryview], max_bytes: int) -> int:
        """Append the next chunk, and what else has come already, to `into`; return the bytes, 0 at the end."""
        chunk = await self._chunk(None)
        collected = 0
        while chunk is not None:
            into.append(chunk)
            collected += chunk.nbytes
            chunk = self._bytes.read() if collected < max_bytes else None
        return collected

    def withhold(self) -> None:
        """Success is told to the other side by `confirm`, and its digest is checked by who calls this."""
        self._bytes.withhold()

    @property
    def remote_digest(self) -> bytes | None:
        """The digest with which the other side has ended."""
        return self._bytes.remote_digest

    def confirm(self) -> None:
        """All that came is taken care of."""
        self._bytes.confirm()

    def refuse_digest(self) -> None:
        """What came has not the digest with which the other side has ended."""
        self._bytes.reset(ResetCode.INTEGRITY, "the digest of what came is not that of what was sent")
        self._keeper.settle()

    async def end_file(self, digest: bytes) -> None:
        """End with a digest, and return when the other side has confirmed it."""
        self._bytes.end(digest)
        await self._delivered()

    # What follows is for the peer.

    async def accepted(self) -> None:
        """Return once the other side has taken it."""
        while not self._bytes.accepted:
            self._bytes.check()
            await self._settled.wait()

    async def finish(self) -> None:
        """Nobody reads or writes any more: deliver what was written, and stop what the other side still sends."""
        stream = self._bytes
        stream.end()
        while not stream.closed and not stream.at_end:
            if stream.delivered and stream.readable:
                self.reset(ResetCode.CANCELLED, "nobody reads on")
            elif stream.read() is None:
                # Until our bytes are delivered the other side may first have to be rid of its own.
                await _either(self._readable, self._settled)
        await self._delivered()

    def heard(self, *, readable: bool = False, writable: bool = False) -> None:
        """Wake whoever waits for that."""
        if readable:
            self._readable.open()
        if writable:
            self._writable.open()
        if not readable and not writable:
            self._settled.open()

    def failed(self) -> None:
        """Wake everyone: the stream was given up."""
        for gate in (self._readable, self._writable, self._settled, self._flushed):
            gate.open()

    def sent(self) -> bool:
        """Wake who waits in `drain`, if nothing is left to send; True when nobody waits any more."""
        if not self._bytes.unsent:
            self._flushed.open()
        return not self._flushed.waited_for

    async def _chunk(self, max_bytes: int | None) -> memoryview | None:
        stream = self._bytes
        while (chunk := stream.read(max_bytes)) is None:
            if stream.at_end:
                return None
            if self._readable.waited_for:
                raise PeerError("invalid_state", "another task is reading this stream")
            await self._readable.wait()
        return chunk

    async def _delivered(self) -> None:
        while not self._bytes.delivered:
            self._bytes.check()
            await self._settled.wait()


class _Gate:
    """Lets tasks wait until something happens; costs nothing while nobody waits."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def waited_for(self) -> bool:
        return bool(self._waiting)

    def enter(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future

    def leave(self, future: asyncio.Future[None]) -> None:
        if future in self._waiting:
            self._waiting.remove(future)

    async def wait(self) -> None:
        future = self.enter()
        try:
            await future
        finally:
            self.leave(future)

    def open(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


async def _either(*gates: _Gate) -> None:
    futures = [gate.enter() for gate in gates]
    try:
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for gate, future in zip(gates, futures, strict=True):
            gate.leave(future)
            future.cancel()


_FIRST_APPLICATION_CODE = 1000
_LAST_CODE = 0xFFFF
