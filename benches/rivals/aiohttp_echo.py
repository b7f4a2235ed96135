"""The far end of a bare path: connects to the forwarder that its first line names, and echoes every message."""

import asyncio
import sys

import aiohttp

__all__: list[str] = []


async def _main() -> None:
    url = sys.stdin.readline().strip()
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, compress=0, max_msg_size=1 << 20) as websocket,
    ):
        print(0, flush=True)
        async for message in websocket:
            if message.type is aiohttp.WSMsgType.BINARY:
                await websocket.send_bytes(message.data)


if __name__ == "__main__":
    asyncio.run(_main())
