"""The processes of the demo, as the one that starts them sees them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from sideband.errors import ProcessError

__all__ = ["Child", "Children"]

STOP_SECONDS = 5.0
"""How long a process may take to end once asked; then it is killed."""

_LINE_BYTES = 1024 * 1024
_Result = TypeVar("_Result")


class Child:
    """One process: a line of JSON in, then commands; events out."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, errors: Path) -> None:
        self.name = name
        self.process = process
        self._errors = errors
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._told: dict[str, Any] | None = None
        self._reading = asyncio.create_task(self._read())

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what the process tells.

        Raises:
            ProcessError: it told an error, or ended.
        """
        while (event := await self._events.get()) is not None:
            yield event
        raise await self.failure()

    async def expect(self, name: str) -> dict[str, Any]:
        """Return the next event, which is `name`.

        Raises:
            ProcessError: it told an error, something else, or ended.
        """
        async for event in self.events():
            if event["event"] == name:
                return event
        raise ProcessError(f"the {self.name} process did not tell {name}")

    async def configure(self, config: dict[str, Any]) -> None:
        """Give the process its configuration; secrets travel this way only."""
        await self.command(json.dumps(config))

    async def command(self, line: str) -> None:
        """Send a line; nothing happens when the process has ended."""
        stdin = self.process.stdin
        if stdin is not None:
            with contextlib.suppress(ConnectionError):
                stdin.write(line.encode() + b"\n")
                await stdin.drain()

    async def ended(self) -> None:
        """Wait until the process has ended and all it told is here."""
        await self._reading
        await self.process.wait()

    async def failure(self) -> ProcessError:
        """Return why the process ended."""
        await self.ended()
        if self._told is not None:
            text = f"the {self.name} process failed: {self._told['message']}"
            return ProcessError(text, exit_code=self._told["exit_code"])
        code = self.process.returncode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        words = self._last_words()
        return ProcessError(f"the {self.name} process {how} before the demo was done" + (f": {words}" if words else ""))

    async def stop(self) -> None:
        """End the process: by the end of its standard input, after 5 s by force."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.ended()
        except TimeoutError:
            self.kill()
            await self.ended()

    def kill(self) -> None:
        """End the process by force."""
        if self.process.returncode is not None:
            return
        if os.name == "nt":
            self.process.kill()
            return
        # Process.kill asks for the exit code first, and so may take it from asyncio's child watcher, which waits for it
        # in a thread of its own: an "Unknown child process", and 255 in place of the code (gh-127049 of CPython).
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)

    async def _read(self) -> None:
        stdout = self.process.stdout
        if stdout is not None:
            while line := await stdout.readline():
                event = json.loads(line)
                if event["event"] == "error":
                    self._told = event
                else:
                    self._events.put_nowait(event)
        self._events.put_nowait(None)

    def _last_words(self) -> str:
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""


class Children:
    """All processes of one demo.

    Leaving the context ends every one of them, the last started first.

    Args:
        folder: where their standard error goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []
        self._endings: list[asyncio.Task[None]] = []
        self._ended: asyncio.Queue[Child] = asyncio.Queue()

    async def __aenter__(self) -> Children:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for child in reversed(self._children):
                await child.stop()
        finally:
            # A second Ctrl-C comes here while the first is still being obeyed.
            for child in self._children:
                child.kill()
            await asyncio.gather(*self._endings)

    async def start(self, name: str, module: str) -> Child:
        """Start `python -m module`, which loads what it needs and waits for its configuration."""
        errors = self._folder / f"{name}.log"
        with errors.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                # -P keeps a folder that happens to be current from providing modules.
                *(sys.executable, "-P", "-m", module),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=_environment(),
                limit=_LINE_BYTES,
                # Ctrl-C is for the one process that then ends the others in order.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        child = Child(name, process, errors)
        self._children.append(child)
        self._endings.append(asyncio.create_task(self._note_end(child)))
        return child

    async def guard(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run `work` while every process lives.

        Raises:
            ProcessError: one of them ended first.
        """
        working = asyncio.create_task(work)
        watching = asyncio.create_task(self._ended.get())
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                raise await watching.result().failure()
            return working.result()
        finally:
            working.cancel()
            watching.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)

    async def _note_end(self, child: Child) -> None:
        await child.ended()
        self._ended.put_nowait(child)


def _environment() -> dict[str, str]:
    # What is set for a real server or daemon must not reach the demo's.
    return {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}
