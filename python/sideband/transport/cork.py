"""Gathers small writes of a batch, so that it costs one system call and not one for each message."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["GATHERED_BYTES", "LARGE_BYTES", "Cork"]

LARGE_BYTES = 8 * 1024
"""A write of this size goes out by itself: copying it would cost more than it saves."""
GATHERED_BYTES = 8 * 1024
"""With so much gathered it goes out, so that the other side is at work on it while the rest is made ready. Of 4, 8, 16
and 64 KiB this gave the most small calls a second, on a quiet machine and on a busy one."""


class Cork:
    """Stands in for an asyncio transport, which it writes to; everything else of it can be reached through this.

    Args:
        transport: where writes go, in the order they came.
    """

    __slots__ = ("_gathered", "_holders", "_size", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._gathered: list[bytes | bytearray | memoryview] = []
        self._size = 0
        self._holders = 0

    def hold(self) -> None:
        """Gather from here on. Each call needs its `release`."""
        self._holders += 1

    def release(self) -> None:
        """Write what was gathered; go on gathering only while someone else holds."""
        self._holders -= 1
        self._flush()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, or gather."""
        if not self._holders:
            self._transport.write(data)
        elif len(data) >= LARGE_BYTES:
            self._flush()
            self._transport.write(data)
        else:
            self._gathered.append(data)
            self._size += len(data)
            if self._size >= GATHERED_BYTES:
                self._flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._gathered:
            gathered, self._gathered, self._size = self._gathered, [], 0
            self._transport.write(gathered[0] if len(gathered) == 1 else b"".join(gathered))
