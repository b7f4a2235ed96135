"""Makes a peer that connects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sideband.errors import ConfigError
from sideband.peer.dialer import Dialer
from sideband.peer.negotiator import Negotiator, sbp_negotiator
from sideband.peer.options import PeerOptions, log_unhandled
from sideband.peer.peer import Peer
from sideband.peer.policies import ConnectionPolicy, EventPolicy, RetryPolicy, RpcPolicy
from sideband.transport.base import Transport
from sideband.transport.websocket import WebSocketTransport

__all__ = ["create_peer"]


def create_peer(
    endpoint: str | None = None,
    *,
    negotiator: Negotiator | None = None,
    transport: Transport | None = None,
    peer_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    connection: ConnectionPolicy | None = None,
    rpc: RpcPolicy | None = None,
    events: EventPolicy | None = None,
    retry: RetryPolicy | None = None,
    on_unhandled_error: Callable[[BaseException], None] = log_unhandled,
    options: PeerOptions | None = None,
) -> Peer:
    """Return an idle peer. `async with` it, or `await peer.connect()`.

        async with create_peer("ws://127.0.0.1:8080/") as peer:
            print(await peer.rpc.call("greet", "Ada"))

    Args:
        endpoint: where to connect; may be left out when the negotiator's connection parameters name it.
        negotiator: how a session is opened; plain SBP by default, which does not encrypt.
        transport: what connects; `WebSocketTransport()` by default.
        peer_id: what this side calls itself, at most 255 bytes; random by default.
        metadata: JSON values under `vendor:key`, told to the other side.
        connection: what a cut does to calls; "fail" by default.
        rpc: limits of calls.
        events: limits of events.
        retry: whether to try again; "never" by default.
        on_unhandled_error: told what a handler of an event raised; by default it is logged.
        options: all of this and more in one object, in place of the arguments after `transport`.

    Raises:
        ConfigError: both `options` and one of the arguments it replaces were given.
    """
    given = {
        "peer_id": peer_id,
        "metadata": metadata,
        "connection": connection,
        "rpc": rpc,
        "events": events,
        "retry": retry,
        "on_unhandled_error": None if on_unhandled_error is log_unhandled else on_unhandled_error,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    if options is None:
        options = PeerOptions(**settings)  # type: ignore[arg-type]  # each value was typed as its parameter
    elif settings:
        raise ConfigError(f"options was given together with {', '.join(settings)}; set them in one place")
    dialer = Dialer(
        endpoint,
        transport or WebSocketTransport(heartbeat_seconds=options.heartbeat_seconds),
        negotiator or sbp_negotiator(),
        options,
    )
    return Peer(options, dialer)
