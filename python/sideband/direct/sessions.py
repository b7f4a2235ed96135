"""Direct sessions without a relay: `connect` and `listen` (docs/guide/direct.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sideband._native import NOISE_MAX_RECORD, IdentityKeyPair, NoiseKeyPair
from sideband.direct.handshake import Rekey
from sideband.direct.link import DEFAULT_HEARTBEAT_SECONDS
from sideband.direct.negotiator import HALF_OPEN_SECONDS, MAX_HALF_OPEN, sbdp_negotiator
from sideband.errors import ConfigError
from sideband.identity import FileIdentity, FileStaticKey, IdentityKeyStore, IdentityTrust, TrustPolicy
from sideband.peer.acceptance import OnConnection
from sideband.peer.create import create_peer
from sideband.peer.listening import listen as listen_peers
from sideband.peer.options import PeerOptions
from sideband.peer.peer import Peer
from sideband.peer.server import Server
from sideband.transport import TcpTransport, Transport, WebSocketTransport

__all__ = ["connect", "listen", "transport_for"]

HANDSHAKE_MESSAGE_BYTES = 1 + 4096
"""Largest message before a session is made."""


def connect(
    endpoint: str,
    *,
    name: str,
    key: NoiseKeyPair | FileStaticKey,
    remote_name: str | None = None,
    remote_key: bytes | None = None,
    remote_identity_key: bytes | None = None,
    identity_key_store: IdentityKeyStore | None = None,
    trust_policy: TrustPolicy = "accept-new",
    on_first_connection: Callable[[str], Any] | None = None,
    on_identity_mismatch: Callable[[str, str], Any] | None = None,
    trust: IdentityTrust | None = None,
    identity: IdentityKeyPair | FileIdentity | None = None,
    transport: Transport | None = None,
    options: PeerOptions | None = None,
    rekey: Rekey | None = None,
    heartbeat_seconds: float | None = DEFAULT_HEARTBEAT_SECONDS,
    **peer_settings: Any,
) -> Peer:
    """Return a peer that connects to `endpoint` without a relay; it has not begun. `async with` it.

        peer = direct.connect(address, name="laptop", key=key, remote_name="studio", identity_key_store=pins)
        async with peer:
            print(await peer.rpc.call("greet", "Ada"))

    Args:
        endpoint: `tcp://host:port`, `quic://host:port` (extra `quic`), `ws://` or `wss://`.
        name: what this side calls itself; the other side pins this side's key under it.
        key: this side's static key.
        remote_name: whom to reach; its key is pinned under this name. Needed unless `remote_key` is given.
        remote_key: the only static key that is accepted, 32 bytes, known from elsewhere; nothing is pinned then.
        remote_identity_key: the Ed25519 key that has to have signed the handshake.
        identity_key_store: where pins are kept; its own store, apart from that of daemons behind a relay.
        trust_policy: what is done with a key seen for the first time or in place of another; `accept-new`.
        on_first_connection: asked under `prompt`, with the fingerprint.
        on_identity_mismatch: asked under `prompt`, with the fingerprints expected and received.
        trust: store, policy and callbacks in one object, in place of these four.
        identity: this side's Ed25519 key, which then signs the handshake.
        transport: what connects, in place of the one that the endpoint's scheme names.
        options: the peer's.
        rekey: when this side goes on to its next key; at what the protocol allows.
        heartbeat_seconds: silence after which the other side is pinged; 25. None never pings.
        peer_settings: what `create_peer` takes besides: `connection`, `rpc`, `events`, `retry`, `metadata`, `peer_id`,
            `on_unhandled_error`.

    Raises:
        ConfigError: what to trust is not given, or given twice; the scheme has no transport.
    """
    if remote_key is None or identity_key_store is not None:
        trust = _trust(trust, identity_key_store, trust_policy, on_first_connection, on_identity_mismatch)
    negotiator = sbdp_negotiator(
        name,
        key,
        initiator=True,
        trust=trust,
        remote_name=remote_name,
        remote_key=remote_key,
        remote_identity_key=remote_identity_key,
        identity=identity,
        rekey=rekey,
        heartbeat_seconds=heartbeat_seconds,
    )
    transport = transport or transport_for(endpoint)
    return create_peer(endpoint, negotiator=negotiator, transport=transport, options=options, **peer_settings)


async def listen(
    endpoint: str,
    on_connection: OnConnection,
    *,
    name: str,
    key: NoiseKeyPair | FileStaticKey,
    identity_key_store: IdentityKeyStore | None = None,
    trust_policy: TrustPolicy = "pinned-only",
    on_first_connection: Callable[[str], Any] | None = None,
    on_identity_mismatch: Callable[[str, str], Any] | None = None,
    trust: IdentityTrust | None = None,
    identity: IdentityKeyPair | FileIdentity | None = None,
    transport: Transport | None = None,
    options: PeerOptions | None = None,
    tls_certificate: bytes | None = None,
    rekey: Rekey | None = None,
    max_half_open: int = MAX_HALF_OPEN,
    half_open_seconds: float = HALF_OPEN_SECONDS,
    heartbeat_seconds: float | None = DEFAULT_HEARTBEAT_SECONDS,
) -> Server:
    """Accept direct sessions at `endpoint`.

    Who may come is whose key is pinned: `await identity_key_store.set("laptop", public_key)`. Under `accept-new`
    whoever comes under a new name is let in, and pinned.

    Args:
        endpoint: `tcp://host:port`, `quic://host:port` (extra `quic`), `ws://` or `wss://`; port 0 takes a free one.
        on_connection: called with each peer; `peer.remote_name` and `peer.fingerprint` tell who it is.
        name: what this side calls itself.
        key: this side's static key.
        identity_key_store: where the keys of those who come are pinned by their names.
        trust_policy: what is done with a key seen for the first time or in place of another; `pinned-only`.
        on_first_connection: asked under `prompt`.
        on_identity_mismatch: asked under `prompt`.
        trust: store, policy and callbacks in one object, in place of these four.
        identity: this side's Ed25519 key, which then signs every handshake.
        transport: what listens, in place of the one that the endpoint's scheme names.
        options: what the peers are made with.
        tls_certificate: SHA-256 of the certificate that clients of a `wss://` address see.
        rekey: when this side goes on to its next key; at what the protocol allows.
        max_half_open: handshakes under way at once; beyond, the oldest is dropped. 64.
        half_open_seconds: how long each may take; 10.
        heartbeat_seconds: silence after which the other side is pinged; 25. None never pings.

    Raises:
        TransportError: the endpoint cannot be bound.
        ConfigError: what to trust is not given; the scheme has no transport.
    """
    negotiator = sbdp_negotiator(
        name,
        key,
        initiator=False,
        trust=_trust(trust, identity_key_store, trust_policy, on_first_connection, on_identity_mismatch),
        identity=identity,
        tls_certificate=tls_certificate,
        rekey=rekey,
        max_half_open=max_half_open,
        half_open_seconds=half_open_seconds,
        heartbeat_seconds=heartbeat_seconds,
    )
    transport = transport or transport_for(endpoint)
    return await listen_peers(endpoint, on_connection, negotiator=negotiator, transport=transport, options=options)


def transport_for(endpoint: str) -> Transport:
    """Return the transport of an endpoint's scheme.

    Raises:
        ConfigError: there is none, or its extra is not installed.
    """
    scheme = endpoint.partition("://")[0]
    match scheme:
        case "tcp":
            return TcpTransport(max_message_bytes=HANDSHAKE_MESSAGE_BYTES)
        case "ws" | "wss":
            return WebSocketTransport(max_message_bytes=NOISE_MAX_RECORD + 1)
        case "quic":
            from sideband.transport.quic import QuicTransport

            return QuicTransport(max_message_bytes=HANDSHAKE_MESSAGE_BYTES)
        case _:
            raise ConfigError("a direct endpoint begins with tcp://, quic://, ws:// or wss://")


def _trust(
    trust: IdentityTrust | None,
    store: IdentityKeyStore | None,
    policy: TrustPolicy,
    on_first_connection: Callable[[str], Any] | None,
    on_identity_mismatch: Callable[[str, str], Any] | None,
) -> IdentityTrust:
    if (trust is None) is (store is None):
        raise ConfigError("give either identity_key_store, where the keys of others are pinned, or trust")
    if trust is not None:
        return trust
    assert store is not None  # noqa: S101  (narrows the type; exactly one of the two is given)
    return IdentityTrust(
        store, policy, on_first_connection=on_first_connection, on_identity_mismatch=on_identity_mismatch
    )
