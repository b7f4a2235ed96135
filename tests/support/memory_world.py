"""Peers over a transport in memory, whose sessions can be paused, cut and watched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from sideband.peer.create import create_peer
from sideband.peer.link import Link, LinkInfo, LinkSignal, PlainLink
from sideband.peer.listening import listen
from sideband.peer.negotiator import Negotiator
from sideband.peer.options import PeerOptions
from sideband.peer.peer import Peer
from sideband.peer.server import Server
from sideband.transport import Connection, MemoryTransport
from tests.support.manual_clock import ManualClock, settle

ENDPOINT = "memory://peers"


class PausingLink(Link):
    """Plain SBP with the pauses of a relay: frames on their way at the cut are lost."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.paused = False
        self._plain = PlainLink(connection)
        self._news: asyncio.Queue[LinkSignal] = asyncio.Queue()
        self._reading: asyncio.Task[Sequence[bytes]] | None = None

    @property
    def info(self) -> LinkInfo:
        return LinkInfo(max_frame_payload=65_508, resumable=True, path="relay")

    async def receive(self) -> Sequence[bytes] | LinkSignal:
        telling = asyncio.create_task(self._news.get())
        try:
            while True:
                if self._reading is None:
                    self._reading = asyncio.create_task(self._plain.receive())
                await asyncio.wait((telling, self._reading), return_when=asyncio.FIRST_COMPLETED)
                if telling.done():
                    return telling.result()
                reading, self._reading = self._reading, None
                if not self.paused:
                    return reading.result()
                reading.result()
        finally:
            telling.cancel()

    async def send(self, frames: Sequence[bytes]) -> None:
        if not self.paused:
            await self._plain.send(frames)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def tell(self, signal: LinkSignal) -> None:
        if signal is not LinkSignal.PENDING:
            self.paused = signal is LinkSignal.PAUSED
        self._news.put_nowait(signal)


class PausingNegotiator(Negotiator):
    def __init__(self) -> None:
        self.links: list[PausingLink] = []
        self.terminated: list[Connection] = []

    async def negotiate(self, connection: Connection) -> Link:
        link = PausingLink(connection)
        self.links.append(link)
        return link

    async def terminate(self, connection: Connection) -> None:
        self.terminated.append(connection)
        for link in self.links:
            if link.connection is connection:
                await link.close()
        await connection.close()


class MemoryWorld:
    """A server and a client; time stands still unless it is moved."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.transport = MemoryTransport()
        self.near = PausingNegotiator()
        self.far = PausingNegotiator()
        self.unhandled: list[BaseException] = []
        self.server: Server
        self.peers: list[Peer] = []
        self._stack = AsyncExitStack()

    def options(self, **more: Any) -> PeerOptions:
        base = PeerOptions(clock=self.clock, random=lambda: 0.5, on_unhandled_error=self.unhandled.append)
        return replace(base, **more)

    async def listen(self, on_connection: Callable[[Peer], Any] = lambda _: None, **more: Any) -> Server:
        options = more.pop("options", None) or self.options(peer_id="server")

        def introduce(peer: Peer) -> Any:
            self.peers.append(peer)
            return on_connection(peer)

        self.server = await listen(
            ENDPOINT, introduce, transport=self.transport, negotiator=self.far, options=options, **more
        )
        self._stack.push_async_callback(self.server.close)
        return self.server

    def client(self, **more: Any) -> Peer:
        options = more.pop("options", None) or self.options(**more)
        peer = create_peer(ENDPOINT, transport=self.transport, negotiator=self.near, options=options)
        self._stack.push_async_callback(peer.disconnect)
        return peer

    async def pause(self) -> None:
        """Cut what lies between: what is on its way is lost, and both ends learn of it."""
        self.near.links[-1].tell(LinkSignal.PAUSED)
        self.far.links[-1].tell(LinkSignal.PAUSED)
        await settle()

    async def resume(self) -> None:
        self.far.links[-1].tell(LinkSignal.RESUMED)
        self.near.links[-1].tell(LinkSignal.PENDING)
        self.near.links[-1].tell(LinkSignal.RESUMED)
        await settle()

    async def cut(self) -> None:
        """Lose the client's connection."""
        self.near.links[-1].connection.abort()  # type: ignore[attr-defined]  # connections in memory can be aborted
        await settle()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        await settle()
