"""Whole folders: everything is listed first, then several files travel at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sideband.errors import FileTransferError, PeerError
from sideband.peer import Peer, Stream
from sideband.peer.files import (
    ExistsPolicy,
    FileTransfer,
    ProgressFunction,
    in_worker,
    opened_in_worker,
    receive_into,
    send_source,
    telling,
)
from sideband.peer.files.failures import from_os_error
from sideband.sharing.client import MAX_FOLDER_ENTRIES, list_folder, transfer
from sideband.sharing.entries import FileEntry
from sideband.sharing.names import MAX_DEPTH, check_name, collision, parse_path
from sideband.sharing.root import ConfinedTree
from sideband.sharing.server import GET_STREAM, PUT_STREAM

__all__ = ["AT_ONCE", "MAX_FOLDER_FILES", "FileOutcome", "FolderTransfer", "get_folder", "put_folder"]

AT_ONCE: Final = 16
"""Files on their way at the same time, so that a round trip for each is no bottleneck."""

MAX_FOLDER_FILES: Final = 1_000_000
"""Of a folder with all that is below it."""


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of one file of a folder.

    Attributes:
        path: relative to the folder.
        transfer: what it came to; None when it was there already or failed.
        error: why it failed, or None.
    """

    path: str
    transfer: FileTransfer | None = None
    error: Exception | None = None


@dataclass(slots=True)
class FolderTransfer:
    """What became of a folder.

    Attributes:
        files: how many were transferred.
        size: their bytes.
        present: how many were there already, of the same size and time.
        left_out: paths of what was not transferred: links, devices and the like, and hidden files.
        failed: files that failed; all others were transferred nevertheless.
    """

    files: int = 0
    size: int = 0
    present: int = 0
    left_out: list[str] = field(default_factory=list)
    failed: list[FileOutcome] = field(default_factory=list)


async def get_folder(
    peer: Peer,
    path: str,
    destination: str | os.PathLike[str],
    *,
    exists: ExistsPolicy = "fail",
    at_once: int = AT_ONCE,
    progress: ProgressFunction | None = None,
    on_file: Callable[[FileOutcome], None] = lambda _: None,
) -> FolderTransfer:
    """Fetch a folder that the other side shares, with all that is below it.

    Files that are here already with the same size and time are left alone, so that an interrupted transfer goes on when
    it is called again; of a file that was on its way, with what has come. Nothing outside `destination` is written,
    whatever the other side lists, and links below it are not followed.

    Args:
        peer: of the other side.
        path: of the folder, relative to what is shared; "" is all of it.
        destination: the folder that becomes its copy; it is made when it is missing, but not its parent.
        exists: what becomes of other files that are here: "fail" leaves each, and counts it as failed.
        at_once: files on their way at the same time, at most 64.
        progress: called as `progress(done, total)` in bytes of all files, once they are listed.
        on_file: told of each file that is over, whether well, because it was here already, or not.

    Raises:
        FileTransferError: the folder cannot be listed, or holds what looks like the same name twice; `destination`
            cannot be made.
        PeerError: the session ended for good.
    """
    parse_path(path, allow_hidden=True)
    result = FolderTransfer()
    files, folders = await _list_remote(peer, path, result)
    target = Path(destination)
    try:
        await in_worker(lambda: target.mkdir(exist_ok=True))
    except OSError as error:
        raise from_os_error(error, str(target)) from error
    tree = await opened_in_worker(lambda: ConfinedTree(target, allow_hidden=True))

    async def fetch(file: _File, told: ProgressFunction) -> FileTransfer | None:
        folder = await opened_in_worker(lambda: tree.folder(file.names[:-1], create=True))
        with folder:
            found = await in_worker(folder.stat, file.names[-1])
            if found is not None and file.is_same(FileEntry.of(file.names[-1], found)):
                return None

            def receive(stream: Stream, told: ProgressFunction) -> Awaitable[FileTransfer]:
                return receive_into(stream, folder, file.names[-1], shown=file.path, exists=exists, progress=told)

            return await transfer(peer, GET_STREAM, {"path": _join(path, file.path)}, receive, progress=told)

    try:
        for names in folders:
            try:
                await in_worker(_make, tree, names)
            except FileTransferError as error:
                result.failed.append(FileOutcome("/".join(names), error=error))
        await _Transfer(files, fetch, result, progress, on_file).run(at_once)
    finally:
        tree.close()
    return result


