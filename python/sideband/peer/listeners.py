"""The peer's own events: what happens to its connection."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Literal, get_args

from sideband.errors import ConfigError

__all__ = ["Listeners", "PeerEvent"]

PeerEvent = Literal[
    "state_change",
    "connected",
    "disconnected",
    "reconnecting",
    "session_paused",
    "session_resumed",
    "path_changed",
    "identity_changed",
    "error",
]

LINGER_SECONDS = 1.0
"""How long a closing peer waits for `async def` listeners that are still at work, before it cancels them."""


class Listeners:
    """Functions to call on the events of one peer.

    Args:
        report: told what a listener raised.
    """

    def __init__(self, report: Callable[[BaseException], None]) -> None:
        self._report = report
        self._functions: dict[str, list[Callable[..., Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, event: PeerEvent, function: Callable[..., Any]) -> Callable[[], None]:
        """Call `function` on each `event`; return what takes it away again.

        Raises:
            ConfigError: there is no such event.
        """
        if event not in get_args(PeerEvent):
            raise ConfigError(f"a peer has the events {', '.join(get_args(PeerEvent))}; got {event!r}")
        functions = self._functions.setdefault(event, [])
        functions.append(function)

        def remove() -> None:
            if function in functions:
                functions.remove(function)

        return remove

    def tell(self, event: PeerEvent, *arguments: object) -> None:
        """Call the functions of one event. A coroutine function runs in a task of its own."""
        for function in tuple(self._functions.get(event, ())):
            try:
                result = function(*arguments)
            except Exception as error:  # noqa: BLE001  (whatever a listener raises is reported, and the others still run)
                self._report(error)
                continue
            if inspect.iscoroutine(result):
                task = asyncio.get_running_loop().create_task(self._run(result), name=f"sideband peer {event}")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for listeners at work, but no longer than `LINGER_SECONDS`."""
        tasks = self._tasks - {asyncio.current_task()}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=LINGER_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _run(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  (whatever a listener raises is reported)
            self._report(error)
