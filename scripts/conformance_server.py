"""An echo server on the relay's WebSocket code, for `make conformance`: prints its port, ends with its input.

The relay itself takes no text and only SBRP frames, so the suite talks to this. What it tests is shared: the opening
handshake, the receiver of the native core, and the outgoing queue.
"""

import asyncio
import sys

from aiohttp import web
from typing_extensions import override

from sideband._native import WebSocketReceiver
from sideband.relay.outlet import Outlet, close_frame, pong_frame, wire_header
from sideband.transport.upgrade import TakenOver, handshake_fault, take_over

MAX_MESSAGE = 64 * 1024 * 1024
WEBSOCKET_PING, CLOSE, VIOLATION, MESSAGE = 5, 6, 7, 8


class Echo(asyncio.BufferedProtocol):
    """Sends back what it gets."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._buffer = bytearray(256 * 1024)
        self._receiver = WebSocketReceiver(max_message=MAX_MESSAGE)
        self._outlet = Outlet(
            transport,
            window_bytes=64 * 1024,
            bound_bytes=2 * MAX_MESSAGE,
            resume_bytes=MAX_MESSAGE,
            hard_limit_bytes=4 * MAX_MESSAGE,
            on_overflow=transport.abort,
            on_bound=lambda _over: None,
        )
        transport.set_protocol(self)

    def handle(self, buffer: bytearray, size: int) -> None:
        """Answer what came."""
        while (event := self._receiver.next(buffer, size)) is not None:
            kind, number, _, length, value = event
            if kind == MESSAGE:
                self._outlet.put_wire(wire_header(0x81 if number else 0x82, length) + value)
            elif kind == WEBSOCKET_PING:
                self._outlet.put_wire_first(pong_frame(value))
            elif kind in (CLOSE, VIOLATION):
                self._outlet.seal(close_frame(number or 1000))
                if kind == CLOSE:
                    self._transport.close()
                else:
                    self._transport.write_eof()

    @override
    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self.handle(self._buffer, nbytes)

    @override
    def pause_writing(self) -> None:
        self._outlet.pause()

    @override
    def resume_writing(self) -> None:
        self._outlet.resume()


async def serve(request: web.Request) -> web.StreamResponse:
    """Take a connection over and echo."""
    fault = handshake_fault(request)
    if fault is not None:
        return web.Response(status=400, text=fault)
    transport, behind = take_over(request)
    Echo(transport).handle(bytearray(behind), len(behind))
    return TakenOver()


async def main() -> None:
    """Listen on loopback until the input ends."""
    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
