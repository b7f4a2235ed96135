"""An echo client on the endpoints' WebSocket code, for `make conformance`: talks to the suite's server at a port.

The endpoints take no text and say no more than what their peer asks for, so this is a client of its own. What it tests
is shared: the opening handshake, the input of the native core, the writer, and the closing handshake.
"""

import asyncio
import sys

import aiohttp
from yarl import URL

from sideband._native import frame_messages
from sideband.transport.upgrade import open_websocket
from sideband.transport.websocket_protocol import WebSocketProtocol

MAX_MESSAGE = 64 * 1024 * 1024
TEXT, BINARY = 1, 2
AGENT = "sideband"
START_SECONDS = 60


async def converse(url: URL, *, answer: bool) -> list[bytes]:
    """Send back what comes, if asked to, until the other side closes; return what came."""
    changed = asyncio.Event()
    async with aiohttp.ClientSession() as session:
        transport, behind = await open_websocket(session, url, headers={}, proxy=None, ssl_context=None)
        protocol = WebSocketProtocol(
            transport,
            is_client=True,
            max_message_bytes=MAX_MESSAGE,
            heartbeat_seconds=None,
            close_timeout_seconds=5,
            on_change=changed.set,
            text=True,
        )
        protocol.start(behind)
    came: list[bytes] = []
    while (batch := protocol.take()) is not None or protocol.code is None:
        if batch is None:
            await changed.wait()
            changed.clear()
            continue
        for place, message in enumerate(batch):
            if answer:
                opcode = TEXT if batch.is_text(place) else BINARY
                protocol.write(frame_messages((message,), masked=True, opcode=opcode).view())
            else:
                came.append(message)
    await protocol.gone.wait()
    return came


async def main(port: int) -> None:
    """Run all cases that the suite's server has, and have it write its report."""
    server = URL(f"ws://127.0.0.1:{port}/")
    for case in range(1, await _case_count(server) + 1):
        await converse((server / "runCase").with_query(case=case, agent=AGENT), answer=True)
    await converse((server / "updateReports").with_query(agent=AGENT), answer=False)


async def _case_count(server: URL) -> int:
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                (count,) = await converse(server / "getCaseCount", answer=False)
                return int(count)
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
