"""A client as a process of its own: the first line of its input is JSON with its relay, daemon and tokens."""

import asyncio
import os
import time
from typing import Any

from sideband.allocator import tune_allocator
from sideband.bench.commands import answer_commands, run_worker
from sideband.bench.daemon_process import take, write_all
from sideband.identity import IdentityTrust, MemoryIdentityKeyStore
from sideband.peer import ConnectionParams, ConnectionPolicy, Peer, Stream, create_peer, relay_client_negotiator
from sideband.transport import WebSocketTransport

__all__: list[str] = []

_CONNECTING = 25
"""Peers that connect at a time."""
_CALL_BYTES = 256


async def _main(told: dict[str, Any]) -> None:
    store = MemoryIdentityKeyStore()
    peers = [_peer(told, token, session_id, store) for session_id, token in enumerate(told["tokens"], 1)]
    # The first one alone: it pins the daemon's key.
    await peers[0].connect()
    for start in range(1, len(peers), _CONNECTING):
        await asyncio.gather(*(peer.connect() for peer in peers[start : start + _CONNECTING]))

    async def move(size: int, up: bool, streams: int = 1, sessions: int = 1) -> dict[str, Any]:
        """Move `size` bytes over each of so many streams of each of so many sessions."""
        opened = [
            await peer.open_stream("take" if up else "give", {"size": size})
            for peer in peers[:sessions]
            for _ in range(streams)
        ]
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for stream in opened:
                tasks.create_task(_send(stream, size) if up else _receive(stream, size))
        return {"seconds": time.perf_counter() - began}

    async def call(calls: int = 0, beside: int = 0, up: bool = True) -> dict[str, Any]:
        """Time calls one after the other: so many, or as long as a stream of `beside` bytes lasts on the session."""
        message = os.urandom(_CALL_BYTES)
        seconds: list[float] = []
        moving = asyncio.create_task(move(beside, up)) if beside else None
        while len(seconds) < calls if moving is None else not moving.done():
            began = time.perf_counter()
            await peers[0].rpc.call("echo", message)
            seconds.append(time.perf_counter() - began)
        return {"calls": seconds, "seconds": 0.0 if moving is None else (await moving)["seconds"]}

    async def send_file(path: str) -> dict[str, Any]:
        """Send a file, which the daemon keeps under the name `received`."""
        began = time.perf_counter()
        stream = await peers[0].open_stream("file")
        await stream.send_file(path)
        return {"seconds": time.perf_counter() - began}

    await answer_commands({"move": move, "call": call, "send_file": send_file})
    await asyncio.gather(*(peer.disconnect() for peer in peers))


def _peer(told: dict[str, Any], token: str, session_id: int, store: MemoryIdentityKeyStore) -> Peer:
    headers = {"Authorization": f"Bearer {token}"}
    return create_peer(
        told["url"],
        negotiator=relay_client_negotiator(
            told["daemon_id"],
            trust=IdentityTrust(store, "accept-new"),
            get_connection_params=lambda: ConnectionParams(headers=headers, session_id=session_id),
        ),
        transport=WebSocketTransport(proxy="", close_timeout_seconds=1.0),
        connection=ConnectionPolicy(on_disconnect="pause"),
    )


async def _send(stream: Stream, size: int) -> None:
    await write_all(stream, size)
    await stream.end()


async def _receive(stream: Stream, size: int) -> None:
    await stream.end(wait=False)
    await take(stream, size)


if __name__ == "__main__":
    tune_allocator()  # as the commands do
    run_worker(_main)
