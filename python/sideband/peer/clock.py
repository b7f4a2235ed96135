"""Where a peer gets its time from; a test passes its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "LoopClock", "Timer"]


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Forget the call; does nothing when it was made."""


class Clock(Protocol):
    """Time in seconds, from any origin, never going back."""

    def time(self) -> float:
        """Return the time now."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` once, `delay` seconds from now."""

    async def sleep(self, delay: float) -> None:
        """Return `delay` seconds from now."""


class LoopClock:
    """The real time; what is due later is called from the running event loop."""

    time = staticmethod(time.monotonic)
    """Return the monotonic time, also where no loop runs yet."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` from the running loop."""
        return asyncio.get_running_loop().call_later(delay, callback)

    async def sleep(self, delay: float) -> None:
        """Sleep as `asyncio.sleep` does."""
        await asyncio.sleep(delay)
