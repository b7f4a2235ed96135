"""An inbox as a process: reads where its store is, fills one address if told to, prints its port.

Without a store it is the bare rival: what is posted to it is pushed to who listens, as a WebSocket message and as an
event, kept nowhere and signed by nobody.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from aiohttp import web

from sideband._native import IdentityKeyPair
from sideband.bench.processes import serve_until_stdin_closes
from sideband.inbox.app import create_inbox_app
from sideband.inbox.config import InboxConfig, RateLimit
from sideband.inbox.store import InboxStore, NewBlob, Quotas, message_id, open_inbox_store

__all__ = ["OWNER"]

OWNER = IdentityKeyPair.from_private_bytes(bytes(range(32)))
"""Who owns `bob` in a store that was filled."""

_FREELY = RateLimit(burst=10**9, per_second=10**9)
_LIMITS = InboxConfig(
    blobs_per_address=10**6,
    bytes_per_address=2**40,
    blobs_per_sender=10**6,
    max_bridges=20_000,
    max_bridges_per_address=20_000,
    limits_by_client=False,
    put_rate=_FREELY,
    fetch_rate=_FREELY,
    delete_rate=_FREELY,
    register_rate=_FREELY,
    connect_rate=_FREELY,
    poll_rate=_FREELY,
)


async def _main() -> None:
    told = json.loads(sys.stdin.readline())
    if told["store"] is None:
        await serve_until_stdin_closes(web.AppRunner(_bare(), access_log=None))
        return
    store = await open_inbox_store(told["store"])
    try:
        if told["filled"]:
            await _fill(store, told["filled"], told["size"])
        await serve_until_stdin_closes(web.AppRunner(create_inbox_app(store, _LIMITS), access_log=None))
    finally:
        await store.close()


async def _fill(store: InboxStore, count: int, size: int) -> None:
    now = int(time.time() * 1000)
    await store.register("bob", OWNER.public_key, envelope_key=None, signed_at=now, limit=10)
    quotas = Quotas(10**6, 2**40, 10**6)

    async def put(number: int) -> None:
        content = number.to_bytes(8, "big") + bytes(size - 8)
        # A sender each: counting one sender's blobs is no part of what is measured.
        blob = NewBlob("bob", message_id(content), content, number.to_bytes(32, "big"), now + 86_400_000)
        await store.put(blob, quotas, now)

    for first in range(0, count, 500):
        async with asyncio.TaskGroup() as tasks:
            for number in range(first, min(count, first + 500)):
                tasks.create_task(put(number))


def _bare() -> web.Application:
    # The newest listener alone: those before it have hung up.
    listener: list[web.WebSocketResponse | web.StreamResponse] = []

    async def post(request: web.Request) -> web.Response:
        body = await request.read()
        target = listener[-1]
        if isinstance(target, web.WebSocketResponse):
            await target.send_str(body.decode())
        else:
            await target.write(b"event: envelope\ndata: " + body + b"\n\n")
        return web.json_response({"ok": True})

    async def ws(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        listener[:] = [socket]
        async for _ in socket:
            pass
        return socket

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        listener[:] = [response]
        await response.write(b":\n\n")
        await asyncio.get_running_loop().create_future()
        return response

    app = web.Application()
    app.add_routes([web.put("/put", post), web.get("/ws", ws), web.get("/stream", stream)])
    return app


if __name__ == "__main__":
    asyncio.run(_main())
