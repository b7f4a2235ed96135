"""The client's side: what a peer shares, listed, fetched and sent file by file."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

from sideband.errors import FileErrorCode, FileTransferError, PeerError, RpcPeerError
from sideband.peer import Peer, Stream
from sideband.peer.files import RESET_CODES, ExistsPolicy, FileTransfer, ProgressFunction
from sideband.protocol.streams import ResetCode
from sideband.sharing.entries import FileEntry
from sideband.sharing.server import GET_STREAM, LIST_METHOD, PUT_STREAM

__all__ = ["MAX_FOLDER_ENTRIES", "get_file", "list_folder", "put_file", "transfer"]

MAX_FOLDER_ENTRIES: Final = 100_000
"""A client takes no more entries of one folder from the other side."""

RETRIES: Final = 5
"""New sessions in which a file goes on without any of its bytes having come in between."""


async def list_folder(peer: Peer, path: str = "") -> list[FileEntry]:
    """Return what is in a folder that the other side shares, sorted by name.

    Args:
        peer: of the other side.
        path: relative to what is shared, names with `/` between; "" is all of it.

    Raises:
        FileTransferError: `not_found`, `invalid_name` and the like, with `remote`; `protocol` when the other side lists
            what cannot be, `too_large` for more than 100,000 entries.
        PeerError: as `peer.rpc.call`.
    """
    entries: list[FileEntry] = []
    async with aclosing(_pages(peer, path)) as pages:
        async for page in pages:
            entries += page
            if len(entries) > MAX_FOLDER_ENTRIES:
                raise FileTransferError("too_large", f"the folder has more than {MAX_FOLDER_ENTRIES} entries")
    return entries


async def get_file(
    peer: Peer,
    path: str,
    destination: str | os.PathLike[str],
    *,
    resume: bool = True,
    exists: ExistsPolicy = "fail",
    progress: ProgressFunction | None = None,
) -> FileTransfer:
    """Fetch a file that the other side shares; see `Stream.receive_file` for what happens here.

    It goes on by itself in a new session when the peer reconnects.

    Args:
        peer: of the other side.
        path: of the file, relative to what is shared.
        destination: where it goes: a path with the file's name, in a folder that exists.
        resume: go on with what is kept of an earlier try.
        exists: "fail" leaves what is there already, "replace" replaces it.
        progress: called as `progress(done, total)` in bytes.

    Raises:
        FileTransferError, PeerError: as `Stream.receive_file` and `peer.open_stream`.
    """

    def receive(stream: Stream, told: ProgressFunction) -> Awaitable[FileTransfer]:
        return stream.receive_file(destination, resume=resume, exists=exists, progress=told)

    return await transfer(peer, GET_STREAM, {"path": path}, receive, resume=resume, progress=progress)


async def put_file(
    peer: Peer,
    source: str | os.PathLike[str],
    path: str,
    *,
    resume: bool = True,
    exists: ExistsPolicy = "fail",
    parents: bool = False,
    progress: ProgressFunction | None = None,
) -> FileTransfer:
    """Send a file to what the other side shares for writing; see `Stream.send_file` for what happens here.

    It goes on by itself in a new session when the peer reconnects.

    Args:
        peer: of the other side.
        source: path of a regular file.
        path: where it goes, relative to what is shared, with the file's name.
        resume: go on with what the other side kept of an earlier try.
        exists: "fail" leaves what is there already, "replace" replaces it.
        parents: make the folders of `path` that are missing.
        progress: called as `progress(done, total)` in bytes.

    Raises:
        FileTransferError, PeerError: as `Stream.send_file` and `peer.open_stream`.
    """

    def send(stream: Stream, told: ProgressFunction) -> Awaitable[FileTransfer]:
        return stream.send_file(source, progress=told)

    metadata = {"path": path, "replace": exists == "replace", "parents": parents, "resume": resume}
    return await transfer(peer, PUT_STREAM, metadata, send, resume=resume, progress=progress)


async def transfer(
    peer: Peer,
    name: str,
    metadata: Mapping[str, Any],
    work: Callable[[Stream, ProgressFunction], Awaitable[FileTransfer]],
    *,
    resume: bool = True,
    progress: ProgressFunction | None = None,
) -> FileTransfer:
    """Open a stream and let `work` transfer its file; again in a new session as long as that gets on."""
    told = _Told(progress)
    while True:
        stream = await _open(peer, name, metadata)
        try:
            return await work(stream, told)
        except PeerError as error:
            await told.go_on(peer, error, resume=resume)
        finally:
            stream.reset()


async def _pages(peer: Peer, path: str) -> AsyncGenerator[list[FileEntry]]:
    after = ""
    while True:
        answer = await _call(peer, LIST_METHOD, {"path": path, "after": after})
        if not isinstance(answer, Mapping) or not isinstance(answer.get("entries"), list):
            raise FileTransferError("protocol", "the other side answers with what is no listing")
        page = [FileEntry.decode(entry) for entry in answer["entries"]]
        names = [entry.name for entry in page]
        if names != sorted(set(names)) or (names and names[0] <= after):
            raise FileTransferError("protocol", "the other side lists names twice, or out of order")
        yield page
        if answer.get("next") is None:
            return
        if not names:
            raise FileTransferError("protocol", "the other side lists nothing and promises more")
        after = names[-1]


async def _call(peer: Peer, method: str, params: dict[str, Any]) -> Any:
    """Call a method that may run twice, again in a new session if need be."""
    while True:
        await peer.when_ready()
        try:
            return await peer.rpc.call(method, params)
        except RpcPeerError as error:
            raise _remote_error(error) from None
        except PeerError as error:
            if error.code != "not_connected" or peer.closed:
                raise


def _remote_error(error: RpcPeerError) -> Exception:
    code: FileErrorCode | None = None
    if isinstance(error.data, Mapping):
        code = next((known for known in RESET_CODES if known == error.data.get("code")), None)
    if code is not None:
        return FileTransferError(code, error.rpc_message.removeprefix(f"{code}: "), remote=True)
    if error.rpc_code == _UNSUPPORTED_METHOD:
        return FileTransferError("not_found", "the other side shares no files", remote=True)
    return error


async def _open(peer: Peer, name: str, metadata: Mapping[str, Any]) -> Stream:
    """Open a stream as soon as there is a session."""
    while True:
        await peer.when_ready()
        try:
            return await peer.open_stream(name, metadata)
        except PeerError as error:
            if error.code == "stream_reset" and error.details.get("code") == ResetCode.REFUSED:
                raise FileTransferError("not_found", "the other side shares no files", remote=True) from error
            if error.code != "not_connected" or peer.closed:
                raise


class _Told:
    """Passes progress on, and knows whether there is any."""

    def __init__(self, progress: ProgressFunction | None) -> None:
        self._progress = progress
        self._furthest = 0
        self._tries = 0

    def __call__(self, done: int, total: int | None) -> None:
        if done > self._furthest:
            self._furthest = done
            self._tries = 0
        if self._progress is not None:
            self._progress(done, total)

    async def go_on(self, peer: Peer, error: PeerError, *, resume: bool) -> None:
        """Return when there is a new session to go on in; raise `error` when that is no remedy."""
        lost = error.code == "stream_reset" and error.details.get("code") in (ResetCode.UNKNOWN, ResetCode.CANCELLED)
        self._tries += 1
        if not lost or not resume or peer.closed or self._tries > RETRIES:
            raise error
        await peer.when_ready()


_UNSUPPORTED_METHOD = 1101
