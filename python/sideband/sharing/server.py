"""The sharing side: the methods and streams by which clients reach one folder tree."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from sideband.errors import FileTransferError, PeerError, RpcPeerError
from sideband.peer.files import RESET_CODES, FileTransfer, in_worker, opened_in_worker, receive_into, send_source
from sideband.peer.files.failures import REASONS, from_os_error, telling
from sideband.peer.files.messages import Held, read_held
from sideband.sharing.entries import FileEntry
from sideband.sharing.limits import DEFAULT_SHARING_LIMITS, SharingLimits
from sideband.sharing.names import check_name, parse_path
from sideband.sharing.root import ConfinedTree

if TYPE_CHECKING:
    import os

    from sideband.peer import Peer, Stream
    from sideband.peer.clock import Timer

__all__ = ["GET_STREAM", "LIST_METHOD", "PUT_STREAM", "READ_METHOD", "Share", "SharedTransfer", "share"]

LIST_METHOD: Final = "$sideband/fs.list"
READ_METHOD: Final = "$sideband/fs.read"
GET_STREAM: Final = "fs.get"
PUT_STREAM: Final = "fs.put"


@dataclass(frozen=True, slots=True)
class SharedTransfer:
    """A transfer that is over.

    Attributes:
        peer: the client's.
        direction: "get" or "put", as the client sees it.
        path: relative to what is shared.
        transfer: what it came to; None when it failed.
        error: why it failed, or None.
    """

    peer: Peer
    direction: Literal["get", "put"]
    path: str
    transfer: FileTransfer | None
    error: Exception | None


def share(
    peer: Peer,
    root: str | os.PathLike[str],
    *,
    writable: bool = False,
    allow_hidden: bool = False,
    limits: SharingLimits = DEFAULT_SHARING_LIMITS,
) -> Share:
    """Share a folder with one peer; for a daemon make one `Share` and let it `serve` each peer that connects.

    Raises:
        ConfigError: there is no such folder.
        PeerError: the peer is already served.
    """
    made = Share(root, writable=writable, allow_hidden=allow_hidden, limits=limits)
    made.serve(peer)
    return made


class Share:
    """One folder tree and its clients.

    Nothing outside the folder is ever reached: paths are relative, without `..`, and every name on the way is opened by
    the descriptor of the folder before it. Symbolic links are followed where they stay inside. Devices, sockets and
    FIFOs are not read.

    Args:
        root: the folder; resolved once, now.
        writable: whether clients can put files.
        allow_hidden: whether names that begin with a dot can be listed, read and written.
        limits: see `SharingLimits`.
        on_transfer: told of each transfer that is over, well or not.

    Raises:
        ConfigError: there is no such folder.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        writable: bool = False,
        allow_hidden: bool = False,
        limits: SharingLimits = DEFAULT_SHARING_LIMITS,
        on_transfer: Callable[[SharedTransfer], None] = lambda _: None,
    ) -> None:
        self.writable = writable
        self.allow_hidden = allow_hidden
        self._tree = ConfinedTree(root, follow_links=True, allow_hidden=allow_hidden)
        self._limits = limits
        self._on_transfer = on_transfer
        self._running: Counter[Peer] = Counter()
        self._putting: dict[tuple[str, ...], _Putting] = {}

    def serve(self, peer: Peer) -> None:
        """Answer one client, until its peer is closed.

        Raises:
            PeerError: it is already served.
        """

        async def list_folder(params: Any = None) -> dict[str, Any]:
            """List a folder of what is shared: {path, after?, limit?} gives {entries, next?}."""
            return await self._list(_arguments(params))

        async def read_file(params: Any = None) -> dict[str, Any]:
            """Read a part of a file: {path, offset?, length?} gives {data, encoding, size, mtime}."""
            return await self._read(_arguments(params), binary="bin/1" in peer.capabilities)

        async def get(stream: Stream) -> None:
            await self._run(peer, stream, "get", self._get)

        async def put(stream: Stream) -> None:
            await self._run(peer, stream, "put", self._put)

        peer.rpc.handle_platform(LIST_METHOD, list_folder)
        peer.rpc.handle_platform(READ_METHOD, read_file)
        peer.stream_handler(GET_STREAM, get)
        peer.stream_handler(PUT_STREAM, put)

    def close(self) -> None:
        """Let go of the folder; close the peers before. Idempotent."""
        self._tree.close()

    # Methods

    async def _list(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        after = arguments.get("after", "")
        limit = arguments.get("limit", self._limits.page_entries)
        if not isinstance(after, str) or type(limit) is not int or limit < 1:
            raise RpcPeerError(_APPLICATION_ERROR, "after is a name, and limit a number from 1 on")
        with _answering():
            names = self._parse(arguments)
            entries, more = await in_worker(self._page, names, after, min(limit, self._limits.page_entries))
        page: dict[str, Any] = {"entries": [entry.encode() for entry in entries]}
        if more:
            page["next"] = entries[-1].name
        return page

    def _page(self, names: tuple[str, ...], after: str, limit: int) -> tuple[list[FileEntry], bool]:
        most = self._limits.folder_entries
        with self._tree.folder(names) as folder:
            found = folder.names(most + 1)
            if len(found) > most:
                raise FileTransferError("too_large", f"a folder of more than {most} entries is not listed")
            wanted = sorted(name for name in found if name > after and self._shows(name))
            entries = [
                FileEntry.of(name, status) for name in wanted[:limit] if (status := folder.stat(name)) is not None
            ]
            return entries, bool(entries) and len(wanted) > limit

    def _shows(self, name: str) -> bool:
        try:
            check_name(name, allow_hidden=self.allow_hidden)
        except FileTransferError:
            return False
        return True

    async def _read(self, arguments: Mapping[str, Any], *, binary: bool) -> dict[str, Any]:
        offset, length = arguments.get("offset", 0), arguments.get("length", self._limits.read_bytes)
        if type(offset) is not int or type(length) is not int or not 0 <= offset < 1 << 63 or length < 0:
            raise RpcPeerError(_APPLICATION_ERROR, "offset and length are numbers of bytes from 0 on")

        def read(names: tuple[str, ...]) -> dict[str, Any]:
            with self._tree.source(names) as source:
                data = source.part(offset, min(length, self._limits.read_bytes))
                return {
                    "data": data if binary else base64.b64encode(data).decode(),
                    "encoding": "bytes" if binary else "base64",
                    "size": source.size,
                    "mtime": source.mtime // 1_000_000,
                }

        with _answering():
            return await in_worker(read, self._parse(arguments))

    def _parse(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        return parse_path(arguments.get("path", ""), allow_hidden=self.allow_hidden)

    # Streams

    async def _get(self, peer: Peer, stream: Stream) -> FileTransfer:
        with telling(stream, "the file"):
            source = await opened_in_worker(self._tree.source, self._parse(stream.metadata))
        with source:
            with telling(stream, "the file"):
                held = await self._held(peer, stream)
            return await send_source(stream, source, held=held)

    async def _held(self, peer: Peer, stream: Stream) -> Held:
        """Read what the client holds. One that never said so would keep its place for as long as its session lasts."""
        clock, seconds = peer.options.clock, self._limits.held_seconds
        timer: Timer
        try:
            async with asyncio.timeout(None) as deadline:

                def expire() -> None:
                    nonlocal timer
                    if peer.ready:
                        deadline.reschedule(asyncio.get_running_loop().time())
                    else:
                        timer = clock.call_later(seconds, expire)

                timer = clock.call_later(seconds, expire)
                try:
                    return await read_held(stream.read)
                finally:
                    timer.cancel()
        except TimeoutError:
            why = f"the client did not say within {seconds:g} s what it holds of the file"
            raise FileTransferError("protocol", why) from None

    async def _put(self, peer: Peer, stream: Stream) -> FileTransfer:
        metadata = stream.metadata
        with telling(stream, "the file"):
            if not self.writable:
                raise FileTransferError("read_only", "what is shared can only be read")
            names = self._parse(metadata)
            if not names:
                raise FileTransferError("not_a_file", "that is a folder")
            await self._take_over(names)
            mine = self._putting[names] = _Putting(peer, stream)
            try:
                create = metadata.get("parents") is True
                with await opened_in_worker(lambda: self._tree.folder(names[:-1], create=create)) as folder:
                    return await receive_into(
                        stream,
                        folder,
                        names[-1],
                        shown="the file",
                        resume=metadata.get("resume") is not False,
                        exists="replace" if metadata.get("replace") is True else "fail",
                    )
            finally:
                mine.over.set()
                del self._putting[names]

    async def _take_over(self, names: tuple[str, ...]) -> None:
        """Wait for the end of a transfer to the same file that was given up; bring it about where the client is away.

        After a crash of the client it would hold the partial file for as long as the session is kept.
        """
        while (other := self._putting.get(names)) is not None:
            if other.peer.ready and not other.stream.closed:
                raise FileTransferError("busy", REASONS["busy"])
            other.stream.reset()
            await other.over.wait()

    async def _run(
        self,
        peer: Peer,
        stream: Stream,
        direction: Literal["get", "put"],
        work: Callable[[Peer, Stream], Awaitable[FileTransfer]],
    ) -> None:
        limits = self._limits
        if self._running[peer] >= limits.transfers_per_peer or self._running.total() >= limits.transfers:
            stream.reset(RESET_CODES["busy"], REASONS["busy"])
            return
        self._running[peer] += 1
        transfer: FileTransfer | None = None
        failure: Exception | None = None
        try:
            transfer = await work(peer, stream)
        except (FileTransferError, PeerError) as error:
            # The stream was reset, and the client told why; here that is no fault.
            failure = error
        except asyncio.CancelledError as error:
            failure = PeerError("stream_reset", f"the session ended: {error}")
            raise
        finally:
            self._running[peer] -= 1
            if not self._running[peer]:
                del self._running[peer]
            if transfer is not None or failure is not None:
                path = str(stream.metadata.get("path", ""))
                self._on_transfer(SharedTransfer(peer, direction, path, transfer, failure))


class _Putting:
    def __init__(self, peer: Peer, stream: Stream) -> None:
        self.peer = peer
        self.stream = stream
        self.over = asyncio.Event()


def _arguments(params: Any) -> Mapping[str, Any]:
    if params is None:
        return {}
    if isinstance(params, str):
        return {"path": params}
    if not isinstance(params, Mapping):
        raise RpcPeerError(_APPLICATION_ERROR, "the params are an object with a path")
    return params


@contextmanager
def _answering() -> Iterator[None]:
    """Tell the caller what failed; no message here holds a path."""
    try:
        yield
    except OSError as error:
        failed = from_os_error(error, "")
    except FileTransferError as error:
        failed = error
    else:
        return
    raise RpcPeerError(_APPLICATION_ERROR, str(failed), {"code": failed.code})


_APPLICATION_ERROR = 2000
