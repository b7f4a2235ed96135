"""Those who listen to the other side's events, each with a queue of its own that is bounded."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from sideband.errors import PeerError

__all__ = ["AsyncListener", "Event", "Listener", "Subscription", "SyncListener", "is_async_callable"]

Report = Callable[[BaseException], None]


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the other side.

    Attributes:
        name: its name.
        data: what came with it, or None.
        dropped: events that this subscriber lost right before this one, because it had fallen behind.
    """

    name: str
    data: Any = None
    dropped: int = 0


class Listener(Protocol):
    """Someone who takes events without waiting."""

    def take(self, name: str, data: Any, size: int) -> None:
        """Take one event, whose frame had `size` bytes."""

    def close(self) -> asyncio.Task[None] | None:
        """Take no more; return the task that is still at work, cancelled."""


class Subscription:
    """The events of a pattern, as an async iterator: `async for event in peer.events.subscribe("file.>")`.

    At most `limit` events and `max_bytes` wait. One that comes on top pushes out the oldest, and `Event.dropped` of the
    next event says how many were lost; `dropped` is their sum. The iteration ends when the subscription or the peer is
    closed.
    """

    def __init__(self, limit: int, max_bytes: int, unsubscribe: Callable[[], None]) -> None:
        self._queue = _BoundedQueue(limit, max_bytes)
        self._unsubscribe = unsubscribe

    @property
    def dropped(self) -> int:
        """Events lost so far, because they came faster than they were read."""
        return self._queue.dropped

    @property
    def waiting(self) -> int:
        """Events that can be read without waiting."""
        return len(self._queue)

    def take(self, name: str, data: Any, size: int) -> None:
        """Queue one event; for the peer."""
        self._queue.put(name, data, size)

    def close(self) -> None:
        """Take no more events; what waits can still be read. Idempotent."""
        self._unsubscribe()
        self._queue.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._queue.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SyncListener:
    """A plain function, called as each event is decoded."""

    def __init__(self, function: Callable[[Event], Any], report: Report) -> None:
        self._function = function
        self._report = report

    def take(self, name: str, data: Any, size: int) -> None:  # noqa: ARG002  (what waits for nothing needs no bound)
        """Call the function; what it raises is reported, and the other listeners still run."""
        try:
            result = self._function(Event(name, data))
        except Exception as error:  # noqa: BLE001  (whatever a listener raises is reported, and the others still run)
            self._report(error)
            return
        if inspect.iscoroutine(result):
            result.close()
            self._report(TypeError(f"the handler of {name!r} returned a coroutine; write it as `async def`"))

    def close(self) -> None:
        """Nothing is at work between two events."""


class AsyncListener:
    """A coroutine function, run for one event after the other by a task of its own."""

    def __init__(self, function: Callable[[Event], Any], limit: int, max_bytes: int, report: Report) -> None:
        self._function = function
        self._report = report
        self._queue = _BoundedQueue(limit, max_bytes)
        self._task: asyncio.Task[None] | None = None

    def take(self, name: str, data: Any, size: int) -> None:
        """Queue one event."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"sideband event {name}")
        self._queue.put(name, data, size)

    def close(self) -> asyncio.Task[None] | None:
        """Stop; unless the handler itself asks for it, the event it is at is given up."""
        self._queue.close(discard=True)
        task, self._task = self._task, None
        if task is None or task is asyncio.current_task():
            return None
        task.cancel()
        return task

    async def _run(self) -> None:
        while (event := await self._queue.get()) is not None:
            if event.dropped:
                self._report(
                    PeerError(
                        "buffer_overflow",
                        f"a handler fell behind and lost {event.dropped} events before this {event.name!r}",
                        details={"event": event.name, "dropped": event.dropped},
                    )
                )
            try:
                await self._function(event)
            except Exception as error:  # noqa: BLE001  (whatever a listener raises is reported, and it goes on)
                self._report(error)


class _BoundedQueue:
    """Keeps the newest items and counts what it pushed out."""

    def __init__(self, limit: int, max_bytes: int) -> None:
        self._limit = limit
        self._max_bytes = max_bytes
        self._items: deque[tuple[str, Any, int]] = deque()
        self._bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._told = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, name: str, data: Any, size: int) -> None:
        if self._closed:
            return
        self._items.append((name, data, size))
        self._bytes += size
        while len(self._items) > self._limit or (self._bytes > self._max_bytes and len(self._items) > 1):
            self._bytes -= self._items.popleft()[2]
            self.dropped += 1
        self._wake()

    async def get(self) -> Event | None:
        while not self._items:
            if self._closed:
                return None
            if self._waiter is not None:
                raise PeerError("invalid_state", "another task is waiting on this subscription already")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        name, data, size = self._items.popleft()
        self._bytes -= size
        lost = self.dropped - self._told
        self._told = self.dropped
        return Event(name, data, lost)

    def close(self, *, discard: bool = False) -> None:
        self._closed = True
        if discard:
            self._items.clear()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def is_async_callable(function: Callable[..., Any]) -> bool:
    """Return whether calling `function` gives a coroutine, wrapped in `partial` or as an object's `__call__` too."""
    while hasattr(function, "func") and not inspect.isfunction(function):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004  (its value is looked at, not whether it is callable)
