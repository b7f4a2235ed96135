"""The replay window in Python that both Python rivals use: an integer as the bitmap."""


class PythonReplayWindow:
    """The newest `size` sequence numbers, as docs/protocol/sbrp.md, "Replay window", asks."""

    __slots__ = ("_bitmap", "_highest", "_mask", "_size")

    def __init__(self, size: int = 128) -> None:
        self._size = size
        self._mask = (1 << size) - 1
        self._highest = -1
        self._bitmap = 0

    def check(self, sequence: int) -> bool:
        """Return whether `sequence` is new and not too old."""
        behind = self._highest - sequence
        return behind < 0 or (behind < self._size and not self._bitmap >> behind & 1)

    def mark(self, sequence: int) -> None:
        """Record a sequence number that `check` has let pass."""
        ahead = sequence - self._highest
        if ahead == 1:
            self._bitmap = (self._bitmap << 1 | 1) & self._mask
            self._highest = sequence
        elif ahead > 0:
            self._bitmap = (self._bitmap << ahead | 1) & self._mask if ahead < self._size else 1
            self._highest = sequence
        else:
            self._bitmap |= 1 << -ahead
