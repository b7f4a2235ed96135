"""One stream of presence: a snapshot, then changes, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from sideband.inbox.presence import Presence

__all__ = ["PresenceStream"]


class PresenceStream:
    """The presence of some addresses. What changes while the client is slow is told once, as it is then.

    Args:
        presence: who is connected.
        addresses: asked for.
        allowed: of them, those whose owners let this watcher see it. The others are told as null, whether they are
            registered or not.
    """

    __slots__ = ("_addresses", "_allowed", "_changed", "_presence", "_waiter", "closed")

    def __init__(self, presence: Presence, addresses: Sequence[str], allowed: set[str]) -> None:
        self.closed = False
        self._presence = presence
        self._addresses = addresses
        self._allowed = allowed
        self._changed: dict[str, None] = {}
        self._waiter: asyncio.Future[None] | None = None
        for address in allowed:
            presence.watch(address, self)

    def snapshot(self) -> bytes:
        """Return the event that tells of all addresses."""
        self._changed.clear()
        online = {
            address: self._presence.online(address) if address in self._allowed else None for address in self._addresses
        }
        return _event("snapshot", {"online": online})

    async def next(self, seconds: float) -> bytes:
        """Return the events of what has changed; nothing after `seconds` without a change, or once closed."""
        if not self._changed and not self.closed:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(seconds):
                    await self._waiter
            except TimeoutError:
                return b""
            finally:
                self._waiter = None
        changed, self._changed = self._changed, {}
        return b"".join(
            _event("presence", {"address": address, "online": self._presence.online(address)}) for address in changed
        )

    def changed(self, address: str, online: bool) -> None:
        """Take note of a change. See `Watcher`."""
        del online  # what holds when it is sent is told
        self._changed[address] = None
        self._wake()

    def close(self) -> None:
        """Watch no more, and let a waiting `next` return. Idempotent."""
        self.closed = True
        for address in self._allowed:
            self._presence.unwatch(address, self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
