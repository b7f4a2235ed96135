"""A stream that is given up before the other side has even looked at it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sideband.peer import Peer
from sideband.peer.streams import Stream
from tests.peer.test_streams_plain import connected, exchange, serve
from tests.support.relay_harness import until


async def test_opened_and_reset_in_one_breath() -> None:
    """Open and reset arrive together; what else arrives with them is not lost."""
    held: list[Stream] = []
    ended: list[BaseException] = []

    async def hold(stream: Stream) -> None:
        held.append(stream)
        try:
            await stream.read()
        except BaseException as error:
            ended.append(error)
            raise

    def on_connection(peer: Peer) -> None:
        serve(peer)
        peer.stream_handler("hold", hold)

    async with connected(on_connection) as (peer, other):
        first = await peer.open_stream("hold")
        await until(lambda: held)
        opening = [asyncio.create_task(peer.open_stream("echo")) for _ in range(3)]
        await asyncio.sleep(0)  # they have begun, and nothing has left
        for task in opening:
            task.cancel()
        first.reset()
        for task in opening:
            with suppress(asyncio.CancelledError):
                await task
        await until(lambda: ended)
        assert await exchange(peer, b"and the session goes on") == b"and the session goes on"
        assert peer.ready
        assert other.ready
