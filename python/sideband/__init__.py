"""End-to-end encrypted peers through a relay that sees ciphertext only: calls and events for daemons behind NAT.

    async with sideband.cloud.connect(quick_connect_code=code) as peer:    # connects
        print(await peer.rpc.call("greet", "Ada"))

    async with await sideband.cloud.listen(...) as server:                 # accepts
        ...

`sideband.cloud` works by way of a control plane; `create_peer` and `listen` below it work with any transport and relay.
The names below live in `sideband.peer`, `sideband.identity`, `sideband.transport` and `sideband.errors`, which have
some more; `sideband.secure_relay` is the protocol's low-level layer, `sideband.inbox` keeps messages for those who are
not there. Names are imported when they are first used, so that `import sideband` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sideband import cloud as cloud  # a type checker then knows `sideband.cloud` without its own import
    from sideband.errors import (
        CloudApiError,
        ConfigError,
        ConnectionClosed,
        FileTransferError,
        IdentityRefusedError,
        IdentityStoreError,
        PeerError,
        RpcPeerError,
        SbpError,
        SbrpBatchError,
        SbrpError,
        SbrpErrorCode,
        SidebandError,
        TokenError,
        TransportError,
    )
    from sideband.identity import (
        FileIdentity,
        FileIdentityKeyStore,
        IdentityKeyPair,
        IdentityKeyStore,
        IdentityTrust,
        KeyringIdentityKeyStore,
        MemoryIdentityKeyStore,
        SqliteIdentityKeyStore,
        compute_fingerprint,
        generate_identity_key_pair,
    )
    from sideband.peer import (
        CallResult,
        ConnectionParams,
        ConnectionPolicy,
        Event,
        EventPolicy,
        IdentityTokenVerifier,
        Negotiator,
        Peer,
        PeerIdentity,
        PeerOptions,
        PeerState,
        ReconnectResult,
        RelayServer,
        RetryPolicy,
        RpcPolicy,
        Server,
        Stream,
        Subscription,
        create_peer,
        listen,
        relay_client_negotiator,
        relay_daemon_negotiator,
        rpc_method,
        sbp_negotiator,
    )
    from sideband.transport import MemoryTransport, Transport, WebSocketTransport, memory_pair

_HOMES = {
    "sideband.allocator": ("tune_allocator",),
    "sideband.errors": (
        "CloudApiError",
        "ConfigError",
        "ConnectionClosed",
        "FileTransferError",
        "IdentityRefusedError",
        "IdentityStoreError",
        "PeerError",
        "RpcPeerError",
        "SbpError",
        "SbrpBatchError",
        "SbrpError",
        "SbrpErrorCode",
        "SidebandError",
        "TokenError",
        "TransportError",
    ),
    "sideband.identity": (
        "FileIdentity",
        "FileIdentityKeyStore",
        "IdentityKeyPair",
        "IdentityKeyStore",
        "IdentityTrust",
        "KeyringIdentityKeyStore",
        "MemoryIdentityKeyStore",
        "SqliteIdentityKeyStore",
        "compute_fingerprint",
        "generate_identity_key_pair",
    ),
    "sideband.peer": (
        "CallResult",
        "ConnectionParams",
        "ConnectionPolicy",
        "Event",
        "EventPolicy",
        "IdentityTokenVerifier",
        "Negotiator",
        "Peer",
        "PeerIdentity",
        "PeerOptions",
        "PeerState",
        "ReconnectResult",
        "RelayServer",
        "RetryPolicy",
        "RpcPolicy",
        "Server",
        "Stream",
        "Subscription",
        "create_peer",
        "listen",
        "relay_client_negotiator",
        "relay_daemon_negotiator",
        "rpc_method",
        "sbp_negotiator",
    ),
    "sideband.transport": ("MemoryTransport", "Transport", "WebSocketTransport", "memory_pair"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("cloud", "errors", "identity", "inbox", "peer", "secure_relay", "sharing", "transport")

__all__ = [
    "CallResult",
    "CloudApiError",
    "ConfigError",
    "ConnectionClosed",
    "ConnectionParams",
    "ConnectionPolicy",
    "Event",
    "EventPolicy",
    "FileIdentity",
    "FileIdentityKeyStore",
    "FileTransferError",
    "IdentityKeyPair",
    "IdentityKeyStore",
    "IdentityRefusedError",
    "IdentityStoreError",
    "IdentityTokenVerifier",
    "IdentityTrust",
    "KeyringIdentityKeyStore",
    "MemoryIdentityKeyStore",
    "MemoryTransport",
    "Negotiator",
    "Peer",
    "PeerError",
    "PeerIdentity",
    "PeerOptions",
    "PeerState",
    "ReconnectResult",
    "RelayServer",
    "RetryPolicy",
    "RpcPeerError",
    "RpcPolicy",
    "SbpError",
    "SbrpBatchError",
    "SbrpError",
    "SbrpErrorCode",
    "Server",
    "SidebandError",
    "SqliteIdentityKeyStore",
    "Stream",
    "Subscription",
    "TokenError",
    "Transport",
    "TransportError",
    "WebSocketTransport",
    "compute_fingerprint",
    "create_peer",
    "generate_identity_key_pair",
    "listen",
    "memory_pair",
    "relay_client_negotiator",
    "relay_daemon_negotiator",
    "rpc_method",
    "sbp_negotiator",
    "tune_allocator",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"sideband.{name}")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'sideband' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
