"""Every limit of the relay, by name, with its unit in the name (docs/protocol/relay.md, "Flow")."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sideband.client_limits import Network

__all__ = ["ConnectionRates", "Network", "RelayConfig"]

KIB = 1024
MIB = 1024 * KIB


class ConnectionRates(BaseModel):
    """What one connection may send; bursts of `burst_seconds` at these rates are allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages_per_second: float = Field(gt=0)
    bytes_per_second: float = Field(gt=0)
    burst_seconds: float = Field(default=2.0, gt=0)


class RelayConfig(BaseModel):
    """Settings of one relay. Unknown names are errors.

    Attributes:
        issuer: the control plane whose tokens are taken; their `iss`, and where the JWKS is found.
        audience: what tokens must be for.
        region: this relay's region, or None.
        loopback_listener: the relay listens on loopback only. Rate limits and limits per address are then off (unless
            trusted proxies are set) and browsers are taken from localhost origins only. Set by whoever binds the
            address.
        allowed_origins: origins of browsers that may connect, such as `https://app.example`; None for the default (any,
            or localhost on a loopback listener). Requests without an Origin are not from browsers and always pass.
        trusted_proxies: networks whose X-Forwarded-For is believed.
        token_leeway_seconds: how far clocks may be apart, at most 30.
        daemon_token_max_seconds: longest life of a daemon's token.
        jwks_fresh_seconds: how long fetched keys are used without asking again.
        jwks_retry_seconds: least time between two fetches.
        jwks_stale_seconds: how long known keys are used while they cannot be fetched.
        upgrade_timeout_seconds: for a request's headers, and again for the answer to it.
        close_timeout_seconds: how long a closed connection may take to say goodbye before it is cut.
        max_connections: of clients and daemons together; more are 503.
        max_connections_per_address: an IPv6 /64 is one address; more are 429.
        max_sessions_per_daemon: when the daemon's token sets no limit; more are 429.
        upgrades_per_second: per address; more are 429.
        upgrade_burst: how many at once.
        max_addresses: addresses remembered for these limits; beyond that, strangers share one budget.
        grace_seconds: how long sessions wait for a daemon that was lost.
        pending_seconds: how long a daemon that came back has to decide on each.
        queue_bound_bytes: per destination. Over it, the clients of a slow daemon are not read; a slow client has
            `slow_client_seconds` to get below it.
        queue_hard_limit_bytes: per destination; a client over it is closed with `backpressure` at once.
        slow_client_seconds: see `queue_bound_bytes`.
        transport_window_bytes: of a destination's queue, what is handed to the operating system ahead; what is urgent
            overtakes the rest.
        receive_buffer_bytes: most that is read from a connection at once. One buffer serves all connections. What a
            connection that is held back had sent already is kept: at most this and the start of a frame, and some
            64 KiB where the queue it goes to was almost full before.
        client_rates: what a client may send.
        daemon_rates: what a daemon may send, for all its sessions together.
        rate_notice_seconds: `rate_limited` is sent at most once in this time.
        keepalive_seconds: interval of pings; a connection is closed when two in a row bring no byte.
        shutdown_spread_seconds: the going-away of a shutdown is spread over this time.
        shutdown_seconds: after it, whatever is left is cut.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str = Field(min_length=1)
    audience: str = "sideband-relay"
    region: str | None = None
    loopback_listener: bool = False
    allowed_origins: tuple[str, ...] | None = None
    trusted_proxies: tuple[Network, ...] = ()

    token_leeway_seconds: float = Field(default=30.0, ge=0, le=30)
    daemon_token_max_seconds: float = Field(default=3660.0, gt=0, le=86_400)
    jwks_fresh_seconds: float = Field(default=300.0, gt=0)
    jwks_retry_seconds: float = Field(default=10.0, gt=0)
    jwks_stale_seconds: float = Field(default=900.0, gt=0)

    upgrade_timeout_seconds: float = Field(default=10.0, gt=0)
    close_timeout_seconds: float = Field(default=5.0, gt=0)
    max_connections: int = Field(default=10_000, ge=1)
    max_connections_per_address: int = Field(default=512, ge=1)
    max_sessions_per_daemon: int = Field(default=256, ge=1)
    upgrades_per_second: float = Field(default=10.0, gt=0)
    upgrade_burst: int = Field(default=50, ge=1)
    max_addresses: int = Field(default=65_536, ge=1)

    grace_seconds: float = Field(default=60.0, gt=0)
    pending_seconds: float = Field(default=10.0, gt=0)

    queue_bound_bytes: int = Field(default=4 * MIB, ge=128 * KIB)
    queue_hard_limit_bytes: int = Field(default=8 * MIB, ge=256 * KIB)
    slow_client_seconds: float = Field(default=10.0, gt=0)
    transport_window_bytes: int = Field(default=512 * KIB, ge=16 * KIB)

    receive_buffer_bytes: int = Field(default=512 * KIB, ge=4 * KIB)
    client_rates: ConnectionRates = ConnectionRates(messages_per_second=5_000, bytes_per_second=32 * MIB)
    daemon_rates: ConnectionRates = ConnectionRates(messages_per_second=50_000, bytes_per_second=256 * MIB)
    rate_notice_seconds: float = Field(default=1.0, gt=0)

    keepalive_seconds: float = Field(default=25.0, gt=0)
    shutdown_spread_seconds: float = Field(default=5.0, ge=0)
    shutdown_seconds: float = Field(default=30.0, gt=0)

    @property
    def limits_by_address(self) -> bool:
        """Whether rates and limits per address and per connection are in force."""
        return not self.loopback_listener or bool(self.trusted_proxies)

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if not self.transport_window_bytes <= self.queue_bound_bytes <= self.queue_hard_limit_bytes:
            msg = "transport_window_bytes, queue_bound_bytes and queue_hard_limit_bytes must not decrease in this order"
            raise ValueError(msg)
        if self.jwks_stale_seconds < self.jwks_fresh_seconds:
            msg = "jwks_stale_seconds must be at least jwks_fresh_seconds"
            raise ValueError(msg)
        if self.shutdown_spread_seconds > self.shutdown_seconds:
            msg = "shutdown_spread_seconds must fit into shutdown_seconds"
            raise ValueError(msg)
        return self
