"""Contestants that are processes of their own, and what the system says about them."""

import asyncio
import gc
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

__all__ = ["ServerProcess", "serve_until_stdin_closes", "started"]


_ROOT = Path(__file__).parent.parent


class ServerProcess:
    """A server on loopback, and what it has cost so far.

    Attributes:
        name: as the report shows it.
        port: where it listens.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        self.name = name
        self.port = port
        self._process = process
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

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have it do something (see `benches.commands`), and return what it answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} ended instead of answering; what it wrote above says why")
        answered: dict[str, Any] = json.loads(answer)
        return answered

    def forget_peak(self) -> None:
        """Begin anew with the largest memory that `peak_bytes` tells."""
        (self._folder / "clear_refs").write_text("5", "ascii")

    def peak_bytes(self) -> int:
        """Return the most memory that was resident since it began, or since `forget_peak`."""
        for line in (self._folder / "status").read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the system does not tell a process's peak memory")


@contextmanager
def started(
    name: str, module: str, first_line: str = "", *, python: str | Path = sys.executable
) -> Iterator[ServerProcess]:
    """Run `python -m module` until the block ends.

    Args:
        name: of the contestant.
        module: which prints the port it listens on, and ends when its input does.
        first_line: what it is told on its input.
        python: the interpreter of the environment it runs in.
    """
    process = subprocess.Popen([python, "-m", module], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
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


async def serve_until_stdin_closes(runner: web.AppRunner, tls: ssl.SSLContext | None = None) -> None:
    """Listen on loopback, print the port, and stop with the input's end."""
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024, ssl_context=tls).start()
    gc.collect()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()
