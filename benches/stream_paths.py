"""The ways on which the same bytes go from one process to another, ours and the rivals': real processes."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from benches.certificate import make_certificate
from benches.processes import ServerProcess, started
from benches.relay_load import Issuer
from benches.rivals_environment import RivalsEnvironment

__all__ = ["AIOHTTP", "OURS", "WSS", "ZMQ", "Moved", "Path", "bare_path", "our_path", "zmq_path"]

OURS, AIOHTTP = "ours, end to end", "bare aiohttp, plain"
WSS, ZMQ = "bare aiohttp, TLS on both hops", "pyzmq with CURVE, direct"
_DAEMON = "d_" + "s" * 22


@dataclass(frozen=True)
class Moved:
    """What it took to move some bytes.

    Attributes:
        seconds: from the first write until the receiver has them all, and the sender knows.
        cpu: processor seconds of each process, by its name.
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
        before = {name: process.cpu_seconds() for name, process in self.processes.items()}
        seconds = self.processes["client"].ask("move", size=size, up=up, **more)["seconds"]
        return Moved(seconds, {name: process.cpu_seconds() - before[name] for name, process in self.processes.items()})

    def forget_peaks(self) -> None:
        """Begin anew with the largest memory of each process."""
        for process in self.processes.values():
            process.forget_peak()

    def peaks(self) -> dict[str, int]:
        """Return the most memory that each process had, in bytes."""
        return {name: process.peak_bytes() for name, process in self.processes.items()}


@contextmanager
def our_path(name: str = OURS, *, sessions: int = 1, event_loop: str = "asyncio", site: str = "") -> Iterator[Path]:
    """A client, our relay and a daemon.

    Args:
        name: as the report shows it.
        sessions: of the client process with the daemon.
        event_loop: of client and daemon, "asyncio" or "uvloop".
        site: the folder where uvloop is installed.
    """
    issuer = Issuer()
    loop = {"loop": event_loop, "site": site}
    with ExitStack() as stack:
        relay = stack.enter_context(
            started("relay", "benches.relay_server", issuer.told(max_sessions_per_daemon=max(1000, sessions)))
        )
        common = {"url": f"ws://127.0.0.1:{relay.port}/", "daemon_id": _DAEMON, **loop}
        told: dict[str, Any] = common | {"token": issuer.daemon(_DAEMON)}
        daemon = stack.enter_context(started("daemon", "benches.peer_daemon", json.dumps(told)))
        told = common | {"tokens": [issuer.client(_DAEMON, number + 1) for number in range(sessions)]}
        client = stack.enter_context(started("client", "benches.peer_client", json.dumps(told)))
        yield Path(name, {"client": client, "relay": relay, "daemon": daemon})


@contextmanager
def bare_path(name: str = AIOHTTP, *, tls: bool = False, event_loop: str = "asyncio", site: str = "") -> Iterator[Path]:
    """Both ends over aiohttp and a bare aiohttp relay between them; encrypted on each hop if `tls`, else plain."""
    with ExitStack() as stack:
        told: dict[str, Any] = {"loop": event_loop, "site": site}
        certificate = ""
        if tls:
            folder = stack.enter_context(TemporaryDirectory(prefix="sideband-bench-"))
            certificate, told["ca"] = make_certificate(folder)
        relay = stack.enter_context(started("relay", "benches.rivals.aiohttp_relay", certificate))
        told["url"] = f"{'wss' if tls else 'ws'}://127.0.0.1:{relay.port}/?pair=1"
        ends = {
            role: stack.enter_context(
                started(role, "benches.rivals.aiohttp_stream", json.dumps({"role": role, **told}))
            )
            for role in ("daemon", "client")
        }
        yield Path(name, {"client": ends["client"], "relay": relay, "daemon": ends["daemon"]})


@contextmanager
def zmq_path(rivals: RivalsEnvironment, name: str = ZMQ) -> Iterator[Path]:
    """Both ends over pyzmq with CURVE, and nothing between them."""
    module = "benches.rivals.zmq_stream"
    with started("daemon", module, json.dumps({"role": "daemon"}), python=rivals.python) as daemon:
        told = {"role": "client", "url": f"tcp://127.0.0.1:{daemon.port}", **daemon.ask("key")}
        with started("client", module, json.dumps(told), python=rivals.python) as client:
            yield Path(name, {"client": client, "daemon": daemon})
