"""What `create_peer`, `listen` and the daemon take alike."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sideband.peer.clock import Clock, LoopClock
from sideband.peer.policies import ConnectionPolicy, EventPolicy, RetryPolicy, RpcPolicy
from sideband.peer.request_budget import PROCESS_REQUESTS, RequestBudget
from sideband.peer.upgrade import UpgradeFactory
from sideband.protocol.connection import DEFAULT_CAPS
from sideband.protocol.handshake import DIRECT_1, STREAM_1, HandshakePayload
from sideband.protocol.limits import DEFAULT_LIMITS, PROCESS_SENDING, SbpLimits, SendBudget
from sideband.protocol.streams import DEFAULT_STREAM_LIMITS, PROCESS_STREAMS, PROCESS_UNREAD, StreamBudget, StreamLimits

__all__ = ["PeerOptions", "log_unhandled"]

_log = logging.getLogger("sideband.peer")


def log_unhandled(error: BaseException) -> None:
    """Log what a handler raised; what `on_unhandled_error` does unless told otherwise."""
    _log.error("a handler failed: %s", error, exc_info=error)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerOptions:
    """The options of a peer.

    Attributes:
        peer_id: what this side calls itself in the handshake, at most 255 bytes; by default random.
        metadata: JSON values under `vendor:key`, told to the other side in the handshake. Not shown in `repr`.
        capabilities: extensions offered; those that a connection cannot have are left out.
        connection: what a cut does to calls.
        rpc: limits of calls.
        events: limits of events.
        retry: whether and when to try again; a peer that was accepted never does.
        on_unhandled_error: told what a handler of an event raised, and that one fell behind; by default it is logged.
        handshake_timeout: seconds for the handshake of a session, the decision on an identity key not counted.
        heartbeat_seconds: a connection of the default transport is pinged after so much silence, and given up after
            half as much again without an answer; 25 s. None relies on the network to tell.
        limits: bounds of the SBP layer.
        request_budget: bounds the requests that all peers of the process answer; 256 MiB. Another object is a bound of
            its own for those that share it.
        send_budget: bounds the calls, answers and events that wait to be sent by all peers of the process; 256 MiB.
        streams: bounds of byte streams.
        stream_budget: bounds what all peers of the process have written to streams and the other side has not consumed;
            256 MiB. Another object is a bound of its own for those that share it.
        unread_budget: the same for what came on streams and was not read.
        admission_timeout: seconds that a server's `verify_identity` and `authorize` may take for one client, together;
            then it is sent away, and may come again.
        upgrade: moves relayed sessions to a direct way, as `sideband.direct.upgrades(...)` makes it; None stays on the
            relay.
        clock: where time comes from.
        random: returns a number from 0 up to 1, for the jitter of retries.
    """

    peer_id: str = field(default_factory=lambda: f"peer-{secrets.token_hex(8)}")
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    capabilities: tuple[str, ...] = (*DEFAULT_CAPS, STREAM_1)
    connection: ConnectionPolicy = field(default_factory=ConnectionPolicy)
    rpc: RpcPolicy = field(default_factory=RpcPolicy)
    events: EventPolicy = field(default_factory=EventPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    on_unhandled_error: Callable[[BaseException], None] = log_unhandled
    handshake_timeout: float = 30.0
    heartbeat_seconds: float | None = 25.0
    limits: SbpLimits = DEFAULT_LIMITS
    request_budget: RequestBudget = field(default=PROCESS_REQUESTS, repr=False)
    send_budget: SendBudget = field(default=PROCESS_SENDING, repr=False)
    streams: StreamLimits = DEFAULT_STREAM_LIMITS
    stream_budget: StreamBudget = field(default=PROCESS_STREAMS, repr=False)
    unread_budget: StreamBudget = field(default=PROCESS_UNREAD, repr=False)
    admission_timeout: float = 30.0
    upgrade: UpgradeFactory | None = field(default=None, repr=False)
    clock: Clock = field(default_factory=LoopClock)
    random: Callable[[], float] = random.random

    def handshake(self, metadata: Mapping[str, Any] | None = None) -> HandshakePayload:
        """Return what this side says about itself, with the metadata of one attempt added."""
        capabilities = self.capabilities if self.upgrade is None else (*self.capabilities, DIRECT_1)
        return HandshakePayload(self.peer_id, capabilities, {**self.metadata, **(metadata or {})})
