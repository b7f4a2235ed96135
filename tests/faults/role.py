"""What every process of a fault test has: orders on its standard input, news on its standard output, a log of numbers.

The end of standard input means stop, so no process outlives the test that started it, whatever became of that.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sideband.cli.demo.child import read_line, run_until_input_ends

LARGE_EVERY = 17
LARGE_BYTES = 150_000


def padding(number: int) -> bytes:
    """What a call or an event of this number carries besides: now and then more than one frame takes."""
    return number.to_bytes(4, "big") * (LARGE_BYTES // 4 if number % LARGE_EVERY == LARGE_EVERY - 1 else 4)


def peak_bytes() -> int:
    """The most memory that this process has had. What `getrusage` tells counts the process that started it, too."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


class Role:
    """This process, as its work sees it.

    Attributes:
        config: the first line of standard input.
        orders: the lines after it.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._log = os.open(config["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def tell(self, news: str, **fields: Any) -> None:
        """Tell the test."""
        sys.stdout.write(json.dumps({"event": news, **fields}) + "\n")
        sys.stdout.flush()

    def log(self, what: str, **fields: Any) -> None:
        """Write one line that is still there when this process is killed right after."""
        os.write(self._log, json.dumps({"what": what, **fields}).encode() + b"\n")


def run_role(main: Callable[[Role], Awaitable[None]]) -> None:
    """Run `main` until standard input ends."""
    role = Role(json.loads(read_line()))

    async def run() -> None:
        await run_until_input_ends(main(role), lambda line: role.orders.put_nowait(json.loads(line)))

    asyncio.run(run())


def end_with_parent() -> None:
    """End this process at once when standard input ends; for work that knows nothing of roles."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