async def put_folder(
    peer: Peer,
    source: str | os.PathLike[str],
    path: str,
    *,
    exists: ExistsPolicy = "fail",
    allow_hidden: bool = False,
    at_once: int = AT_ONCE,
    progress: ProgressFunction | None = None,
    on_file: Callable[[FileOutcome], None] = lambda _: None,
) -> FolderTransfer:
    """Send a folder, with all that is below it, to what the other side shares for writing.

    Files that are there already with the same size and time are left alone. Links are not followed.

    Args:
        peer: of the other side.
        source: path of the folder.
        path: what it becomes there, relative to what is shared; it may exist.
        exists: what becomes of other files that are there: "fail" leaves each, and counts it as failed.
        allow_hidden: send hidden files too; the other side may refuse them.
        at_once: files on their way at the same time, at most 64.
        progress: called as `progress(done, total)` in bytes of all files, once they are listed.
        on_file: told of each file that is over.

    Raises:
        FileTransferError: the folder cannot be listed.
        ConfigError: there is no such folder.
        PeerError: the session ended for good.
    """
    parse_path(path, allow_hidden=True)
    result = FolderTransfer()
    tree = await opened_in_worker(lambda: ConfinedTree(source, allow_hidden=True))
    try:
        files = await in_worker(lambda: list(_walk(tree, (), result, allow_hidden=allow_hidden)))
        there = await _known_remotely(peer, path)

        async def send(file: _File, told: ProgressFunction) -> FileTransfer | None:
            known = there.get(file.path)
            if known is not None and file.is_same(known):
                return None

            async def work(stream: Stream, told: ProgressFunction) -> FileTransfer:
                with telling(stream, file.path):
                    source = await opened_in_worker(tree.source, file.names)
                with source:
                    return await send_source(stream, source, told)

            metadata = {"path": _join(path, file.path), "replace": exists == "replace", "parents": True}
            return await transfer(peer, PUT_STREAM, metadata, work, progress=told)

        await _Transfer(files, send, result, progress, on_file).run(at_once)
    finally:
        tree.close()
    return result


@dataclass(frozen=True, slots=True)
class _File:
    names: tuple[str, ...]
    size: int
    mtime: int

    @property
    def path(self) -> str:
        return "/".join(self.names)

    def is_same(self, other: FileEntry) -> bool:
        return other.kind == "file" and (other.size, other.mtime) == (self.size, self.mtime)


class _Transfer:
    """Several files at once, from one list."""

    def __init__(
        self,
        files: Sequence[_File],
        one: Callable[[_File, ProgressFunction], Awaitable[FileTransfer | None]],
        result: FolderTransfer,
        progress: ProgressFunction | None,
        on_file: Callable[[FileOutcome], None],
    ) -> None:
        self._files = iter(files)
        self._one = one
        self._result = result
        self._progress = progress
        self._on_file = on_file
        self._total = sum(file.size for file in files)
        self._done = 0

    async def run(self, at_once: int) -> None:
        self._tell()
        with _first_failure():
            async with asyncio.TaskGroup() as tasks:
                for _ in range(max(1, min(at_once, _MOST_AT_ONCE))):
                    tasks.create_task(self._work())

    async def _work(self) -> None:
        for file in self._files:
            counted = 0

            def told(done: int, _total: int | None) -> None:
                nonlocal counted
                self._done += done - counted
                counted = done
                self._tell()

            outcome = await self._outcome(file, told)
            # Whatever became of it, it is over.
            told(file.size, None)
            if outcome.error is not None:
                self._result.failed.append(outcome)
            elif outcome.transfer is None:
                self._result.present += 1
            else:
                self._result.files += 1
                self._result.size += outcome.transfer.size
            self._on_file(outcome)

    async def _outcome(self, file: _File, told: ProgressFunction) -> FileOutcome:
        try:
            return FileOutcome(file.path, await self._one(file, told))
        except OSError as error:
            return FileOutcome(file.path, error=from_os_error(error, file.path))
        except FileTransferError as error:
            return FileOutcome(file.path, error=error)
        except PeerError as error:
            if error.code != "integrity_error":
                raise
            return FileOutcome(file.path, error=error)

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total)


