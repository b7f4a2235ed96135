"""Store and forward: an inbox at a server, and bridges by which its owner receives over whatever transport works.

Names are loaded when they are used: a client needs no database, a server no client. docs/guide/inbox.md begins where
you begin; docs/protocol/inbox.md is the protocol.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sideband.inbox.app import create_inbox_app, mount_inbox
    from sideband.inbox.client.bridges import LongPollBridge, SseBridge, WsBridge
    from sideband.inbox.client.fallback import FallbackBridgeTransport
    from sideband.inbox.client.messages import IncomingMessage
    from sideband.inbox.client.outgoing import MemoryOutgoingQueue, SqliteOutgoingQueue
    from sideband.inbox.client.requests import InboxOrigin
    from sideband.inbox.client.sending import FetchedPage, InboxClient, PublishedKeys, PutReceipt
    from sideband.inbox.config import InboxConfig, RateLimit
    from sideband.inbox.envelopes import (
        EnvelopeKeyPair,
        OpenedEnvelope,
        RecipientKey,
        SignedEnvelopeKey,
        open_envelope,
        seal_envelope,
    )
    from sideband.inbox.metrics import InboxCollector
    from sideband.inbox.service import Inbox
    from sideband.inbox.store import InboxStore, open_inbox_store

_HOMES = {
    "sideband.inbox.app": ("create_inbox_app", "mount_inbox"),
    "sideband.inbox.client.bridges": ("LongPollBridge", "SseBridge", "WsBridge"),
    "sideband.inbox.client.fallback": ("FallbackBridgeTransport",),
    "sideband.inbox.client.messages": ("IncomingMessage",),
    "sideband.inbox.client.outgoing": ("MemoryOutgoingQueue", "SqliteOutgoingQueue"),
    "sideband.inbox.client.requests": ("InboxOrigin",),
    "sideband.inbox.client.sending": ("FetchedPage", "InboxClient", "PublishedKeys", "PutReceipt"),
    "sideband.inbox.config": ("InboxConfig", "RateLimit"),
    "sideband.inbox.envelopes": (
        "EnvelopeKeyPair",
        "OpenedEnvelope",
        "RecipientKey",
        "SignedEnvelopeKey",
        "open_envelope",
        "seal_envelope",
    ),
    "sideband.inbox.metrics": ("InboxCollector",),
    "sideband.inbox.service": ("Inbox",),
    "sideband.inbox.store": ("InboxStore", "open_inbox_store"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "EnvelopeKeyPair",
    "FallbackBridgeTransport",
    "FetchedPage",
    "Inbox",
    "InboxClient",
    "InboxCollector",
    "InboxConfig",
    "InboxOrigin",
    "InboxStore",
    "IncomingMessage",
    "LongPollBridge",
    "MemoryOutgoingQueue",
    "OpenedEnvelope",
    "PublishedKeys",
    "PutReceipt",
    "RateLimit",
    "RecipientKey",
    "SignedEnvelopeKey",
    "SqliteOutgoingQueue",
    "SseBridge",
    "WsBridge",
    "create_inbox_app",
    "mount_inbox",
    "open_envelope",
    "open_inbox_store",
    "seal_envelope",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'sideband.inbox' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
