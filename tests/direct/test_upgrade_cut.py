"""A channel that is cut after each of its messages, from the dial to the first records: over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from sideband import direct
from sideband.errors import PeerError
from sideband.peer import Peer, PeerOptions
from tests.support.relay_harness import PAUSE, QUICK, CuttingProxy, World, until

HANDSHAKE, RECORDS = 3, 4
"""Messages of a handshake, and records that may pass after it."""


class MessageCutter(CuttingProxy):
    """Cuts everything, for good, once so many messages have passed, of both directions together."""

    def __init__(self, port: int, messages: int) -> None:
        super().__init__(port)
        self._left = messages
        self.refusing = messages <= 0
        self.done = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            self.done.set()
        await super()._serve(reader, writer)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not self.refusing:
                size = await reader.readexactly(4)
                writer.write(size + await reader.readexactly(int.from_bytes(size, "big")))
                await writer.drain()
                self._left -= 1
                if self._left <= 0:
                    self.refusing = True
                    self.done.set()
                    self.cut()
        writer.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def options(name: str, **policy: Any) -> PeerOptions:
    made = direct.DirectPolicy(transports=("tcp",), loopback=True, host_candidates=False, **policy)
    return PeerOptions(peer_id=name, connection=PAUSE, retry=QUICK, upgrade=direct.upgrades(made))


@pytest.mark.parametrize("messages", range(HANDSHAKE + RECORDS))
@pytest.mark.parametrize("dialler", ["client", "daemon"])
async def test_a_channel_cut_after_each_message_leaves_a_whole_session(
    world: World, messages: int, dialler: str
) -> None:
    port = free_port()
    seen: list[int] = []
    served: list[Peer] = []

    def serve(peer: Peer) -> None:
        served.append(peer)
        peer.rpc.handle("echo", lambda value: value)
        peer.events.on("tick", lambda event: seen.append(getattr(event, "data", event)))

    async with MessageCutter(port, messages) as between:
        listens = {"addresses": (f"tcp://127.0.0.1:{between.port}",), "ports": {"tcp": port}}
        client, daemon = ({}, listens) if dialler == "client" else (listens, {})
        await world.daemon(serve, options=options("daemon", timeout=0.5, **daemon))
        lost: list[object] = []
        async with world.client(options=options("client", timeout=0.5, **client)) as peer:
            peer.on("disconnected", lost.append)
            ticks = 0
            while not between.done.is_set():
                peer.events.emit("tick", ticks)
                ticks += 1
                # Once the relay has been left, a call may fail with the channel: the event is told a turn later.
                with contextlib.suppress(PeerError) if messages > HANDSHAKE else contextlib.nullcontext():
                    assert await peer.rpc.call("echo", ticks) == ticks
            if messages <= HANDSHAKE:
                # The relay is open: nobody hears of the attempt.
                assert await peer.rpc.call("echo", "after") == "after"
                await until(lambda: len(seen) == ticks)
                assert seen == list(range(ticks))
                assert not lost
                assert len(served) == 1
            else:
                await peer.when_ready()
            assert len(set(seen)) == len(seen)
            assert seen == sorted(seen)
            assert await peer.rpc.call("echo", "end") == "end"