async def _list_remote(peer: Peer, path: str, result: FolderTransfer) -> tuple[list[_File], list[tuple[str, ...]]]:
    """Return the files below a folder of the other side, and the folders without any."""
    files: list[_File] = []
    empty: list[tuple[str, ...]] = []
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        batch, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
        with _first_failure():
            async with asyncio.TaskGroup() as tasks:
                listing = [tasks.create_task(list_folder(peer, _join(path, "/".join(names)))) for names in batch]
        for names, listed in zip(batch, (task.result() for task in listing), strict=True):
            twice = collision(entry.name for entry in listed)
            if twice is not None:
                raise FileTransferError("invalid_name", f"two names in one folder look the same: {twice[0]!r}")
            for entry in listed:
                below = (*names, entry.name)
                if len(below) > MAX_DEPTH or len(files) >= MAX_FOLDER_FILES:
                    raise FileTransferError("too_large", f"over {MAX_DEPTH} folders deep, or too many files")
                if entry.kind == "file":
                    files.append(_File(below, entry.size, entry.mtime))
                elif entry.kind == "folder":
                    waiting.append(below)
                else:
                    result.left_out.append("/".join(below))
            if not listed and names:
                empty.append(names)
    return files, empty


async def _known_remotely(peer: Peer, path: str) -> dict[str, FileEntry]:
    found: dict[str, FileEntry] = {}
    try:
        files, _ = await _list_remote(peer, path, FolderTransfer())
    except FileTransferError as error:
        if error.code != "not_found":
            raise
        files = []
    for file in files:
        found[file.path] = FileEntry(file.names[-1], "file", file.size, file.mtime, 0)
    return found


def _walk(tree: ConfinedTree, names: tuple[str, ...], result: FolderTransfer, *, allow_hidden: bool) -> Iterator[_File]:
    with tree.folder(names) as folder:
        found = folder.names(MAX_FOLDER_ENTRIES + 1)
        if len(found) > MAX_FOLDER_ENTRIES:
            raise FileTransferError("too_large", f"a folder has more than {MAX_FOLDER_ENTRIES} entries")
        entries = []
        for name in sorted(found):
            status = folder.stat(name)
            if status is not None and _may_go(name, allow_hidden=allow_hidden):
                entries.append(FileEntry.of(name, status))
            elif status is not None:
                result.left_out.append("/".join((*names, name)))
    for entry in entries:
        below = (*names, entry.name)
        if entry.kind == "folder" and len(below) < MAX_DEPTH:
            yield from _walk(tree, below, result, allow_hidden=allow_hidden)
        elif entry.kind == "file":
            yield _File(below, entry.size, entry.mtime)
        else:
            result.left_out.append("/".join(below))


def _may_go(name: str, *, allow_hidden: bool) -> bool:
    try:
        check_name(name, allow_hidden=allow_hidden)
    except FileTransferError:
        return False
    return True


def _make(tree: ConfinedTree, names: tuple[str, ...]) -> None:
    try:
        tree.folder(names, create=True).close()
    except OSError as error:
        raise from_os_error(error, "/".join(names)) from error


@contextmanager
def _first_failure() -> Iterator[None]:
    """Raise what failed first, which has cancelled the others of a group."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def _join(path: str, below: str) -> str:
    path = "" if path in ("", ".") else path.removesuffix("/")
    return f"{path}/{below}" if path and below else path or below


_MOST_AT_ONCE = 64
