"""Contestants that are processes of their own, and what the system says about them."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

__all__ = ["ServerProcess", "serve_until_stdin_closes", "started"]


class ServerProcess:
    """A server on loopback, and what it has cost so far.

    Attributes:
        name: as the report shows it.
        port: where it listens.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        self.name = name
        self.port = port
        self._folder = Path("/proc") / str(process.pid)

    def cpu_seconds(self) -> float:
        """Return the processor time of all its threads, in nanoseconds' resolution."""
        tasks = (self._folder / "task").iterdir()
        return sum(int((task / "schedstat").read_text("ascii").split()[0]) for task in tasks) / 1e9

    def resident_bytes(self) -> int:
        """Return the memory that is its own: resident, not shared with other processes."""
        for line in (self._folder / "smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Private_Dirty:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the system does not tell a process's private memory")


@contextmanager
def started(name: str, module: str, first_line: str = "") -> Iterator[ServerProcess]:
    """Run `python -m module` until the block ends.

    Args:
        name: of the contestant.
        module: which prints the port it listens on, and ends when its input does.
        first_line: what it is told on its input.
    """
    process = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            process.stdin.write(first_line.encode() + b"\n")
            process.stdin.flush()
            port = process.stdout.readline()
            if not port:
                raise RuntimeError(f"{name} did not start")
            yield ServerProcess(name, process, int(port))
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


async def serve_until_stdin_closes(runner: web.AppRunner) -> None:
    """Listen on loopback, print the port, and stop with the input's end."""
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    gc.collect()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()
