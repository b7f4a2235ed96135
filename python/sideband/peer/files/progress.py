"""Telling how far a transfer is, and what it came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["FileTransfer", "Progress", "ProgressFunction"]

ProgressFunction: TypeAlias = Callable[[int, int | None], None]
"""Called as `progress(done, total)` in bytes; what was kept of an earlier try counts as done. The total is None while
it is not known."""


@dataclass(frozen=True, slots=True)
class FileTransfer:
    """What a transfer came to.

    Attributes:
        size: bytes of the whole file.
        resumed_at: where this try began; 0 when nothing was kept of an earlier one.
        digest: BLAKE3 of the whole file, 32 bytes, the same on both sides.
    """

    size: int
    resumed_at: int
    digest: bytes


class Progress:
    """Calls a function at the beginning, at most ten times a second, and at the end.

    Args:
        function: called from the event loop; what it raises ends the transfer. None for none.
        clock: seconds.
        total: bytes of the whole.
    """

    __slots__ = ("_clock", "_due", "_function", "_total")

    def __init__(self, function: ProgressFunction | None, clock: Callable[[], float], total: int) -> None:
        self._function = function
        self._clock = clock
        self._total = total
        self._due = float("-inf")

    def reach(self, done: int) -> None:
        """So many bytes are done."""
        if self._function is not None and (done == self._total or self._clock() >= self._due):
            self._due = self._clock() + INTERVAL_SECONDS
            self._function(done, self._total)


INTERVAL_SECONDS: Final = 0.1
