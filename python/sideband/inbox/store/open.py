"""A store by its URL."""

from __future__ import annotations

from sideband.errors import ConfigError
from sideband.inbox.store.base import InboxStore
from sideband.inbox.store.memory import MemoryInboxStore

__all__ = ["open_inbox_store"]


async def open_inbox_store(url: str, *, wait_seconds: float = 5.0) -> InboxStore:
    """Open the store behind a URL; the caller closes it.

    Args:
        url: `memory:`, `sqlite:///path`, `postgresql://user@host/name`, or `nats://host:4222` (`tls://` with TLS).
        wait_seconds: how long one statement may wait for a lock or the server's answer; default 5.

    Raises:
        ConfigError: the URL is none of these, or its package is not installed.
        StoreError: the store cannot be reached, or its schema was made by a newer version of this package.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    match scheme:
        case "memory":
            return MemoryInboxStore()
        case "sqlite":
            from sideband.inbox.store.sql import SqlInboxStore

            return await SqlInboxStore.open(url, wait_seconds=wait_seconds)
        case "postgresql":
            from sideband.inbox.store.postgres import PostgresInboxStore

            return await PostgresInboxStore.open(url, wait_seconds=wait_seconds)
        case "nats" | "tls":
            from sideband.inbox.store.nats import NatsInboxStore

            return await NatsInboxStore.open(url, wait_seconds=wait_seconds)
        case _:
            raise ConfigError(
                "the inbox's store is memory:, sqlite:///path, postgresql://user@host/name or nats://host:4222"
            )
