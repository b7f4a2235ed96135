"""What can go wrong with a file: as an error here, and as a code for the other side."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sideband.errors import FileErrorCode, FileTransferError, PeerError
from sideband.protocol.streams import ResetCode

if TYPE_CHECKING:
    from sideband.peer.streams.stream import Stream

__all__ = ["REASONS", "RESET_CODES", "file_error", "telling"]

RESET_CODES: Final[dict[FileErrorCode, int]] = {
    "not_found": 1100,
    "permission_denied": 1101,
    "exists": 1102,
    "no_space": 1103,
    "changed": 1104,
    "not_a_file": 1105,
    "invalid_name": 1106,
    "read_only": 1107,
    "too_large": 1108,
    "busy": 1109,
    "io_error": 1110,
    "protocol": 1111,
}
"""The codes with which a file's stream is reset (docs/protocol/streams.md, "Files")."""

REASONS: Final[dict[FileErrorCode, str]] = {
    "not_found": "there is no such file",
    "permission_denied": "the file system does not permit it",
    "exists": "there is already something of that name",
    "no_space": "no space is left on the disk; free some and try again, what has come is kept",
    "changed": "the file changed while it was being sent; try again",
    "not_a_file": "that is no regular file",
    "invalid_name": "a name like that is not allowed",
    "read_only": "nothing can be written there",
    "too_large": "the file is larger than what may be written there",
    "busy": "another transfer writes to it, or too many are running; try again later",
    "io_error": "reading or writing failed",
    "protocol": "the other side broke a rule of file transfers",
}
"""What each code means, in words that hold no name and no path."""


def file_error(code: FileErrorCode, name: str = "", why: str = "") -> FileTransferError:
    """Return an error of this side about a file that is called `name` here."""
    return FileTransferError(code, f"{name}: {why or REASONS[code]}" if name else why or REASONS[code])


def from_os_error(error: OSError, name: str) -> FileTransferError:
    """Return what an error of the operating system comes to."""
    code = _CODES.get(error.errno or 0, "io_error")
    return file_error(code, name, "" if code != "io_error" else error.strerror or "")


@contextmanager
def telling(stream: Stream, name: str) -> Iterator[None]:
    """Let the other side know why a transfer ends here, and raise what it told of why it ended there.

    Raises:
        FileTransferError: instead of an OSError, and instead of a reset with one of `RESET_CODES`.
    """
    try:
        yield
    except OSError as error:
        told = from_os_error(error, name)
        stream.reset(RESET_CODES[told.code], REASONS[told.code])
        raise told from error
    except FileTransferError as error:
        stream.reset(RESET_CODES[error.code], REASONS[error.code])
        raise
    except PeerError as error:
        code = _BY_NUMBER.get(error.details.get("code", 0)) if error.details.get("remote") else None
        if code is None:
            stream.reset(ResetCode.CANCELLED)
            raise
        told = FileTransferError(code, f"{name}: the other side says: {REASONS[code]}", remote=True)
        raise told from error
    except BaseException:
        stream.reset(ResetCode.CANCELLED)
        raise


_BY_NUMBER: Final = {number: code for code, number in RESET_CODES.items()}
_CODES: Final[dict[int, FileErrorCode]] = {
    errno.ENOENT: "not_found",
    errno.ENOTDIR: "not_found",
    errno.ESTALE: "not_found",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
    errno.EEXIST: "exists",
    errno.ENOTEMPTY: "exists",
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EISDIR: "not_a_file",
    errno.ELOOP: "not_a_file",
    errno.ENXIO: "not_a_file",
    errno.ENAMETOOLONG: "invalid_name",
    errno.EILSEQ: "invalid_name",
    errno.EROFS: "read_only",
    errno.EFBIG: "too_large",
}
