"""Files that only their owner may read, written so that a crash leaves the old content or the new, never a mixture.

On Windows file modes say nothing about other users: what protects a file there is the access list of its folder, which
in a user's profile admits that user, administrators and the system. The mode checks below are skipped on Windows.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from sideband.errors import IdentityStoreError

__all__ = ["MAX_PRIVATE_FILE_BYTES", "create_private", "make_private_folder", "read_private", "replace_private"]

MAX_PRIVATE_FILE_BYTES = 64 * 1024
"""A larger file is none of ours, so it is refused before it is read."""

_POSIX = os.name == "posix"
_BINARY = getattr(os, "O_BINARY", 0)


def read_private(path: Path) -> bytes | None:
    """Return the content of `path`, or None when there is no such file.

    Raises:
        IdentityStoreError: other users can read or change the file, it belongs to another user, it is not a regular
            file, it is over 64 KiB, or it cannot be read.
    """
    try:
        # Without O_NONBLOCK the opening of a FIFO would wait for a writer before the check below can refuse it.
        descriptor = os.open(path, os.O_RDONLY | _BINARY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}"
        raise IdentityStoreError(msg) from error
    try:
        with open(descriptor, "rb") as file:  # noqa: PTH123  (opens a descriptor; the checks must be of what is read)
            _check_private(path, os.fstat(file.fileno()))
            content = file.read(MAX_PRIVATE_FILE_BYTES + 1)
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}"
        raise IdentityStoreError(msg) from error
    if len(content) > MAX_PRIVATE_FILE_BYTES:
        msg = f"{path} is over {MAX_PRIVATE_FILE_BYTES} bytes, so it is not a file of sideband; move it away"
        raise IdentityStoreError(msg)
    return content


def create_private(path: Path, content: bytes) -> bool:
    """Write `content` to `path` with mode 0600, unless it exists; return whether this call made it.

    Two processes that call it at the same time agree: exactly one gets True, and the file is whole for the other.

    Raises:
        IdentityStoreError: the file cannot be written.
    """
    return _write(path, content, replace=False)


def replace_private(path: Path, content: bytes) -> None:
    """Write `content` to `path` with mode 0600, in place of what was there, in one step.

    Raises:
        IdentityStoreError: the file cannot be written.
    """
    _write(path, content, replace=True)


def make_private_folder(path: Path) -> None:
    """Make `path` and its parents where missing; what it makes has mode 0700.

    Raises:
        IdentityStoreError: a folder cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        msg = f"cannot make the folder {path}: {error.strerror}"
        raise IdentityStoreError(msg) from error


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        msg = f"{path} is not a regular file"
        raise IdentityStoreError(msg)
    if not _POSIX:
        return
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        msg = f"{path} is open to other users (mode {mode:04o}); if its content is still yours alone: chmod 600 {path}"
        raise IdentityStoreError(msg)
    if status.st_uid not in (os.geteuid(), 0):
        msg = f"{path} belongs to user {status.st_uid}, not to this one ({os.geteuid()}); refusing to trust it"
        raise IdentityStoreError(msg)


def _write(path: Path, content: bytes, *, replace: bool) -> bool:
    make_private_folder(path.parent)
    draft = path.with_name(f".{path.name[:64]}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123  (a descriptor, opened exclusively with its mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            made = _publish(draft, path, replace=replace)
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
        _sync_folder(path.parent)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}"
        raise IdentityStoreError(msg) from error
    return made


def _publish(draft: Path, path: Path, *, replace: bool) -> bool:
    if replace:
        draft.replace(path)
        return True
    try:
        if _POSIX:
            path.hardlink_to(draft)
        else:
            draft.rename(path)
    except FileExistsError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    if not _POSIX:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
