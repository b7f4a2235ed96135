"""The way of bytes from one process to another through our relay, and what it takes."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from sideband.bench.issuer import Issuer
from sideband.bench.processes import MEASURES_PROCESSES, ServerProcess, started

__all__ = ["OURS", "Moved", "Path", "our_path"]

OURS = "ours, end to end"
_DAEMON = "d_" + "s" * 22


@dataclass(frozen=True)
class Moved:
    """What it took to move some bytes.

    Attributes:
        seconds: from the first write until the receiver has them all, and the sender knows.
        cpu: processor seconds of each process, by its name; empty where the system does not tell.
    """

    seconds: float
    cpu: dict[str, float]


class Path:
    """A way for bytes.

    Attributes:
        name: as the report shows it.
        processes: "client", "relay" where there is one, "daemon".
    """

    def __init__(self, name: str, processes: dict[str, ServerProcess]) -> None:
        self.name = name
        self.processes = processes

    def move(self, size: int, *, up: bool, **more: Any) -> Moved:
        """Move so many bytes from client to daemon, or the other way."""
        before = self._cpu()
        seconds = self.processes["client"].ask("move", size=size, up=up, **more)["seconds"]
        return Moved(seconds, {name: cpu - before[name] for name, cpu in self._cpu().items()})

    def forget_peaks(self) -> None:
        """Begin anew with the largest memory of each process."""
        for process in self.processes.values():
            process.forget_peak()

    def peaks(self) -> dict[str, int]:
        """Return the most memory that each process had, in bytes."""
        return {name: process.peak_bytes() for name, process in self.processes.items()}

    def _cpu(self) -> dict[str, float]:
        if not MEASURES_PROCESSES:
            return {}
        return {name: process.cpu_seconds() for name, process in self.processes.items()}


@contextmanager
def our_path(
    name: str = OURS, *, sessions: int = 1, files: str = ".", event_loop: str = "asyncio", site: str = ""
) -> Iterator[Path]:
    """A client, our relay and a daemon.

    Args:
        name: as the report shows it.
        sessions: of the client process with the daemon.
        files: the folder where the daemon keeps the file that it receives, as `received`.
        event_loop: of client and daemon, "asyncio" or "uvloop".
        site: the folder where uvloop is installed.
    """
    issuer = Issuer()
    loop = {"loop": event_loop, "site": site}
    with ExitStack() as stack:
        relay = stack.enter_context(
            started("relay", "sideband.bench.relay_process", issuer.told(max_sessions_per_daemon=max(1000, sessions)))
        )
        common = {"url": f"ws://127.0.0.1:{relay.port}/", "daemon_id": _DAEMON, **loop}
        told: dict[str, Any] = common | {"token": issuer.daemon(_DAEMON), "files": files}
        daemon = stack.enter_context(started("daemon", "sideband.bench.daemon_process", json.dumps(told)))
        told = common | {"tokens": [issuer.client(_DAEMON, number + 1) for number in range(sessions)]}
        client = stack.enter_context(started("client", "sideband.bench.client_process", json.dumps(told)))
        yield Path(name, {"client": client, "relay": relay, "daemon": daemon})
