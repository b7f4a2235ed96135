"""How a benchmark talks to a process that works for it: a line of JSON in, a line of JSON out.

Imports nothing but the standard library, so that rivals with an environment of their own can use it.
"""

import asyncio
import importlib
import json
import site
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

__all__ = ["answer_commands", "run_worker"]

Command = Callable[..., Awaitable[dict[str, Any]]]


def run_worker(main: Callable[[dict[str, Any]], Coroutine[Any, Any, None]]) -> None:
    """Read what this process is told on the first line and run `main` with it, on the event loop that it names.

    `"loop": "uvloop"` takes uvloop; anything else, or nothing, asyncio's own.
    """
    told = json.loads(sys.stdin.readline())
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if told.get("loop") == "uvloop":
        # At the end of the path: it is for what this environment lacks.
        site.addsitedir(told["site"])
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(told))


async def answer_commands(commands: dict[str, Command], *, port: int = 0) -> None:
    """Say that this process is ready, by its port, and answer commands until the input ends."""
    print(port, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        told = json.loads(line)
        print(json.dumps(await commands[told.pop("do")](**told)), flush=True)
