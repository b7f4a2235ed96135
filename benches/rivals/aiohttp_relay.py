"""A bare relay as one would write it over aiohttp: no tokens, no checks, no limits; what comes goes to the other side.

The two sides of a pair connect to `/?pair=NAME`; what comes before the second one is there waits. The first line of its
input is empty, or the file with a certificate and its key: then both sides connect by TLS.
"""

import asyncio
import ssl
import sys
from collections import defaultdict

from aiohttp import WSMsgType, web

from sideband.bench.processes import serve_until_stdin_closes

__all__: list[str] = []


class Pair:
    """Two WebSockets that get what the other one sends."""

    def __init__(self) -> None:
        self.sides: list[web.WebSocketResponse] = []
        self.complete = asyncio.Event()


def _app() -> web.Application:
    pairs: defaultdict[str, Pair] = defaultdict(Pair)

    async def serve(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(compress=False, max_msg_size=1 << 20)
        await websocket.prepare(request)
        pair = pairs[request.query["pair"]]
        pair.sides.append(websocket)
        if len(pair.sides) == 2:
            pair.complete.set()
        await pair.complete.wait()
        other = pair.sides[1] if pair.sides[0] is websocket else pair.sides[0]
        async for message in websocket:
            if message.type is WSMsgType.BINARY:
                await other.send_bytes(message.data)
        pairs.pop(request.query["pair"], None)
        await other.close()
        return websocket

    app = web.Application()
    app.router.add_get("/", serve)
    return app


def _tls() -> ssl.SSLContext | None:
    file = sys.stdin.readline().strip()
    if not file:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


if __name__ == "__main__":
    asyncio.run(serve_until_stdin_closes(web.AppRunner(_app(), access_log=None, shutdown_timeout=1), _tls()))
