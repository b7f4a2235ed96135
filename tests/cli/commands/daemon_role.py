"""A daemon for the tests of `connect` and `call`; each line of standard input makes a Quick Connect code."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from sideband import FileIdentity, Peer, cloud

HOSTILE = "\x1b]0;owned\x07\x9b2J\u202egpj"


def on_connection(peer: Peer) -> None:
    @peer.rpc.handle("greet")
    async def greet(name: str) -> str:
        """Say hello."""
        return f"Hello {name}"

    @peer.rpc.handle("add")
    async def add(first: int, second: int) -> int:
        return first + second

    @peer.rpc.handle("wait")
    async def wait(who: str) -> None:
        print("waiting", who, flush=True)
        await asyncio.get_running_loop().create_future()

    @peer.rpc.handle("steer")
    async def steer() -> dict[str, str]:
        return {HOSTILE: HOSTILE}

    @peer.rpc.handle("fail")
    async def fail() -> None:
        raise ValueError(HOSTILE)

    @peer.rpc.handle("bytes")
    async def some_bytes() -> bytes:
        return b"\x00\xff"

    @peer.rpc.handle("tell")
    async def tell(name: str, value: object) -> None:
        peer.events.emit(name, value)

    @peer.rpc.handle("leave")
    async def leave() -> None:
        asyncio.get_running_loop().call_soon(asyncio.ensure_future, peer.disconnect())


async def main() -> None:
    folder = Path(os.environ["SIDEBAND_HOME"])
    async with await cloud.listen(
        api_key=(folder / "api-key").read_text().strip(),
        identity_key_pair=FileIdentity(folder / "identity.json"),
        on_connection=on_connection,
    ) as server:
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print("code", (await server.create_quick_connect()).code, flush=True)


asyncio.run(main())
