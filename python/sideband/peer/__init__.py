"""Peers: lifecycle, calls, events, negotiators, servers (docs/protocol/peer.md)."""

from sideband.jwks import PublishedKeys
from sideband.peer.acceptance import OnConnection
from sideband.peer.create import create_peer
from sideband.peer.events import Event, Events, Subscription
from sideband.peer.identity_token import (
    IDENTITY_METADATA_KEY,
    IdentityTokenVerifier,
    IdentityVerifier,
    KeySource,
    PeerIdentity,
)
from sideband.peer.lifecycle import PeerState
from sideband.peer.link import Link, LinkInfo, LinkSignal
from sideband.peer.listening import listen
from sideband.peer.negotiator import ConnectionParams, Negotiator, classify_error, sbp_negotiator
from sideband.peer.options import PeerOptions
from sideband.peer.peer import Peer
from sideband.peer.policies import ConnectionPolicy, EventPolicy, RetryPolicy, RpcPolicy
from sideband.peer.proxy import rpc_method
from sideband.peer.relay_negotiators import RelayDaemonNegotiator, relay_client_negotiator, relay_daemon_negotiator
from sideband.peer.relay_server import RelayServer
from sideband.peer.request_budget import RequestBudget
from sideband.peer.rpc import CallResult, Rpc
from sideband.peer.server import Server
from sideband.peer.streams import Stream
from sideband.peer.waiting import ReconnectCycle, ReconnectResult

__all__ = [
    "IDENTITY_METADATA_KEY",
    "CallResult",
    "ConnectionParams",
    "ConnectionPolicy",
    "Event",
    "EventPolicy",
    "Events",
    "IdentityTokenVerifier",
    "IdentityVerifier",
    "KeySource",
    "Link",
    "LinkInfo",
    "LinkSignal",
    "Negotiator",
    "OnConnection",
    "Peer",
    "PeerIdentity",
    "PeerOptions",
    "PeerState",
    "PublishedKeys",
    "ReconnectCycle",
    "ReconnectResult",
    "RelayDaemonNegotiator",
    "RelayServer",
    "RequestBudget",
    "RetryPolicy",
    "Rpc",
    "RpcPolicy",
    "Server",
    "Stream",
    "Subscription",
    "classify_error",
    "create_peer",
    "listen",
    "relay_client_negotiator",
    "relay_daemon_negotiator",
    "rpc_method",
    "sbp_negotiator",
]
