"""Time, passed in: so that what waits for a minute is tested without waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "LoopClock", "Timer"]


class Timer(Protocol):
    """A callback that was asked for and can be called off."""

    def cancel(self) -> None:
        """Call it off; does nothing when it has run."""


class Clock(Protocol):
    """What the relay knows of time."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def unix(self) -> float:
        """Return Unix seconds."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` after `seconds`."""


class LoopClock:
    """The real time, with callbacks from the running event loop."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def unix(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Run `callback` in the running event loop after `seconds`."""
        return asyncio.get_running_loop().call_later(seconds, callback)
