"""A file that is on its way: beside its destination, until all of it has come and is right."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any, Final

from sideband._native import Blake3
from sideband.peer.files.failures import file_error
from sideband.peer.files.folder import Folder
from sideband.peer.files.messages import MAX_MARKS, NOTHING, Held, Mark, Offer
from sideband.peer.files.source import BLOCK_BYTES, read_at

if sys.platform != "win32":  # which has no such locks
    import fcntl

__all__ = ["PARTIAL_SUFFIX", "Partial", "held_bytes", "partial_name"]

PARTIAL_SUFFIX: Final = ".sideband-part"
"""Of the name of a partial file, which begins with a dot; its state is the same with `.json`."""

STATE_VERSION: Final = 1
SMALLEST_KEPT: Final = 1024 * 1024
"""Bytes of the smallest file that is worth a state; less is sent again whole."""
FLUSH_BYTES: Final = 16 * 1024 * 1024
"""Written to the disk while more comes, so that little is left to wait for at the end."""

_MAX_STATE_BYTES = 4096
_MAX_NAME_BYTES = 255


def partial_name(name: str) -> str:
    """Return the name of the partial file of a destination `name`."""
    partial = f".{name}{PARTIAL_SUFFIX}"
    if len(os.fsencode(partial)) + len(".json.new") > _MAX_NAME_BYTES:
        partial = f".{hashlib.sha256(os.fsencode(name)).hexdigest()}{PARTIAL_SUFFIX}"
    return partial


def held_bytes(path: Path) -> int:
    """Return how many bytes for `path` are kept of a transfer that did not end; 0 when none are."""
    with contextlib.suppress(OSError), Folder(path.parent) as folder:
        status = folder.stat(partial_name(path.name))
        if status is not None and folder.stat(f"{partial_name(path.name)}.json") is not None:
            return status.st_size
    return 0


class Partial:
    """The partial file of one destination, locked. Its methods block, and raise OSError for what the disk refuses.

    Args:
        folder: of the destination; stays open as long as this.
        name: of the destination.
        resume: go on with what is there; False begins anew.

    Attributes:
        size: bytes it has.

    Raises:
        FileTransferError: `busy`: another transfer writes to it.
    """

    def __init__(self, folder: Folder, name: str, *, resume: bool) -> None:
        self.size = 0
        self._folder = folder
        self._name = name
        self._partial = partial_name(name)
        self._hasher = Blake3()
        self._source: tuple[int, int] | None = None
        self._marks: list[Mark] = []
        self._kept = False
        self._unread = 0
        self._flushed = 0
        self._descriptor, self._mode = self._open(resume=resume)

    def close(self) -> None:
        """Let go of it; what has come is kept for the next try. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        if not self._kept or not os.fstat(descriptor).st_size:
            self._remove()
        os.close(descriptor)

    def look_through(self, most: int) -> bool:
        """Hash some `most` bytes of what is kept of an earlier try; True when that was all."""
        until = min(self._unread, self.size + most)
        step = max(BLOCK_BYTES, -(-self._unread // MAX_MARKS))
        while self.size < until:
            wanted = min(step - self.size % step, until - self.size, BLOCK_BYTES)
            block = read_at(self._descriptor, wanted, self.size)
            if not block:
                self._unread = self.size
                break
            self._hasher.update(block)
            self.size += len(block)
            if self.size % step == 0 or self.size == self._unread:
                self._marks.append((self.size, self._hasher.digest()))
        return self.size >= self._unread

    @property
    def held(self) -> Held:
        """What is kept of an earlier try, once that was looked through."""
        if self._source is None or not self._marks:
            return NOTHING
        return Held(*self._source, tuple(self._marks))

    def begin(self, offer: Offer) -> None:
        """Make ready for the bytes that the sender has announced.

        Raises:
            FileTransferError: `protocol` when they begin elsewhere than where a mark was given, `no_space` when they
                cannot fit.
        """
        source = (offer.size, offer.mtime)
        if offer.offset and (source != self._source or offer.offset not in [mark[0] for mark in self._marks]):
            raise file_error("protocol", self._name, "the other side goes on from where this one holds nothing")
        if offer.offset != self.size:
            self._cut(offer.offset)
        free = self._folder.free_bytes()
        if free is not None and offer.size - offer.offset > free:
            raise file_error("no_space", self._name, f"{offer.size - offer.offset} bytes come, and {free} are free")
        if source != self._source:
            self._source = source
            if offer.size >= SMALLEST_KEPT:
                self._write_state(source)
        self._kept = offer.size >= SMALLEST_KEPT

    def append(self, chunks: list[memoryview]) -> None:
        """Write and hash what has come."""
        for chunk in chunks:
            self._hasher.update(chunk)
        while chunks:
            written = self._write(chunks[:_MOST_AT_ONCE])
            self.size += written
            while chunks and written >= chunks[0].nbytes:
                written -= chunks.pop(0).nbytes
            if written:
                chunks[0] = chunks[0][written:]
        if self.size - self._flushed >= FLUSH_BYTES and _CAN_FLUSH:
            # Begins to write them to the disk, waits for nothing and takes no error away from the fsync at the end.
            os.posix_fadvise(self._descriptor, self._flushed, self.size - self._flushed, os.POSIX_FADV_DONTNEED)
            self._flushed = self.size

    @property
    def digest(self) -> bytes:
        """BLAKE3 of all that it has."""
        return self._hasher.digest()

    def publish(self, offer: Offer, *, replace: bool) -> None:
        """Give it its name for good: durable, with the time of the original, and in one step.

        Raises:
            FileExistsError: there is something of that name, and it is not to be replaced.
        """
        os.fsync(self._descriptor)
        if _OWN_MODES:
            os.fchmod(self._descriptor, self._mode | (self._mode & 0o444) >> 2 if offer.executable else self._mode)
        if os.utime in os.supports_fd:
            os.utime(self._descriptor, ns=(offer.mtime, offer.mtime))
        if os.name == "nt":
            # A name there belongs to open files, which cannot be renamed.
            os.close(self._descriptor)
            self._descriptor = -1
        if replace:
            self._folder.replace(self._partial, self._name)
        else:
            self._folder.rename_new(self._partial, self._name)
        self._folder.remove(f"{self._partial}.json")
        self._folder.sync()
        self._kept = True

    def discard(self) -> None:
        """What has come is no good: keep nothing of it."""
        self._kept = False

    def _open(self, *, resume: bool) -> tuple[int, int]:
        for _ in range(_TRIES):
            try:
                descriptor = self._folder.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                descriptor = self._folder.open(self._partial, os.O_RDWR)
                made = False
            else:
                made = True
            try:
                if not self._lock(descriptor):
                    continue
                status = os.fstat(descriptor)
                state = None if made else self._read_state(status)
                if made or (resume and state is not None):
                    # Nobody else reads it before it is whole; its mode then is what the system gives to new files.
                    if _OWN_MODES:
                        os.fchmod(descriptor, 0o600)
                    mode = stat.S_IMODE(status.st_mode) if state is None else state["mode"]
                    if state is not None:
                        self._source = state["size"], state["mtime"]
                        self._unread = status.st_size
                        self._kept = True
                    kept, descriptor = descriptor, -1
                    return kept, mode
                self._remove()
            finally:
                if descriptor >= 0:
                    os.close(descriptor)
        raise file_error("busy", self._name)

    def _lock(self, descriptor: int) -> bool:
        """Lock the file; False when it is no longer the one of that name."""
        if sys.platform == "win32":
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise file_error("busy", self._name) from None
        found = self._folder.stat(self._partial)
        return found is not None and os.path.samestat(found, os.fstat(descriptor))

    def _read_state(self, status: os.stat_result) -> dict[str, Any] | None:
        """Return what is known of a partial file that was there; None when it is none of ours or of this version."""
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            return None
        try:
            descriptor = self._folder.open(f"{self._partial}.json", os.O_RDONLY)
        except OSError:
            return None
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or (hasattr(os, "geteuid") and found.st_uid != os.geteuid()):
                return None
            state = json.loads(os.read(descriptor, _MAX_STATE_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        finally:
            os.close(descriptor)
        if not isinstance(state, dict) or state.get("v") != STATE_VERSION or state.get("name") != self._name:
            return None
        if not all(type(state.get(key)) is int for key in ("size", "mtime", "mode")) or state["size"] < status.st_size:
            return None
        state["mode"] &= 0o666
        return state

    def _write_state(self, source: tuple[int, int]) -> None:
        size, mtime = source
        state = {"v": STATE_VERSION, "name": self._name, "size": size, "mtime": mtime, "mode": self._mode}
        draft = f"{self._partial}.json.new"
        descriptor = self._folder.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            os.write(descriptor, json.dumps(state).encode())
        finally:
            os.close(descriptor)
        # Not durable, which costs time: after a power cut the bytes are looked at again anyway.
        self._folder.replace(draft, f"{self._partial}.json")

    def _cut(self, offset: int) -> None:
        os.ftruncate(self._descriptor, offset)
        self._hasher = Blake3()
        self.size = 0
        while self.size < offset:
            block = read_at(self._descriptor, min(BLOCK_BYTES, offset - self.size), self.size)
            self._hasher.update(block)
            self.size += len(block)

    def _write(self, chunks: list[memoryview]) -> int:
        if hasattr(os, "pwritev"):
            return os.pwritev(self._descriptor, chunks, self.size)
        os.lseek(self._descriptor, self.size, os.SEEK_SET)  # Windows
        return os.write(self._descriptor, chunks[0])

    def _remove(self) -> None:
        for name in (f"{self._partial}.json.new", f"{self._partial}.json", self._partial):
            self._folder.remove(name)


_OWN_MODES = hasattr(os, "fchmod")
_CAN_FLUSH = sys.platform == "linux"  # elsewhere the advice means only that nobody reads them again
_MOST_AT_ONCE = 512
_TRIES = 5
