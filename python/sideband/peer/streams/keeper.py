"""What of streams outlives a session: the streams themselves for a while, and the functions that handle them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sideband.peer.streams.stream import Stream
from sideband.protocol.streams import KeptStreams, StreamFailed

if TYPE_CHECKING:
    from sideband.peer.clock import Timer
    from sideband.peer.options import PeerOptions

__all__ = ["StreamKeeper"]


class StreamKeeper:
    """The streams of one end over its sessions: of a client with one daemon, or of a server with all its clients.

    Args:
        options: of them the streams' limits and the clock.

    Attributes:
        kept: finds streams by their tokens.
        draining: those on which somebody waits until what was written has left.
    """

    def __init__(self, options: PeerOptions) -> None:
        self.kept = KeptStreams(options.streams, options.stream_budget, unread_budget=options.unread_budget)
        self.draining: set[Stream] = set()
        self._clock = options.clock
        self._timer: Timer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def own(self, task: asyncio.Task[None]) -> None:
        """Keep a handler's task until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def settle(self) -> None:
        """Tell of what happened to streams that no session has, and see when they are due."""
        kept = self.kept
        if not kept.events and not len(kept) and self._timer is None:
            return
        events, kept.events = kept.events, []
        for event in events:
            if isinstance(event, StreamFailed) and isinstance(event.stream.data, Stream):
                event.stream.data.failed()
        due = kept.next_deadline()
        if due is not None and self._timer is None:
            self._timer = self._clock.call_later(max(0.0, due - self._clock.time()), self._expire)
        elif due is None and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def clear(self, reason: str) -> None:
        """Give up every stream that waits for a session."""
        self.kept.clear(reason)
        self.settle()

    def close(self) -> list[asyncio.Task[None]]:
        """Give up every stream; return the handlers' tasks that were cancelled, for the owner to await."""
        self.clear("the peer was closed")
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        return tasks

    def _expire(self) -> None:
        self._timer = None
        self.kept.expire(self._clock.time())
        self.settle()
