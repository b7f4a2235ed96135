"""What a listing tells about one file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from sideband.errors import FileTransferError
from sideband.sharing.names import check_name

__all__ = ["EntryKind", "FileEntry"]

EntryKind: TypeAlias = Literal["file", "folder", "link", "other"]
"""A link is a symbolic one, shown for itself; other are devices, sockets and FIFOs, which are never read."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One name of a folder.

    Attributes:
        name: a single name, without the folder's.
        kind: what it is.
        size: bytes of a file; 0 for all else.
        mtime: when it was last modified, ms since the epoch.
        mode: its permission bits, such as 0o644.
    """

    name: str
    kind: EntryKind
    size: int
    mtime: int
    mode: int

    @classmethod
    def of(cls, name: str, status: os.stat_result) -> FileEntry:
        """Describe what there is of a name, a link for itself."""
        kind: EntryKind = "other"
        for test, named in _KINDS:
            if test(status.st_mode):
                kind = named
        size = status.st_size if kind == "file" else 0
        return cls(name, kind, size, status.st_mtime_ns // 1_000_000, stat.S_IMODE(status.st_mode))

    def encode(self) -> dict[str, Any]:
        """Return it as `$sideband/fs.list` does."""
        return {"name": self.name, "kind": self.kind, "size": self.size, "mtime": self.mtime, "mode": self.mode}

    @classmethod
    def decode(cls, value: Any) -> FileEntry:
        """Take in what the other side lists; nothing of it is trusted.

        Raises:
            FileTransferError: `protocol`; `invalid_name` for a name that could be taken for something else.
        """
        if not isinstance(value, Mapping):
            raise FileTransferError("protocol", "the other side lists what is no entry")
        name, kind = value.get("name"), _BY_NAME.get(str(value.get("kind")))
        numbers = [value.get("size"), value.get("mtime"), value.get("mode")]
        if not isinstance(name, str) or kind is None:
            raise FileTransferError("protocol", "the other side lists what is no entry")
        if not all(type(number) is int and abs(number) < 1 << 63 for number in numbers) or value["size"] < 0:
            raise FileTransferError("protocol", "the other side lists an entry with sizes or times that cannot be")
        check_name(name, allow_hidden=True)
        return cls(name, kind, value["size"], value["mtime"], stat.S_IMODE(value["mode"]))


_KINDS: Final[tuple[tuple[Callable[[int], bool], EntryKind], ...]] = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "folder"),
    (stat.S_ISLNK, "link"),
)
_BY_NAME: Final[dict[str, EntryKind]] = {"file": "file", "folder": "folder", "link": "link", "other": "other"}
