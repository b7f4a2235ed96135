"""A folder tree that nothing leads out of: every step goes by the descriptor of the folder before.

A name is looked at and opened in one call, and `..` goes back to a descriptor that is already open. So whatever
somebody renames or links meanwhile, what is reached lies inside.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sideband.errors import ConfigError, FileTransferError
from sideband.peer.files import BY_DESCRIPTOR, FileSource, Folder
from sideband.sharing.names import check_name

__all__ = ["MAX_LINKS", "ConfinedTree"]

MAX_LINKS: Final = 16
"""Symbolic links followed on the way to one file."""


class ConfinedTree:
    """What is at and below one folder. Its methods block.

    Args:
        path: of the folder, which has to exist; it is resolved once, here.
        follow_links: whether symbolic links are followed, as long as they stay inside.
        allow_hidden: whether names that begin with a dot can be reached, also by links.

    Raises:
        ConfigError: there is no such folder, or this system cannot reach files by descriptors of folders.
    """

    def __init__(self, path: str | os.PathLike[str], *, follow_links: bool = False, allow_hidden: bool = False) -> None:
        if not BY_DESCRIPTOR:
            raise ConfigError("folders are shared, sent and received only where files are reached by descriptors")
        self.allow_hidden = allow_hidden
        self._follow_links = follow_links
        self._path = Path(path)
        try:
            self._root = os.open(self._path.resolve(strict=True), _FOLDER)
        except OSError as error:
            raise ConfigError(f"{path} cannot be opened as a folder: {error.strerror}") from error

    def close(self) -> None:
        """Let go of the folder. Idempotent."""
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    def __repr__(self) -> str:
        return f"<ConfinedTree {self._path}>"

    def folder(self, names: Sequence[str], *, create: bool = False) -> Folder:
        """Open a folder by its names; the caller closes it.

        Args:
            names: from the root on; none are the root itself.
            create: make the folders that are missing.

        Raises:
            OSError: it cannot be reached, or something on the way is no folder.
            FileTransferError: `permission_denied` when a link leads out.
        """
        with _Walk(self, self._root) as walk:
            walk.into(names, create=create)
            return Folder(self._path, walk.pop())

    def source(self, names: Sequence[str]) -> FileSource:
        """Open a regular file to be sent.

        Raises:
            OSError: it cannot be opened.
            FileTransferError: `not_a_file`, `permission_denied` when it leads out.
        """
        if not names:
            raise _no_file("that is a folder")
        with _Walk(self, self._root) as walk:
            descriptor = walk.open_file(names)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _no_file("that is a folder")
        return FileSource(descriptor, "/".join(names))


class _Walk:
    """The descriptors of the folders from the root to where it stands."""

    def __init__(self, tree: ConfinedTree, root: int) -> None:
        self._tree = tree
        self._links = 0
        self._stack = [os.open(".", _FOLDER, dir_fd=root)]

    def __enter__(self) -> _Walk:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._stack:
            os.close(descriptor)
        self._stack.clear()

    def pop(self) -> int:
        """Give away the descriptor of where it stands."""
        return self._stack.pop()

    def into(self, names: Sequence[str], *, create: bool = False) -> None:
        """Go into one folder after the other."""
        for name in names:
            self._step(name, create=create)

    def open_file(self, names: Sequence[str]) -> int:
        """Go to the folder of a file, and open that for reading."""
        *folders, name = names
        self.into(folders)
        if name in ("", ".", ".."):  # of a link
            self._step(name, create=False)
            return os.dup(self._stack[-1])
        try:
            return os.open(name, _FILE, dir_fd=self._stack[-1])
        except OSError as error:
            if error.errno not in _PERHAPS_LINK or not (target := self._link_target(name)):
                raise
        return self.open_file(target)

    def _step(self, name: str, *, create: bool) -> None:
        if name in ("", "."):
            return
        if name == "..":  # of a link; paths of clients have none
            if len(self._stack) == 1:
                raise _leads_out()
            os.close(self._stack.pop())
            return
        try:
            self._stack.append(self._open_folder(name, create=create))
        except OSError as error:
            if error.errno not in _PERHAPS_LINK or not (target := self._link_target(name)):
                raise
            self.into(target)

    def _open_folder(self, name: str, *, create: bool) -> int:
        here = self._stack[-1]
        if create:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=here)
        return os.open(name, _FOLDER, dir_fd=here)

    def _link_target(self, name: str) -> list[str]:
        """Return the names that a symbolic link stands for; none when it is no link."""
        try:
            target = os.readlink(name, dir_fd=self._stack[-1])
        except OSError as error:
            if error.errno == errno.EINVAL:
                return []
            raise
        self._links += 1
        if not self._tree._follow_links or target.startswith("/") or self._links > MAX_LINKS:
            raise _leads_out()
        names = target.split("/")
        for part in names:
            if part not in ("", ".", ".."):
                check_name(part, allow_hidden=self._tree.allow_hidden)
        return names


def _leads_out() -> FileTransferError:
    return FileTransferError("permission_denied", "a link leads out of what is shared, or links are not followed")


def _no_file(why: str) -> FileTransferError:
    return FileTransferError("not_a_file", why)


_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FILE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_PERHAPS_LINK = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)
