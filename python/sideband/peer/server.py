"""Accepts peers over a transport (docs/protocol/peer.md, "Server side")."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from sideband.errors import PeerError
from sideband.peer.acceptance import Acceptance, Acceptor, OnConnection
from sideband.peer.identity_token import IdentityVerifier, PeerIdentity
from sideband.peer.negotiator import Negotiator, sbp_negotiator
from sideband.peer.options import PeerOptions
from sideband.peer.peer import Peer
from sideband.peer.pump import run_session
from sideband.transport.base import Connection, Listener, Transport
from sideband.transport.websocket import WebSocketTransport

__all__ = ["Server", "listen"]


class Server:
    """A listening endpoint and the peers that it accepted. `listen` makes one."""

    def __init__(self, acceptor: Acceptor, negotiator: Negotiator) -> None:
        self._acceptor = acceptor
        self._negotiator = negotiator
        self._listener: Listener | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def address(self) -> str:
        """The endpoint to connect to, with the real port."""
        return "" if self._listener is None else self._listener.address

    @property
    def connections(self) -> tuple[Peer, ...]:
        """The peers that are active or paused, oldest first."""
        return self._acceptor.connections

    async def close(self) -> None:
        """Stop accepting, tell every peer that it may try again elsewhere or later, and wait for them. Idempotent."""
        self._closing = True
        self._acceptor.close()
        if self._serving:
            await asyncio.wait(set(self._serving))
        if self._listener is not None:
            await self._listener.close()
        await self._acceptor.finish()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self, endpoint: str, transport: Transport) -> None:
        """Begin to accept; `listen` has done it."""
        self._listener = await transport.listen(endpoint, self._serve)

    async def _serve(self, connection: Connection) -> None:
        task = asyncio.current_task()
        if self._closing or task is None:
            return
        self._serving.add(task)
        try:
            link = await self._negotiator.negotiate(connection)
            wake = asyncio.Event()
            session = self._acceptor.open(link, wake.set)
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


async def listen(
    endpoint: str,
    on_connection: OnConnection,
    *,
    negotiator: Negotiator | None = None,
    transport: Transport | None = None,
    options: PeerOptions | None = None,
    verify_identity: IdentityVerifier | None = None,
    authorize: Callable[[PeerIdentity | None], bool | Awaitable[bool]] | None = None,
) -> Server:
    """Accept peers at an endpoint.

        async def on_connection(peer: Peer) -> None:
            peer.rpc.handle("greet", lambda name: f"Hello {name}")

        async with await listen("ws://127.0.0.1:0/", on_connection) as server:
            print(server.address)

    Args:
        endpoint: where to listen; port 0 takes a free one, which `Server.address` names.
        on_connection: called with each peer, sync or async. What it registers before its first `await` is in place
            before anything of the other side is looked at. The peer lives on when it returns.
        negotiator: how a session is opened; plain SBP by default, which does not encrypt.
        transport: what listens; `WebSocketTransport()` by default.
        options: what the peers are made with.
        verify_identity: verifies the identity token of a client; None ignores tokens.
        authorize: asked with the verified identity or None; anything but True refuses the client for good.

    Raises:
        TransportError: the endpoint cannot be bound.
    """
    acceptance = Acceptance(
        on_connection=on_connection,
        options=options or PeerOptions(),
        verify_identity=verify_identity,
        authorize=authorize,
    )
    server = Server(Acceptor(acceptance), negotiator or sbp_negotiator())
    await server.start(endpoint, transport or WebSocketTransport())
    return server
