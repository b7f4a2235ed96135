"""Contestants that are processes of their own, and what the system says about them."""

import asyncio
import gc
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from aiohttp import web

from sideband.errors import ProcessError

__all__ = ["MEASURES_PROCESSES", "ServerProcess", "serve_until_stdin_closes", "started"]

MEASURES_PROCESSES = sys.platform == "linux"
"""Whether the system tells what another process has cost."""

_STOP_SECONDS = 10


class ServerProcess:
    """A process that serves or answers commands, and what it has cost so far.

    Attributes:
        name: as the report shows it.
        port: where it listens; 0 when it does not.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        self.name = name
        self.port = port
        self._process = process
        self._folder = Path("/proc") / str(process.pid)

    @property
    def pid(self) -> int:
        """The system's number of it, for profilers."""
        return self._process.pid

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have it do something (see `sideband.bench.commands`), and return what it answers.

        Raises:
            ProcessError: it ended instead.
        """
        told, answers = _pipes(self._process)
        told.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        told.flush()
        answer = answers.readline()
        if not answer:
            raise ProcessError(f"the {self.name} ended instead of answering; what it wrote above says why")
        answered: dict[str, Any] = json.loads(answer)
        return answered

    def cpu_seconds(self) -> float:
        """Return the processor time of all its threads, in nanoseconds' resolution. Linux."""
        tasks = (self._folder / "task").iterdir()
        return sum(int((task / "schedstat").read_text("ascii").split()[0]) for task in tasks) / 1e9

    def resident_bytes(self) -> int:
        """Return the memory that is its own: resident, not shared with other processes. Linux."""
        return self._told("smaps_rollup", "Private_Dirty:")

    def forget_peak(self) -> None:
        """Begin anew with the largest memory that `peak_bytes` tells. Linux."""
        (self._folder / "clear_refs").write_text("5", "ascii")

    def peak_bytes(self) -> int:
        """Return the most memory that was resident since it began, or since `forget_peak`. Linux."""
        return self._told("status", "VmHWM:")

    def _told(self, file: str, field: str) -> int:
        for line in (self._folder / file).read_text("ascii").splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"the system does not tell {field} of a process")


@contextmanager
def started(
    name: str,
    module: str,
    first_line: str = "",
    *,
    python: str | Path = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> Iterator[ServerProcess]:
    """Run `python -m module` until the block ends.

    Args:
        name: of the contestant.
        module: which prints the port it listens on, and ends when its input does.
        first_line: what it is told on its input; secrets travel this way only.
        python: the interpreter of the environment it runs in.
        environment: variables that it has on top of this process's.

    Raises:
        ProcessError: it ended before it was ready; it has said why on standard error.
    """
    # The program is ours, whatever the caller measures. Ctrl-C is for the caller, who ends it then.
    process = subprocess.Popen(  # noqa: S603
        [python, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    told, answers = _pipes(process)
    with process:
        try:
            told.write(first_line.encode() + b"\n")
            told.flush()
            port = answers.readline()
            if not port:
                raise ProcessError(f"the {name} did not start; what it wrote above says why")
            yield ServerProcess(name, process, int(port))
        finally:
            told.close()
            try:
                process.wait(_STOP_SECONDS)
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


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a contestant is started with pipes")
    return process.stdin, process.stdout
