"""How much the requests that all peers of a process answer may hold together."""

from __future__ import annotations

from typing import Final

__all__ = ["PROCESS_REQUESTS", "REQUEST_OVERHEAD", "RequestBudget"]

REQUEST_OVERHEAD: Final = 1_024
"""Bytes counted for each request on top of its frame: its task, or its place in the queue."""


class RequestBudget:
    """Bytes of requests, running or waiting, that all peers sharing this object may hold together.

    The limits of `RpcPolicy` hold for one peer; without this one, the 256 clients of a daemon could make it hold 256
    times as much. A request counts with its frame and 1 KiB, from its arrival to its handler's end; what comes on top
    is answered E 2001.

    Args:
        limit: bytes; 256 MiB by default.

    Attributes:
        limit: as given.
        held: bytes counted now.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int = 256 * 1024 * 1024) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """Count a request whose frame has `size` bytes, or return False when it does not fit."""
        held = self.held + size + REQUEST_OVERHEAD
        if held > self.limit:
            return False
        self.held = held
        return True

    def release(self, size: int) -> None:
        """Count it no longer."""
        self.held -= size + REQUEST_OVERHEAD


PROCESS_REQUESTS: Final = RequestBudget()
"""The budget of peers that are given no other."""
