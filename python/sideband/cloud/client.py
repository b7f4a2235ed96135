"""Connects to a daemon by way of the control plane (docs/guide/cloud.md)."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sideband.cloud.api import ControlPlane
from sideband.cloud.defaults import default_home
from sideband.cloud.sessions import (
    AccountSessions,
    CloudNegotiator,
    GetAccessToken,
    QuickConnectSession,
    SessionSource,
)
from sideband.control.ids import format_code, normalize_code
from sideband.daemon_id import check_daemon_id
from sideband.errors import ConfigError
from sideband.identity import FileIdentityKeyStore, IdentityKeyStore, IdentityTrust, TrustPolicy, follow_statements
from sideband.peer.create import create_peer
from sideband.peer.options import PeerOptions, log_unhandled
from sideband.peer.peer import Peer
from sideband.peer.policies import ConnectionPolicy, EventPolicy, RetryPolicy, RpcPolicy
from sideband.transport.base import Transport
from sideband.transport.websocket import WebSocketTransport

__all__ = ["connect"]


def connect(
    *,
    daemon_id: str | None = None,
    get_access_token: GetAccessToken | None = None,
    quick_connect_code: str | None = None,
    api_url: str | None = None,
    identity_key_store: IdentityKeyStore | None = None,
    trust_policy: TrustPolicy = "accept-new",
    on_first_connection: Callable[[str], bool | Awaitable[bool]] | None = None,
    on_identity_mismatch: Callable[[str, str], bool | Awaitable[bool]] | None = None,
    connection: ConnectionPolicy | None = None,
    rpc: RpcPolicy | None = None,
    events: EventPolicy | None = None,
    retry: RetryPolicy | None = None,
    on_unhandled_error: Callable[[BaseException], None] = log_unhandled,
    peer_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    transport: Transport | None = None,
    ssl_context: ssl.SSLContext | None = None,
    options: PeerOptions | None = None,
) -> Peer:
    """Return a peer that has begun to connect to a daemon. Register handlers, then `async with` it.

        async with sideband.cloud.connect(daemon_id="d_...", get_access_token=lambda: token) as peer:
            print(await peer.rpc.call("greet", "Ada"))

        async with sideband.cloud.connect(quick_connect_code="abcd-efgh-jkmn") as peer:
            ...

    With a user's token the peer comes back by itself after a cut, each time with a fresh session of the control plane.
    A code opens one session: it is used once, and when that session is lost the peer is closed for good. Until it is
    used, a failure of the network or of the server is retried; a code whose daemon is offline is used up (409).

    Args:
        daemon_id: the daemon to reach; with `get_access_token`.
        get_access_token: returns the user's token, sync or async; called before every attempt. What it raises ends the
            peer, but for failures that may pass: of the network, and TimeoutError and OSError.
        quick_connect_code: 12 letters, in place of both; hyphens, spaces and case do not matter.
        api_url: the control plane; `SIDEBAND_API_URL`, else http://127.0.0.1:8080.
        identity_key_store: where pins are kept; by default files in the folder `pins` of `SIDEBAND_HOME`, else of the
            platform's folder for configuration.
        trust_policy: what to do with the daemon's identity key; `accept-new` by default: the first key is pinned, and
            another one is refused unless the pinned key has signed the change. `auto`, the default of the public SDK,
            would pin any other key and so notice nobody in the middle.
        on_first_connection: asked under `prompt`, with the fingerprint.
        on_identity_mismatch: asked under `prompt`, with both fingerprints.
        connection: what a cut does to calls; "pause" by default: those not yet sent wait.
        rpc: limits of calls.
        events: limits of events.
        retry: whether to try again; "on-error" by default, without end.
        on_unhandled_error: told what a handler of an event raised; by default it is logged.
        peer_id: what this side calls itself; random by default.
        metadata: JSON values under `vendor:key`, told to the daemon.
        transport: what connects to the relay; `WebSocketTransport()` by default.
        ssl_context: for servers with a certificate of one's own; by default the system's roots, or SSL_CERT_FILE.
        options: all that `PeerOptions` holds in one object, in place of the policies and what else it holds.

    What `connect`, `when_ready` and `async with` raise:

        CloudApiError: the control plane refused for good: 400, 401, 403, 404; with a code 409 too.
        IdentityRefusedError: the daemon showed another key than the pinned one.
        PeerError: `peer_closed` after the last try that `retry` allows, with what failed as its cause.
        SidebandError: another fatal error.

    Raises:
        ConfigError: the credentials are not one of the two kinds, the address is none, or the policies contradict.
    """
    plane = ControlPlane(api_url, ssl_context=ssl_context)
    source = _source(plane, daemon_id, get_access_token, quick_connect_code)
    if options is None:
        connection = connection or ConnectionPolicy(on_disconnect="pause")
        retry = retry or RetryPolicy(mode="on-error")
    trust = IdentityTrust(
        identity_key_store or FileIdentityKeyStore(default_home() / "pins"),
        trust_policy,
        on_first_connection=on_first_connection,
        on_identity_mismatch=on_identity_mismatch,
        follow_rotation=follow_statements(source.rotations) if isinstance(source, AccountSessions) else None,
    )
    basis = options or PeerOptions()
    peer = create_peer(
        negotiator=CloudNegotiator(source, trust, basis.handshake_timeout),
        transport=transport or WebSocketTransport(ssl_context=ssl_context, heartbeat_seconds=basis.heartbeat_seconds),
        peer_id=peer_id,
        metadata=metadata,
        connection=connection,
        rpc=rpc,
        events=events,
        retry=retry,
        on_unhandled_error=on_unhandled_error,
        options=options,
    )
    peer.start()
    return peer


def _source(
    plane: ControlPlane, daemon_id: str | None, get_access_token: GetAccessToken | None, code: str | None
) -> SessionSource:
    if code is not None:
        if daemon_id is not None or get_access_token is not None:
            raise ConfigError("give either quick_connect_code, or daemon_id and get_access_token; not both")
        letters = normalize_code(code)
        if letters is None:
            raise ConfigError("a Quick Connect code is 12 letters, such as abcd-efgh-jkmn")
        return QuickConnectSession(plane, format_code(letters))
    if daemon_id is None or get_access_token is None:
        raise ConfigError("connect needs daemon_id and get_access_token, or quick_connect_code")
    return AccountSessions(plane, check_daemon_id(daemon_id), get_access_token)
