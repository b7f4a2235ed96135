"""What a process of the demo is to the one that started it.

Standard input brings one line of JSON, the configuration with its secrets, then commands; its end means stop, so no
process outlives the demo, whatever became of that. Standard output takes one JSON object a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from sideband.allocator import tune_allocator
from sideband.cli.output import exit_code
from sideband.errors import SidebandError

__all__ = ["Parent", "read_line", "run_child", "run_until_input_ends"]


class Parent:
    """The process that started this one.

    Attributes:
        config: what it told.
        commands: lines it sent since.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.commands: asyncio.Queue[str] = asyncio.Queue()

    def tell(self, event: str, **fields: Any) -> None:
        """Write one event."""
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()


def run_child(main: Callable[[Parent], Awaitable[None]]) -> None:
    """Run `main` until it ends or the parent wants it to, then exit.

    A `SidebandError` is told as an event `error`; anything else leaves its traceback on standard error.
    """
    parent = Parent(json.loads(read_line()))
    try:
        tune_allocator()
        asyncio.run(_run(main, parent))
    except BaseException as error:
        told = _first_of(error)
        if told is None:
            raise
        parent.tell("error", kind=type(told).__name__, message=str(told), exit_code=exit_code(told))
        sys.exit(1)


async def run_until_input_ends(work: Awaitable[None], take_line: Callable[[str], None]) -> None:
    """Run `work`, handing each line of standard input to `take_line` in the event loop; cancel it when input ends."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def listen() -> None:
        # The loop is closed when this process ends by itself while the thread waits.
        with contextlib.suppress(RuntimeError):
            while line := read_line():
                loop.call_soon_threadsafe(take_line, line)
            loop.call_soon_threadsafe(stopping.set)

    # A daemon thread, since nothing can interrupt a blocking read; it holds no lock that the end of the process needs.
    threading.Thread(target=listen, name="parent", daemon=True).start()
    working = asyncio.ensure_future(work)
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        working.cancel()
        waiting.cancel()
        await asyncio.wait({working, waiting})
    if not working.cancelled():
        working.result()


def read_line() -> str:
    """Read one line of standard input, "" at its end.

    Unbuffered, because a buffered reader's lock, held by a blocked thread, would stop the interpreter from ending.
    """
    line = bytearray()
    while byte := os.read(0, 1):
        line += byte
        if byte == b"\n":
            break
    return line.decode()


async def _run(main: Callable[[Parent], Awaitable[None]], parent: Parent) -> None:
    await run_until_input_ends(main(parent), lambda line: parent.commands.put_nowait(line.strip()))


def _first_of(error: BaseException) -> SidebandError | None:
    if isinstance(error, SidebandError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _first_of(inner)) is not None), None)
    return None
