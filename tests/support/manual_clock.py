"""Time that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable


class ManualTimer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._due: list[tuple[float, int, ManualTimer, Callable[[], None]]] = []
        self._count = itertools.count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer()
        heapq.heappush(self._due, (self.now + delay, next(self._count), timer, callback))
        return timer

    def waiting(self) -> list[float]:
        """In how many seconds each call is due that has not been made or cancelled."""
        return [when - self.now for when, _, timer, _ in self._due if not timer.cancelled]

    async def sleep(self, delay: float) -> None:
        self.slept.append(delay)
        over = asyncio.get_running_loop().create_future()
        self.call_later(delay, lambda: over.done() or over.set_result(None))
        await over

    async def advance(self, seconds: float) -> None:
        """Move on, running what falls due at its own time, and let the event loop do what follows from it."""
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            when, _, timer, callback = heapq.heappop(self._due)
            self.now = max(self.now, when)
            if not timer.cancelled:
                callback()
                await settle()
        self.now = until
        await settle()


async def settle() -> None:
    """Give every task that can run without the outside world its turns."""
    for _ in range(50):
        await asyncio.sleep(0)
