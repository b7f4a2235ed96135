"""Every limit of an inbox server, by name, with its unit in the name (docs/protocol/inbox.md, "Limits")."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sideband.inbox.store import Quotas

__all__ = ["InboxConfig", "RateLimit"]

KIB = 1024
MIB = 1024 * KIB


class RateLimit(BaseModel):
    """A token bucket: so many at once, and so many a second after that."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    burst: int = Field(ge=1)
    per_second: float = Field(gt=0)


class InboxConfig(BaseModel):
    """Settings of an inbox server. Unknown names are errors.

    Attributes:
        max_addresses: addresses that can be registered in all.
        blob_bytes: longest ciphertext.
        blobs_per_address: blobs one address may hold.
        bytes_per_address: their ciphertexts together.
        blobs_per_sender: blobs of one sender at one address.
        ttl_default_seconds: how long a blob is kept when the put does not say.
        ttl_min_seconds: shortest time a put may say.
        ttl_max_seconds: longest.
        remember_seconds: how long a deleted blob is remembered.
        purge_seconds: how often what has expired is taken away; it is invisible at once anyway.
        put_body_bytes: longest body of a put; base64 makes a blob a third longer.
        body_bytes: longest body of every other request.
        body_seconds: how long a body may take to arrive.
        fetch_limit: most blobs in one answer to a fetch, and what it gets without asking.
        page_blobs: most blobs a bridge reads, and a poll answers with, at once.
        catch_up_blobs: most blobs a WebSocket or a stream reads at once after a full page: the order and the messages
            are the same, there are just fewer reads.
        page_bytes: a page ends with the blob that reaches this.
        poll_seconds: how long a poll waits for something.
        comment_seconds: after so long without a message, a stream sends a comment, so that nothing between takes it
            for dead.
        ping_seconds: interval of pings on a WebSocket.
        send_seconds: a client that takes nothing for so long is cut; it comes back where it was.
        timer_seconds: how often bridges look while the store cannot tell of new blobs.
        max_bridges: open at once on this server; more are 429.
        max_bridges_per_address: open at once for one address.
        watchers: most addresses in an owner's list of watchers.
        presence_addresses: most addresses one presence stream watches.
        presence_body_bytes: longest body that asks for one.
        presence_linger_seconds: how long an address counts as connected after a poll was answered.
        limits_by_client: whether requests are limited by client address too; False where that is always the same.
        put_rate: by sender.
        fetch_rate: by address.
        delete_rate: by address.
        register_rate: by client address.
        connect_rate: WebSockets and streams opened, and presence asked for, by address.
        poll_rate: polls, by address; one that is answered at once is followed by the next at once.
        client_rate: all requests together, by client address.
        max_rate_keys: senders, addresses and client addresses remembered for each rate; beyond, strangers share one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_addresses: int = Field(default=100_000, ge=1)
    blob_bytes: int = Field(default=MIB, ge=1, le=MIB)
    blobs_per_address: int = Field(default=1_000, ge=1)
    bytes_per_address: int = Field(default=64 * MIB, ge=1)
    blobs_per_sender: int = Field(default=200, ge=1)
    ttl_default_seconds: int = Field(default=7 * 86_400, ge=1)
    ttl_min_seconds: int = Field(default=60, ge=1)
    ttl_max_seconds: int = Field(default=30 * 86_400, ge=1)
    remember_seconds: int = Field(default=86_400, ge=0)
    purge_seconds: float = Field(default=300.0, gt=0)

    put_body_bytes: int = Field(default=2 * MIB, ge=KIB)
    body_bytes: int = Field(default=64 * KIB, ge=KIB)
    body_seconds: float = Field(default=30.0, gt=0)

    fetch_limit: int = Field(default=100, ge=1)
    page_blobs: int = Field(default=50, ge=1)
    catch_up_blobs: int = Field(default=500, ge=1)
    page_bytes: int = Field(default=MIB, ge=1)

    poll_seconds: float = Field(default=25.0, gt=0)
    comment_seconds: float = Field(default=15.0, gt=0)
    ping_seconds: float = Field(default=20.0, gt=0)
    send_seconds: float = Field(default=60.0, gt=0)
    timer_seconds: float = Field(default=1.0, gt=0)
    max_bridges: int = Field(default=20_000, ge=1)
    max_bridges_per_address: int = Field(default=16, ge=1)

    watchers: int = Field(default=256, ge=0)
    presence_addresses: int = Field(default=64, ge=1)
    presence_body_bytes: int = Field(default=8 * KIB, ge=KIB)
    presence_linger_seconds: float = Field(default=10.0, ge=0)

    limits_by_client: bool = True
    put_rate: RateLimit = RateLimit(burst=60, per_second=1)
    fetch_rate: RateLimit = RateLimit(burst=60, per_second=1)
    delete_rate: RateLimit = RateLimit(burst=60, per_second=1)
    register_rate: RateLimit = RateLimit(burst=5, per_second=5 / 3600)
    connect_rate: RateLimit = RateLimit(burst=60, per_second=1)
    poll_rate: RateLimit = RateLimit(burst=300, per_second=20)
    client_rate: RateLimit = RateLimit(burst=1_000, per_second=100)
    max_rate_keys: int = Field(default=65_536, ge=1)

    @property
    def quotas(self) -> Quotas:
        """What one address may hold."""
        return Quotas(
            self.blobs_per_address, self.bytes_per_address, self.blobs_per_sender, self.remember_seconds * 1000
        )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.ttl_min_seconds <= self.ttl_default_seconds <= self.ttl_max_seconds:
            msg = "ttl_min_seconds, ttl_default_seconds and ttl_max_seconds must not decrease in this order"
            raise ValueError(msg)
        if self.put_body_bytes < self.blob_bytes * 4 // 3 + KIB:
            msg = "put_body_bytes has to hold blob_bytes in base64 and 1 KiB of other fields"
            raise ValueError(msg)
        return self
