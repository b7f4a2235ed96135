"""Blocking work of files, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

__all__ = ["begin_in_worker", "in_worker", "opened_in_worker", "settled"]

T = TypeVar("T")


class Closable(Protocol):
    """What holds a descriptor."""

    def close(self) -> None:
        """Let go of it."""


C = TypeVar("C", bound=Closable)

THREADS: Final = 8
"""Of the process, for all its transfers: enough to keep a disk busy, and started only when they are needed."""

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="sideband-files")


def begin_in_worker(function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
    """Start `function(*arguments)` in a thread; whoever calls this awaits `settled` of what it returns."""
    return asyncio.get_running_loop().run_in_executor(_pool, function, *arguments)


async def in_worker(function: Callable[..., T], *arguments: object) -> T:
    """Run `function(*arguments)` in a thread.

    When cancelled it returns only after the function has: nothing that the function uses may be closed before.
    """
    return await settled(begin_in_worker(function, *arguments))


async def opened_in_worker(function: Callable[..., C], *arguments: object) -> C:
    """Like `in_worker`, for what opens something: when cancelled, what was opened meanwhile is closed."""
    work = begin_in_worker(function, *arguments)
    try:
        return await settled(work)
    except asyncio.CancelledError:
        if not work.cancelled() and work.exception() is None:
            work.result().close()
        raise


async def settled(work: asyncio.Future[T]) -> T:
    """Return what `begin_in_worker` started; when cancelled, only after it is over."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            try:
                await asyncio.wait((work,))
            except asyncio.CancelledError:
                # Raised again below; the thread cannot be stopped, and works on few megabytes at a time.
                continue
        raise
