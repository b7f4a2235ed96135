"""The ways by which rivals bring the same bytes from one process to another."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from benches.certificate import make_certificate
from benches.rivals_environment import RivalsEnvironment
from sideband.bench.processes import started
from sideband.bench.stream_path import Path

__all__ = ["AIOHTTP", "WSS", "ZMQ", "bare_path", "zmq_path"]

AIOHTTP, WSS = "bare aiohttp, plain", "bare aiohttp, TLS on both hops"
ZMQ = "pyzmq with CURVE, direct"
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "67108864", "MALLOC_TOP_PAD_": "4194304", "MALLOC_MMAP_THRESHOLD_": "33554432"}


@contextmanager
def bare_path(
    name: str = AIOHTTP, *, tls: bool = False, tuned: bool = False, event_loop: str = "asyncio", site: str = ""
) -> Iterator[Path]:
    """Both ends over aiohttp and a bare aiohttp relay between them.

    Args:
        name: as the report shows it.
        tls: encrypt each hop; else it is plain.
        tuned: set the allocator as our own processes do (`sideband.tune_allocator`).
        event_loop: of the ends, "asyncio" or "uvloop".
        site: the folder where uvloop is installed.
    """
    environment = _ALLOCATOR if tuned else {}
    with ExitStack() as stack:
        told: dict[str, Any] = {"loop": event_loop, "site": site}
        certificate = ""
        if tls:
            folder = stack.enter_context(TemporaryDirectory(prefix="sideband-bench-"))
            certificate, told["ca"] = make_certificate(folder)
        relay = stack.enter_context(
            started("relay", "benches.rivals.aiohttp_relay", certificate, environment=environment)
        )
        told["url"] = f"{'wss' if tls else 'ws'}://127.0.0.1:{relay.port}/?pair=1"
        ends = {
            role: stack.enter_context(
                started(
                    role, "benches.rivals.aiohttp_stream", json.dumps({"role": role, **told}), environment=environment
                )
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
