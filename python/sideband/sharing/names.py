"""Which names of files are taken from the other side (docs/guide/files.md, "Names").

Names go over the wire as text, paths as names with `/` between them, relative to what is shared. Both sides check all
of them: the server what it is asked for, the client what it is told and would write.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from sideband.errors import FileTransferError
from sideband.peer.files import PARTIAL_SUFFIX

__all__ = ["MAX_DEPTH", "MAX_NAME_BYTES", "MAX_PATH_BYTES", "check_name", "collision", "parse_path"]

MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = 4096
MAX_DEPTH: Final = 64


def parse_path(path: str, *, allow_hidden: bool = False) -> tuple[str, ...]:
    """Return the names of a relative path; none for what is shared itself, "" or ".".

    Raises:
        FileTransferError: `invalid_name` for an absolute path, `..`, a hidden name, or one that `check_name` refuses.
    """
    if not isinstance(path, str):
        raise _refused("a path is text")
    if path.startswith("/"):
        raise _refused("a path is relative to what is shared; leave out the / at its beginning")
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise _refused(f"a path has at most {MAX_PATH_BYTES} bytes")
    trimmed = path.removeprefix("./").removesuffix("/")
    if trimmed in ("", "."):
        return ()
    names = tuple(trimmed.split("/"))
    if len(names) > MAX_DEPTH:
        raise _refused(f"a path has at most {MAX_DEPTH} names")
    for name in names:
        check_name(name, allow_hidden=allow_hidden)
    return names


def check_name(name: str, *, allow_hidden: bool = False) -> str:
    """Return a single name if it may be used.

    Refused are empty names, `.` and `..`, those with a `/`, NUL, a control character, a sign that changes the direction
    of text or breaks lines, or none of Unicode, those over 255 bytes, partial files of transfers, and hidden ones
    unless allowed. On Windows also what means something else there.

    Raises:
        FileTransferError: `invalid_name`.
    """
    if name in ("", ".", ".."):
        raise _refused("a name is not empty, and neither . nor ..")
    if _FORBIDDEN.search(name):
        raise _refused("a name holds no slash, no control character and no sign that changes how text is shown")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise _refused("a name is Unicode text") from None
    if size > MAX_NAME_BYTES:
        raise _refused(f"a name has at most {MAX_NAME_BYTES} bytes")
    if name.startswith("."):
        if not allow_hidden:
            raise _refused("hidden files are not shared")
        if PARTIAL_SUFFIX in name:
            raise _refused("that is a partial file of a transfer")
    if os.name == "nt" and (_FORBIDDEN_ON_WINDOWS.search(name) or _DEVICE_OF_WINDOWS.match(name)):
        raise _refused("a name like that means something else on Windows")
    return name


def collision(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two names of one folder that look the same, being the same text in two Unicode forms; None without.

    Some file systems take them for one file, and people do everywhere.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            return other, name
    return None


def _refused(why: str) -> FileTransferError:
    return FileTransferError("invalid_name", why)


_FORBIDDEN = re.compile(
    "[/\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_FORBIDDEN_ON_WINDOWS = re.compile(r'[<>:"\\|?*]|[. ]$')
_DEVICE_OF_WINDOWS = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")
