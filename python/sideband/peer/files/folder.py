"""One folder on disk, and what transfers do to the files right in it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

__all__ = ["BY_DESCRIPTOR", "Folder"]

BY_DESCRIPTOR: Final = {os.open, os.stat, os.rename, os.link, os.unlink} <= os.supports_dir_fd
"""Whether this system reaches files by the descriptor of their folder: not on Windows."""


class Folder:
    """A folder that stays the same one, whatever becomes of its path: files are reached by its descriptor.

    Names are single names; whoever calls has made sure of that. Links are never followed. On Windows, which has no such
    descriptors, its path is used.

    Args:
        path: of the folder, for systems without descriptors, or when none is given.
        descriptor: of the folder, which this object closes; None opens the path.

    Raises:
        OSError: there is no such folder.
    """

    def __init__(self, path: Path, descriptor: int | None = None) -> None:
        self._path = path
        self._descriptor = descriptor
        if descriptor is None and BY_DESCRIPTOR:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """Return the descriptor of a file; a FIFO does not make this wait."""
        return os.open(self._at(name), flags | _SAFE, mode, dir_fd=self._descriptor)

    def stat(self, name: str) -> os.stat_result | None:
        """Return what there is of that name, a link for itself; None when nothing is."""
        try:
            return os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def names(self, most: int) -> list[str]:
        """Return the names of what is in it, unsorted; no more than `most`."""
        with os.scandir(self._path if self._descriptor is None else self._descriptor) as found:
            return [entry.name for entry, _ in zip(found, range(most), strict=False)]

    def replace(self, old: str, new: str) -> None:
        """Rename a file, in place of what had the new name."""
        os.replace(self._at(old), self._at(new), src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def rename_new(self, old: str, new: str) -> None:
        """Rename a file; FileExistsError when there is something of the new name."""
        try:
            os.link(
                self._at(old),
                self._at(new),
                src_dir_fd=self._descriptor,
                dst_dir_fd=self._descriptor,
                follow_symlinks=False,
            )
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links: nothing better than to look first.
            if self.stat(new) is not None:
                raise FileExistsError(17, "File exists") from None
            self.replace(old, new)
        else:
            self.remove(old)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self._descriptor)

    def sync(self) -> None:
        """Make names that were given or taken away survive a power cut, where the system has a way to."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def free_bytes(self) -> int | None:
        """Return how many bytes can still be written, or None where the system doesn't say."""
        if self._descriptor is None:
            return None
        status = os.statvfs(self._descriptor)
        return status.f_bavail * status.f_frsize if status.f_blocks else None

    def _at(self, name: str) -> str:
        return name if self._descriptor is not None else str(self._path / name)


_SAFE = 0
for _flag in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
    _SAFE |= getattr(os, _flag, 0)
