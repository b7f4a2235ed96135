"""Accepts peers over a transport."""

from __future__ import annotations

import asyncio
import logging

from typing_extensions import override

from sideband.errors import PeerError, SidebandError
from sideband.peer.acceptance import Acceptor
from sideband.peer.link import Link
from sideband.peer.negotiator import Negotiator
from sideband.peer.peer import Peer
from sideband.peer.pump import run_session
from sideband.peer.server import Server
from sideband.transport.base import Connection, Listener, Transport

__all__ = ["TransportServer"]

_log = logging.getLogger("sideband.peer")


class TransportServer(Server):
    """A listening endpoint of a transport, one connection for each peer.

    Args:
        acceptor: makes peers of sessions.
        negotiator: opens a session on a connection.
    """

    def __init__(self, acceptor: Acceptor, negotiator: Negotiator) -> None:
        self._acceptor = acceptor
        self._negotiator = negotiator
        self._listener: Listener | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._negotiating: set[asyncio.Task[Link]] = set()
        self._closing = False

    @property
    @override
    def address(self) -> str:
        return "" if self._listener is None else self._listener.address

    @property
    @override
    def connections(self) -> tuple[Peer, ...]:
        return self._acceptor.connections

    @override
    async def close(self) -> None:
        self._closing = True
        self._acceptor.close()
        for negotiating in self._negotiating:
            negotiating.cancel()  # a stranger, or somebody who is asked about one, would be waited for
        if self._serving:
            await asyncio.wait(set(self._serving))
        if self._listener is not None:
            await self._listener.close()
        await self._acceptor.finish()

    async def start(self, endpoint: str, transport: Transport) -> None:
        """Begin to accept.

        Raises:
            TransportError: the endpoint cannot be bound.
        """
        self._listener = await transport.listen(endpoint, self._serve)

    async def _serve(self, connection: Connection) -> None:
        task = asyncio.current_task()
        if self._closing or task is None:
            return
        self._serving.add(task)
        try:
            try:
                link = await self._negotiate(connection)
            except SidebandError as error:
                _log.info("a connection was refused: %s", error)
                return
            except asyncio.CancelledError:
                if task.cancelling():
                    raise
                return
            wake = asyncio.Event()
            session = self._acceptor.open(link.info, wake.set)
            try:
                await run_session(link, session, wake)
            except asyncio.CancelledError:
                await self._acceptor.ended(session, PeerError("cancelled", "the listener stopped"))
                raise
            except Exception as error:  # noqa: BLE001  (whatever ends a session ends this peer only, and is told to it)
                await self._acceptor.ended(session, error)
        finally:
            self._serving.discard(task)
            await self._negotiator.terminate(connection)

    async def _negotiate(self, connection: Connection) -> Link:
        negotiating = asyncio.create_task(self._negotiator.negotiate(connection), name="sideband negotiation")
        self._negotiating.add(negotiating)
        try:
            return await negotiating
        finally:
            self._negotiating.discard(negotiating)
