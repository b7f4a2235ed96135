"""Where inboxes are kept: memory, SQLite, PostgreSQL, NATS JetStream."""

from __future__ import annotations

from sideband.inbox.store.base import (
    DEFAULT_QUOTAS,
    Blob,
    EnvelopeKeyRecord,
    InboxStore,
    NewBlob,
    Owner,
    Page,
    Quotas,
    Receipt,
    message_id,
    sender_hint,
)
from sideband.inbox.store.memory import MemoryInboxStore
from sideband.inbox.store.notices import Listener, Notices
from sideband.inbox.store.open import open_inbox_store

__all__ = [
    "DEFAULT_QUOTAS",
    "Blob",
    "EnvelopeKeyRecord",
    "InboxStore",
    "Listener",
    "MemoryInboxStore",
    "NewBlob",
    "Notices",
    "Owner",
    "Page",
    "Quotas",
    "Receipt",
    "message_id",
    "open_inbox_store",
    "sender_hint",
]
