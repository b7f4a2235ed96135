"""What a worker offers, written once for both sides."""

from typing import Protocol


class Primes(Protocol):
    """Methods that work with primes; each is a call to another machine."""

    async def count(self, start: int, stop: int) -> int:
        """Return how many primes there are from `start` up to, but not including, `stop`."""
