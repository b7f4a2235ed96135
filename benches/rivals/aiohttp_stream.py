"""Both ends of a stream as one would write it over aiohttp: WebSocket messages of 64 KiB, nothing but TCP to slow them.

The client tells the other end, in the first message, what it is about to do.
"""

import asyncio
import json
import os
import ssl
import time
from typing import Any

import aiohttp

from sideband.bench.commands import answer_commands, run_worker

__all__: list[str] = []

_PIECE_BYTES = 65_536


async def _main(told: dict[str, Any]) -> None:
    tls = ssl.create_default_context(cadata=told["ca"]) if "ca" in told else True
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(told["url"], compress=0, max_msg_size=1 << 20, ssl=tls) as websocket,
    ):
        if told["role"] == "client":
            await answer_commands({"move": lambda **what: _move(websocket, **what)})
        else:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_serve(websocket))
                await answer_commands({})
                await websocket.close()


async def _move(websocket: aiohttp.ClientWebSocketResponse[Any], size: int, up: bool) -> dict[str, Any]:
    began = time.perf_counter()
    await websocket.send_bytes(json.dumps({"size": size, "up": up}).encode())
    if up:
        await _send(websocket, size)
        # That everything was read.
        await websocket.receive_bytes()
    else:
        await _receive(websocket, size)
    return {"seconds": time.perf_counter() - began}


async def _serve(websocket: aiohttp.ClientWebSocketResponse[Any]) -> None:
    async for message in websocket:
        told = json.loads(message.data)
        if told["up"]:
            await _receive(websocket, told["size"])
            await websocket.send_bytes(b"read")
        else:
            await _send(websocket, told["size"])


async def _send(websocket: aiohttp.ClientWebSocketResponse[Any], size: int) -> None:
    piece = os.urandom(min(size, _PIECE_BYTES))
    for _ in range(size // len(piece)):
        await websocket.send_bytes(piece)
    if rest := size % len(piece):
        await websocket.send_bytes(piece[:rest])


async def _receive(websocket: aiohttp.ClientWebSocketResponse[Any], size: int) -> None:
    while size > 0:
        size -= len(await websocket.receive_bytes())


if __name__ == "__main__":
    run_worker(_main)
