"""The processes of a fault test, as the test sees them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
END_SECONDS = 60.0
NEWS_SECONDS = 60.0
_FAULTS = ("Traceback", "never retrieved", "never awaited", "Unclosed", "ResourceWarning", "exception in callback")


class Process:
    """One child: orders in, news out; what it writes to standard error must tell no fault of ours.

    Attributes:
        name: for messages.
        news: everything it told, in order.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, errors: Path) -> None:
        self.name = name
        self.news: list[dict[str, Any]] = []
        self._process = process
        self._errors = errors
        self._more = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls, name: str, module: str, *arguments: str, folder: Path, prefix: Sequence[str] = (), **config: Any
    ) -> Process:
        """Start `python -m module`; `config` is the first line of its standard input."""
        errors = folder / f"{name}.stderr"
        with errors.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                *(*prefix, sys.executable, "-W", "error", "-m", module, *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=file,
                cwd=ROOT,
                env={key: value for key, value in os.environ.items() if not key.startswith("SIDEBAND_SERVER_")},
                limit=4 * 1024 * 1024,
                start_new_session=True,
            )
        child = cls(name, process, errors)
        if config:
            child.order(**config)
        return child

    def order(self, order: str | None = None, **fields: Any) -> None:
        """Send one line."""
        assert self._process.stdin is not None
        line = fields if order is None else {"order": order, **fields}
        self._process.stdin.write(json.dumps(line).encode() + b"\n")

    async def until(self, condition: Callable[[list[dict[str, Any]]], Any], seconds: float = NEWS_SECONDS) -> Any:
        """Wait until `condition(news)` is truthy, and return what it gave."""
        try:
            async with asyncio.timeout(seconds):
                while not (found := condition(self.news)):
                    self._more.clear()
                    assert not self._reading.done(), f"{self.name} has ended: {self.last_words()}"
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} told only {self.news[-8:]}; {self.last_words()}") from None
        return found

    async def expect(self, event: str, seconds: float = NEWS_SECONDS) -> dict[str, Any]:
        """Wait for an event of this name, and return the first."""
        found = await self.until(lambda news: [one for one in news if one["event"] == event], seconds)
        return dict(found[0])

    def stop(self) -> None:
        """Stop it where it stands."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        await self._ended()

    async def terminate(self) -> int:
        """Ask it to end as an init system does, and return its exit code."""
        self._process.terminate()
        await self._ended()
        return self._process.returncode or 0

    async def end(self) -> None:
        """End it in good order, by force after some time. Idempotent."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.go_on()
            if self._process.stdin is not None:
                self._process.stdin.close()
            try:
                async with asyncio.timeout(END_SECONDS):
                    await self._reading
                    await self._process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._ended()
                raise AssertionError(f"{self.name} does not end: {self.last_words()}") from None
        await self._ended()

    def faults(self) -> list[str]:
        """Lines on standard error that tell of a fault in the process."""
        text = self._errors.read_text(errors="replace")
        return [line for line in text.splitlines() if any(fault in line for fault in _FAULTS)]

    def last_words(self) -> str:
        """The end of its standard error."""
        return self._errors.read_text(errors="replace")[-2000:]

    async def _ended(self) -> None:
        await self._reading
        await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(ConnectionError):
                await self._process.stdin.wait_closed()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.news.append(json.loads(line))
            self._more.set()
        self._more.set()
