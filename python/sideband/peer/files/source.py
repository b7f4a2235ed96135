"""A file that is read to be sent."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sideband._native import Blake3
from sideband.peer.files.failures import file_error

__all__ = ["BLOCK_BYTES", "FileSource", "read_at"]

BLOCK_BYTES: Final = 1024 * 1024
"""Read or written at once."""


class FileSource:
    """An open regular file. Its methods block.

    Args:
        descriptor: of the file, which this object closes.
        name: for messages.
        offset: the first byte that counts; what is before is not sent.

    Attributes:
        name: for messages.
        size: bytes from `offset` on.
        mtime: when it was last modified, ns since the epoch.
        executable: whether its owner may run it.
        position: up to where it was read, from `offset`.

    Raises:
        FileTransferError: `not_a_file`; `changed` when the file ends before `offset`.
    """

    def __init__(self, descriptor: int, name: str, offset: int = 0) -> None:
        self.name = name
        self.position = 0
        self._descriptor = descriptor
        self._base = offset
        self._hasher = Blake3()
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise file_error("not_a_file", name)
            if status.st_size < offset:
                raise file_error("changed", name, f"it has {status.st_size} bytes, so none follow {offset}")
        except BaseException:
            os.close(descriptor)
            raise
        self.size = status.st_size - offset
        self.mtime = status.st_mtime_ns
        self.executable = bool(status.st_mode & stat.S_IXUSR)

    @classmethod
    def open(cls, path: Path, offset: int = 0) -> FileSource:
        """Open the file at `path`; a link is followed.

        Raises:
            OSError: it cannot be opened.
            FileTransferError: as the constructor.
        """
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
        return cls(os.open(path, flags), str(path), offset)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def read(self, max_bytes: int) -> bytes:
        """Return the next bytes, and hash them; nothing at the end.

        Raises:
            FileTransferError: `changed`: the file is shorter than it was.
        """
        wanted = min(max_bytes, self.size - self.position)
        if not wanted:
            return b""
        block = read_at(self._descriptor, wanted, self._base + self.position)
        if not block:
            raise file_error("changed", self.name)
        self._hasher.update(block)
        self.position += len(block)
        return block

    def part(self, offset: int, size: int) -> bytes:
        """Return at most `size` bytes from `offset` on, which are not hashed; fewer at the end."""
        return read_at(self._descriptor, size, self._base + offset)

    def pass_over(self, offset: int, most: int) -> bool:
        """Read and hash up to `offset`, but no more than some `most` bytes at once; True when that is reached.

        Raises:
            FileTransferError: `changed`: the file is shorter than it was.
        """
        until = min(offset, self.position + most)
        while self.position < until:
            self.read(min(until - self.position, BLOCK_BYTES))
        return self.position >= offset

    def rewind(self) -> None:
        """Begin anew."""
        self.position = 0
        self._hasher = Blake3()

    @property
    def digest(self) -> bytes:
        """BLAKE3 of what was read so far."""
        return self._hasher.digest()

    def check_unchanged(self) -> None:
        """Make sure that what was read is what the file was when it was opened.

        Raises:
            FileTransferError: `changed`.
        """
        status = os.fstat(self._descriptor)
        if (status.st_size - self._base, status.st_mtime_ns) != (self.size, self.mtime):
            raise file_error("changed", self.name)


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Return at most `size` bytes from `offset` on; nothing at the end."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows
    return os.read(descriptor, size)
