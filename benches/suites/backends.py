"""Sealing and opening by each implementation of the encryption that this machine has (docs/adr/0060).

The implementation is fixed when the native module is loaded, so each runs in a process of its own. The processes take
turns: only one of them works at a time.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sideband._native import ClientSession, DaemonSession, SessionKeys
from sideband.bench.measuring import Settings, SuiteResult, Table, median, spread
from sideband.secure_relay import backend

__all__ = ["TITLE", "run"]

TITLE = "The implementations of the encryption"

SIZES = (64, 1024, 16_384, 65_508)
_SESSION_ID = 7
_KEYS = bytes(32), bytes(range(32))
_MAX_HELD_BYTES = 128 * 1024
"""Frames that wait to be opened in one go: more memory than this goes back to the system and is taken anew."""


def run(settings: Settings) -> SuiteResult:
    """Measure every available implementation at every size."""
    chosen = backend()
    result = SuiteResult(tables=[])
    rows = []
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_worker(name)) for name in (*chosen.available, "auto")}
        for size in SIZES:
            for action in ("seal", "open"):
                samples: dict[str, list[float]] = {name: [] for name in workers}
                for _ in range(settings.rounds):
                    for name, worker in workers.items():
                        samples[name].append(_ask(worker, action, size, settings.sample_seconds))
                result.samples[f"{action} {size}"] = samples
                rates = (f"{1e-3 / median(samples, name):,.0f}" for name in workers)
                rows.append([action, f"{size:,}", *rates, f"{max(spread(samples, name) for name in workers):.0%}"])
    note = (
        "Thousands of whole frames a second, one at a time, from Python. By itself this machine chooses "
        f"{chosen.small} and, from {chosen.bulk_from:,} bytes on, {chosen.bulk}."
    )
    columns = ["action", "bytes", *(name if name != "auto" else "chosen" for name in workers), "widest spread"]
    result.tables.append(Table("Whole frames by implementation", columns, rows, note))
    return result


@contextmanager
def _worker(name: str) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"SIDEBAND_BACKEND": name}
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "benches.suites.backends"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, cwd=root, stdin=pipe, stdout=pipe, text=True) as worker:
        yield worker


def _ask(worker: subprocess.Popen[str], action: str, size: int, seconds: float) -> float:
    if worker.stdin is None or worker.stdout is None:
        raise RuntimeError("a worker is started with pipes")
    worker.stdin.write(f"{action} {size} {seconds}\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def _serve() -> None:
    """Answer each line, an action, a size and how long to measure, with the seconds that one frame took."""
    for line in sys.stdin:
        action, size, seconds = line.split()
        print(_measure(action, bytes(int(size)), float(seconds)), flush=True)


def _measure(action: str, message: bytes, seconds: float) -> float:
    sealer = DaemonSession(SessionKeys.from_bytes(*_KEYS))
    opener = ClientSession("bench", SessionKeys.from_bytes(*_KEYS))
    spent, done = 0.0, 0
    count = max(1, min(64, _MAX_HELD_BYTES // len(message)))
    while spent < seconds:
        started = time.thread_time()
        frames = [sealer.seal_frame(_SESSION_ID, message) for _ in range(count)]
        sealed = time.thread_time()
        for frame in frames:
            opener.open_frame(frame)
        spent += sealed - started if action == "seal" else time.thread_time() - sealed
        done += count
    return spent / done


if __name__ == "__main__":
    _serve()
