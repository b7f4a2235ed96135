"""What the two sides of a file transfer tell each other before the bytes (docs/protocol/streams.md, "Files").

First the receiver says what it holds, then the sender what it sends. Each is a u32 length, little-endian, and a
MessagePack map whose unknown keys are ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard

import msgpack

from sideband.peer.files.failures import file_error

__all__ = ["MAX_MARKS", "Held", "Mark", "Offer", "read_held", "read_offer"]

Mark: TypeAlias = tuple[int, bytes]
"""An offset, and the BLAKE3 of everything before it."""

MAX_MARKS: Final = 64
"""Marks that a receiver gives; the more there are, the less is sent again when its last bytes are broken."""

MAX_MESSAGE_BYTES: Final = 16 * 1024
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Held:
    """What a receiver has of a file.

    Attributes:
        size: of the file that it comes from, in bytes.
        mtime: when that was last modified, ns since the epoch.
        marks: up to where bytes are held, in rising order; empty when none are.
    """

    size: int
    mtime: int
    marks: tuple[Mark, ...]

    def encode(self) -> bytes:
        """Return the message."""
        return _encode({"size": self.size, "mtime": self.mtime, "marks": [list(mark) for mark in self.marks]})


NOTHING: Final = Held(0, 0, ())


@dataclass(frozen=True, slots=True)
class Offer:
    """What a sender sends.

    Attributes:
        size: bytes of the whole file.
        mtime: when it was last modified, ns since the epoch.
        executable: whether its owner may run it.
        offset: where the bytes that follow begin: 0, or the offset of one of the receiver's marks.
    """

    size: int
    mtime: int
    executable: bool
    offset: int

    def encode(self) -> bytes:
        """Return the message."""
        return _encode({"size": self.size, "mtime": self.mtime, "exec": self.executable, "offset": self.offset})


async def read_held(read: Callable[[int], Awaitable[bytes]]) -> Held:
    """Read what the receiver holds.

    Raises:
        FileTransferError: `protocol`.
    """
    entries = await _read(read, "does not say what it holds of the file; it has to call receive_file")
    size, mtime, marks = entries.get("size"), entries.get("mtime"), entries.get("marks")
    if not (_is_count(size) and _is_time(mtime) and isinstance(marks, list) and len(marks) <= MAX_MARKS):
        raise file_error("protocol", why="the other side says wrongly what it holds of the file")
    last = 0
    for mark in marks:
        if not (isinstance(mark, list) and len(mark) == 2 and _is_count(mark[0]) and last < mark[0] <= size):
            raise file_error("protocol", why="the other side claims to hold what cannot be")
        if not (isinstance(mark[1], bytes) and len(mark[1]) == _DIGEST_BYTES):
            raise file_error("protocol", why="the other side gives a digest that is none")
        last = mark[0]
    return Held(size, mtime, tuple((offset, digest) for offset, digest in marks))


async def read_offer(read: Callable[[int], Awaitable[bytes]]) -> Offer:
    """Read what the sender sends.

    Raises:
        FileTransferError: `protocol`.
    """
    entries = await _read(read, "does not say which file it sends; it has to call send_file")
    size, mtime, offset = entries.get("size"), entries.get("mtime"), entries.get("offset")
    if not (_is_count(size) and _is_time(mtime) and _is_count(offset) and offset <= size):
        raise file_error("protocol", why="the other side says wrongly what it sends")
    return Offer(size, mtime, entries.get("exec") is True, offset)


def _encode(entries: dict[str, Any]) -> bytes:
    body: bytes = msgpack.packb({"v": VERSION, **entries})
    return _LENGTH.pack(len(body)) + body


async def _read(read: Callable[[int], Awaitable[bytes]], missing: str) -> dict[str, Any]:
    (size,) = _LENGTH.unpack(await _exactly(read, _LENGTH.size, missing))
    if size > MAX_MESSAGE_BYTES:
        raise file_error("protocol", why=f"the other side {missing}")
    try:
        entries = msgpack.unpackb(await _exactly(read, size, missing), raw=False, strict_map_key=True)
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise file_error("protocol", why=f"the other side {missing}") from error
    if not isinstance(entries, dict) or entries.get("v") != VERSION:
        raise file_error("protocol", why=f"this side speaks version {VERSION} of file transfers, the other does not")
    return entries


async def _exactly(read: Callable[[int], Awaitable[bytes]], size: int, missing: str) -> bytes:
    data = b""
    while len(data) < size:
        piece = await read(size - len(data))
        if not piece:
            raise file_error("protocol", why=f"the other side {missing}")
        data += piece
    return data


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 63


def _is_time(value: Any) -> TypeGuard[int]:
    return type(value) is int and -(1 << 63) <= value < 1 << 63


_LENGTH = struct.Struct("<I")
_DIGEST_BYTES = 32
