"""A bare relay over picows, whose WebSocket code is Cython: no tokens, no checks, no limits, no queue of its own."""

import asyncio
import sys

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

__all__: list[str] = []

_waiting: dict[bytes, "Side"] = {}


class Side(WSListener):
    """One of a pair; gives what it gets to the other."""

    def __init__(self, name: bytes) -> None:
        super().__init__()
        self.name = name
        self.transport: WSTransport | None = None
        self.other: Side | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Find the other side, or wait for it."""
        self.transport = transport
        self.other = _waiting.pop(self.name, None)
        if self.other is None:
            _waiting[self.name] = self
        else:
            self.other.other = self

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Pass a message on."""
        if frame.msg_type != WSMsgType.BINARY:
            transport.disconnect()
        elif self.other is not None and self.other.transport is not None:
            self.other.transport.send(WSMsgType.BINARY, frame.get_payload_as_memoryview())


def _listener(request: WSUpgradeRequest) -> Side:
    return Side(request.path)


async def _main() -> None:
    server = await ws_create_server(_listener, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_main())
