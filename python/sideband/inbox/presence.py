"""Who is connected by a bridge to this server."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Protocol

__all__ = ["Presence", "Watcher"]


class Watcher(Protocol):
    """Told of changes on the event loop; it only takes note."""

    def changed(self, address: str, online: bool) -> None:
        """Take note that `address` is connected now, or is not any more."""


class Presence:
    """Bridge connections by address, and who watches them."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._watchers: dict[str, set[Watcher]] = {}
        self._lingering: dict[str, asyncio.TimerHandle] = {}

    def opened(self, address: str) -> None:
        """Count a connection."""
        lingering = self._lingering.pop(address, None)
        if lingering is not None:
            lingering.cancel()
            self._count_down(address, tell=False)
        self._open[address] += 1
        if self._open[address] == 1 and lingering is None:
            self._tell(address, online=True)

    def closed(self, address: str, linger_seconds: float = 0.0) -> None:
        """Take back an `opened`; with `linger_seconds`, only then, unless another connection comes before."""
        if linger_seconds > 0 and self._open[address] == 1:
            loop = asyncio.get_running_loop()
            self._lingering[address] = loop.call_later(linger_seconds, self._linger_ended, address)
        else:
            self._count_down(address)

    def online(self, address: str) -> bool:
        """Tell whether an address has a connection."""
        return address in self._open

    def connections(self, address: str) -> int:
        """Return how many connections an address has; one that lingers is none."""
        return self._open[address] - (address in self._lingering) if address in self._open else 0

    def watch(self, address: str, watcher: Watcher) -> None:
        """Tell `watcher` of changes of `address` from now on."""
        self._watchers.setdefault(address, set()).add(watcher)

    def unwatch(self, address: str, watcher: Watcher) -> None:
        """Take back a `watch`."""
        watchers = self._watchers.get(address)
        if watchers is not None:
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[address]

    def close(self) -> None:
        """Let no timer fire any more."""
        for handle in self._lingering.values():
            handle.cancel()
        self._lingering.clear()

    def __len__(self) -> int:
        return len(self._open)

    def _linger_ended(self, address: str) -> None:
        del self._lingering[address]
        self._count_down(address)

    def _count_down(self, address: str, *, tell: bool = True) -> None:
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]
            if tell:
                self._tell(address, online=False)

    def _tell(self, address: str, *, online: bool) -> None:
        for watcher in tuple(self._watchers.get(address, ())):
            watcher.changed(address, online)
