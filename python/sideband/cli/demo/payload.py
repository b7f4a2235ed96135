"""What the demo sends: a file, or bytes made from a seed; both can be read anywhere, so memory stays bounded."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from sideband.errors import ConfigError

__all__ = ["FilePayload", "GeneratedPayload", "Payload", "describe", "parse_size", "restore"]

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{prefix}IB": 1024 ** (power + 1) for power, prefix in enumerate("KMGT")}
_UNITS |= {f"{prefix}B": 1000 ** (power + 1) for power, prefix in enumerate("KMGT")}

_BLOCK_BYTES = 1024 * 1024
_STAMP_BYTES = 32


def parse_size(text: str) -> int:
    """Return the bytes that `text` names: a number and B, KiB, MiB, GiB, TiB, or the decimal KB, MB, GB, TB.

    Raises:
        ConfigError: it is something else.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text, re.ASCII)
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None:
        msg = f"a size is a number and a unit such as 64KiB, 256MiB or 1.5GiB; got {text!r}"
        raise ConfigError(msg)
    whole, _, fraction = found[1].partition(".")
    return int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)


class Payload(Protocol):
    """Bytes that can be read anywhere, any number of times, always the same."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only at the end. May block."""


@dataclass(frozen=True, slots=True)
class FilePayload:
    """The content of a regular file, `size` bytes of it.

    Raises of `read`:
        ConfigError: the file cannot be read, or became shorter than it was.
    """

    path: str
    size: int

    @classmethod
    def of(cls, path: Path) -> FilePayload:
        """Return the payload of `path` as long as it is now.

        Raises:
            ConfigError: it is no regular file, or cannot be read.
        """
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            msg = f"cannot read {path}: {error.strerror}"
            raise ConfigError(msg) from error
        if not path.is_file():
            msg = f"{path} is not a regular file"
            raise ConfigError(msg)
        return cls(str(path.resolve()), size)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only at the end."""
        length = max(0, min(length, self.size - offset))
        try:
            with Path(self.path).open("rb") as file:
                file.seek(offset)
                content = file.read(length)
        except OSError as error:
            msg = f"cannot read {self.path}: {error.strerror}"
            raise ConfigError(msg) from error
        if len(content) < length:
            msg = f"{self.path} became shorter while it was sent"
            raise ConfigError(msg)
        return content


class GeneratedPayload:
    """Bytes made from a seed: incompressible, and no 1 MiB block equals another.

    Args:
        size: how many bytes.
        seed: 64 hex digits; a fresh one by default.
    """

    def __init__(self, size: int, seed: str | None = None) -> None:
        self.size = size
        self.seed = seed or secrets.token_hex(32)
        self._pool = hashlib.shake_256(bytes.fromhex(self.seed)).digest(_BLOCK_BYTES)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only at the end."""
        end = min(offset + length, self.size)
        if end <= offset:
            return b""
        first, last = offset // _BLOCK_BYTES, (end - 1) // _BLOCK_BYTES
        pieces: list[bytes | memoryview] = []
        pool = memoryview(self._pool)
        for block in range(first, last + 1):
            start = max(0, offset - block * _BLOCK_BYTES)
            stop = min(_BLOCK_BYTES, end - block * _BLOCK_BYTES)
            if start < _STAMP_BYTES:
                stamp = hashlib.sha256(f"{self.seed} {block}".encode()).digest()
                pieces.append(stamp[start:stop])
            # Each block begins somewhere else in the pool, so that equal content never stands at equal places.
            turn = block * 7919 * _STAMP_BYTES % _BLOCK_BYTES
            pieces.extend(_turned(pool, turn, max(start, _STAMP_BYTES), stop))
        return b"".join(pieces)


def describe(payload: FilePayload | GeneratedPayload) -> dict[str, Any]:
    """Return what `restore` needs in another process."""
    if isinstance(payload, FilePayload):
        return {"kind": "file", **asdict(payload)}
    return {"kind": "generated", "size": payload.size, "seed": payload.seed}


def restore(fields: dict[str, Any]) -> FilePayload | GeneratedPayload:
    """Return the payload that `describe` described."""
    if fields["kind"] == "file":
        return FilePayload(fields["path"], fields["size"])
    return GeneratedPayload(fields["size"], fields["seed"])


def _turned(pool: memoryview, turn: int, start: int, stop: int) -> list[memoryview]:
    if start >= stop:
        return []
    start, stop = start + turn, stop + turn
    wrap = len(pool)
    if start >= wrap:
        return [pool[start - wrap : stop - wrap]]
    if stop <= wrap:
        return [pool[start:stop]]
    return [pool[start:], pool[: stop - wrap]]
