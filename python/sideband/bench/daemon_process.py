"""A daemon as a process of its own: the first line of its input is JSON with its relay, its token and its limits."""

import asyncio
import gc
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from sideband.allocator import tune_allocator
from sideband.bench.commands import run_worker
from sideband.identity import generate_identity_key_pair
from sideband.peer import (
    ConnectionParams,
    ConnectionPolicy,
    Peer,
    PeerOptions,
    RetryPolicy,
    Stream,
    listen,
    relay_daemon_negotiator,
)
from sideband.secure_relay.limits import DaemonLimits
from sideband.transport import WebSocketTransport

__all__ = ["RETRY_SECONDS", "take", "write_all"]

RETRY_SECONDS = 0.05
PIECE_BYTES = 65_536
"""What is written at a time, and what the messages of rivals hold."""
_PIECE = os.urandom(PIECE_BYTES)  # made beforehand: for each stream it would cost more than sending it


async def write_all(stream: Stream, size: int) -> None:
    """Write so many bytes, in pieces."""
    for _ in range(size // PIECE_BYTES):
        await stream.write(_PIECE)
    if rest := size % PIECE_BYTES:
        await stream.write(_PIECE[:rest])


async def take(stream: Stream, size: int) -> None:
    """Read up to the end, which has to come after so many bytes."""
    taken = 0
    async for chunk in stream:
        taken += chunk.nbytes
    if taken != size:
        raise RuntimeError(f"{taken} bytes came instead of {size}")


def _serve(peer: Peer, files: Path) -> None:
    peer.rpc.handle("echo", lambda value: value)
    # Else collections would come when chance wants them, and their garbage would count as a session's.
    peer.rpc.handle("collect", lambda: gc.collect())
    peer.stream_handler("take", _take)
    peer.stream_handler("give", _give)
    peer.stream_handler("file", lambda stream: _receive_file(stream, files))


async def _take(stream: Stream) -> None:
    await take(stream, stream.metadata["size"])


async def _give(stream: Stream) -> None:
    # The other side's end says that its clock runs.
    await take(stream, 0)
    await write_all(stream, stream.metadata["size"])


async def _receive_file(stream: Stream, files: Path) -> None:
    await stream.receive_file(files / "received", resume=False, exists="replace")


async def _main(told: dict[str, Any]) -> None:
    logging.getLogger("sideband").setLevel(logging.ERROR)  # that it was cut off is the point
    headers = {"Authorization": f"Bearer {told['token']}"}
    negotiator = relay_daemon_negotiator(
        told["daemon_id"],
        generate_identity_key_pair(),
        get_connection_params=lambda: ConnectionParams(headers=headers),
        limits=DaemonLimits(sessions=100_000, half_open=10_000, handshakes_per_second=100_000),
    )
    options = PeerOptions(
        connection=ConnectionPolicy(on_disconnect="pause"),
        retry=RetryPolicy(mode="on-error", initial=RETRY_SECONDS, max=RETRY_SECONDS, jitter=0.0),
    )
    transport = WebSocketTransport(proxy="", close_timeout_seconds=1.0)
    serve = partial(_serve, files=Path(told.get("files", ".")))
    async with await listen(told["url"], serve, negotiator=negotiator, transport=transport, options=options):
        print(0, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    tune_allocator()  # as the commands do
    run_worker(_main)
