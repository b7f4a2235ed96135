"""Messages that come whatever is in the way: a WebSocket at first, events when upgrades are blocked, polls at last.

It runs an inbox and a front before it on this machine, and blocks one way after the other, as a network might.

    python examples/inbox_failover.py
"""

import asyncio
from functools import partial

import aiohttp
from aiohttp import web

from sideband import generate_identity_key_pair
from sideband.inbox import (
    FallbackBridgeTransport,
    InboxClient,
    InboxOrigin,
    LongPollBridge,
    SseBridge,
    WsBridge,
    create_inbox_app,
    open_inbox_store,
)

BLOCKED: set[str] = set()


async def main() -> None:
    bob, alice = generate_identity_key_pair(), generate_identity_key_pair()
    store = await open_inbox_store("memory:")
    inbox = await serve(create_inbox_app(store))
    front = web.Application()
    front.router.add_route("*", "/{path:.*}", partial(forward, inbox[1]))
    network = await serve(front)
    async with InboxClient(inbox[1], bob) as owner:
        await owner.register("bob")
    cursor = 0
    async with InboxClient(inbox[1], alice) as sender:
        for blocked in ((), ("ws",), ("ws", "stream")):
            BLOCKED.update(blocked)
            origin = InboxOrigin(network[1], "bob", bob)
            ways = [kind(origin, start_cursor=cursor) for kind in (WsBridge, SseBridge, LongPollBridge)]
            bridge = FallbackBridgeTransport(ways)
            await sender.put("bob", f"put while {' and '.join(blocked) or 'nothing'} was blocked".encode())
            async for message in bridge:
                print(f"{bridge.active_kind:9}  {message.bytes.decode()}", flush=True)
                cursor = message.received_at
                break
    for runner, _ in (network, inbox):
        await runner.cleanup()
    await store.close()


async def forward(target: str, request: web.Request) -> web.StreamResponse:
    if request.path.rpartition("/")[2] in BLOCKED:
        return web.Response(status=502, text="bad gateway")
    if "Upgrade" in request.headers:
        upstream, downstream = aiohttp.ClientSession(), web.WebSocketResponse()
        await downstream.prepare(request)
        async with upstream, upstream.ws_connect(target + request.path_qs) as socket:
            async for message in socket:
                await downstream.send_str(message.data)
        return downstream
    async with aiohttp.ClientSession() as http, http.get(target + request.path_qs) as answer:
        response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        return response


async def serve(app: web.Application) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


asyncio.run(main())
