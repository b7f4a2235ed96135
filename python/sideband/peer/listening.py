"""Accepts peers: over a transport, or as a daemon through a relay."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import overload

from sideband.errors import ConfigError
from sideband.peer.acceptance import Acceptance, Acceptor, OnConnection
from sideband.peer.identity_token import IdentityVerifier, PeerIdentity
from sideband.peer.negotiator import Negotiator, sbp_negotiator
from sideband.peer.options import PeerOptions
from sideband.peer.relay_negotiators import RelayDaemonNegotiator
from sideband.peer.relay_server import RelayServer
from sideband.peer.server import Server
from sideband.peer.transport_server import TransportServer
from sideband.transport.base import Transport
from sideband.transport.websocket import WebSocketTransport

__all__ = ["listen"]

Authorize = Callable[[PeerIdentity | None], bool | Awaitable[bool]]


@overload
async def listen(
    endpoint: str,
    on_connection: OnConnection,
    *,
    negotiator: Negotiator | None = None,
    transport: Transport | None = None,
    options: PeerOptions | None = None,
    verify_identity: IdentityVerifier | None = None,
    authorize: Authorize | None = None,
) -> Server: ...


@overload
async def listen(
    endpoint: str | None,
    on_connection: OnConnection,
    *,
    negotiator: RelayDaemonNegotiator,
    transport: Transport | None = None,
    options: PeerOptions | None = None,
    verify_identity: IdentityVerifier | None = None,
    authorize: Authorize | None = None,
) -> RelayServer: ...


async def listen(
    endpoint: str | None,
    on_connection: OnConnection,
    *,
    negotiator: Negotiator | RelayDaemonNegotiator | None = None,
    transport: Transport | None = None,
    options: PeerOptions | None = None,
    verify_identity: IdentityVerifier | None = None,
    authorize: Authorize | None = None,
) -> Server:
    """Accept peers at an endpoint.

        async def on_connection(peer: Peer) -> None:
            peer.rpc.handle("greet", lambda name: f"Hello {name}")

        async with await listen("ws://127.0.0.1:0/", on_connection) as server:
            print(server.address)

    Args:
        endpoint: where to listen; port 0 takes a free one, which `Server.address` names. For a daemon: its relay's URL,
            or None when the connection parameters name it.
        on_connection: called with each peer, sync or async. What it registers before its first `await` is in place
            before anything of the other side is looked at. The peer lives on when it returns.
        negotiator: how a session is opened; plain SBP by default, which does not encrypt. With
            `relay_daemon_negotiator(...)` this connects out to a relay, and returns once the first connection stands.
        transport: what listens or connects; `WebSocketTransport` by default.
        options: what the peers are made with. For a daemon `options.retry` tells how it comes back to its relay, unless
            its mode is "never".
        verify_identity: verifies the identity token of a client; None ignores tokens.
        authorize: asked with the verified identity or None; anything but True refuses the client for good.

    Raises:
        TransportError: the endpoint cannot be bound, or the relay refused the daemon.
        ConfigError: there is no endpoint to listen at.
    """
    options = options or PeerOptions()
    acceptance = Acceptance(
        on_connection=on_connection, options=options, verify_identity=verify_identity, authorize=authorize
    )
    transport = transport or WebSocketTransport(heartbeat_seconds=options.heartbeat_seconds)
    if isinstance(negotiator, RelayDaemonNegotiator):
        daemon = RelayServer(endpoint, negotiator, transport, acceptance)
        await daemon.start()
        return daemon
    if endpoint is None:
        raise ConfigError("listen needs an endpoint, such as ws://127.0.0.1:0/")
    server = TransportServer(Acceptor(acceptance), negotiator or sbp_negotiator())
    await server.start(endpoint, transport)
    return server
