"""Standard input and output off the event loop, whatever they are: a terminal, a pipe, a file, a device.

Reading from a terminal and writing to a full pipe can wait for ever. So each has a daemon thread, which the end of the
process does not wait for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Final, TypeVar

__all__ = ["READ_BYTES", "BlockingInput", "BlockingOutput", "waiting_for_input"]

READ_BYTES: Final = 256 * 1024
"""Read at once, at most."""

T = TypeVar("T")


class BlockingInput:
    """Reads a descriptor.

    Args:
        descriptor: which it does not close.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._thread = _Thread("sideband input")

    async def read(self) -> bytes:
        """Return the next bytes; none at the end.

        Raises:
            OSError: it cannot be read.
        """
        return await self._thread.run(lambda: os.read(self._descriptor, READ_BYTES))


class BlockingOutput:
    """Writes to a descriptor.

    Args:
        descriptor: which it does not close.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._thread = _Thread("sideband output")

    async def write(self, chunks: list[memoryview]) -> None:
        """Write all of it.

        Raises:
            OSError: it cannot be written, such as BrokenPipeError when nobody reads any more.
        """
        await self._thread.run(lambda: self._write(b"".join(chunks)))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]


@contextmanager
def waiting_for_input() -> Iterator[None]:
    """Let signals end the block at once, as KeyboardInterrupt, while it waits for somebody to type.

    An event loop takes signals between two callbacks, and so never while a callback of it reads.
    """

    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {name: signal.signal(name, end) for name in _SIGNALS if signal.getsignal(name) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
            if os.name != "nt":
                # As the event loop had set it, whose handlers may be among these.
                signal.siginterrupt(name, False)


_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class _Thread:
    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, function: Callable[[], T]) -> T:
        """Return what the function returns; when cancelled, at once, whatever becomes of it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            try:
                result = function()
            except OSError as error:
                _settle(loop, future, None, error)
            else:
                _settle(loop, future, result, None)

        self._jobs.put(job)
        return await future

    def _work(self) -> None:
        while True:
            self._jobs.get()()


def _settle(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], result: T | None, error: OSError | None
) -> None:
    def settle() -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where T is None

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        # The loop is closed: the process ends.
        return
