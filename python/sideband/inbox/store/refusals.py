"""What stores refuse, said alike by all of them."""

from __future__ import annotations

from sideband.errors import InboxError

__all__ = ["address_taken", "quota_exceeded", "too_many_addresses", "unknown_address"]


def unknown_address() -> InboxError:
    """Nobody owns the address."""
    return InboxError("SHADE_NOT_FOUND", "this address is not registered; its owner has to register it first")


def address_taken() -> InboxError:
    """Another key owns the address."""
    return InboxError("SHADE_UNAUTHORIZED", "this address is registered to another key; the first use has won")


def too_many_addresses() -> InboxError:
    """The store has as many addresses as it may."""
    return InboxError("SHADE_QUOTA_EXCEEDED", "this server takes no further addresses; ask its operator")


def quota_exceeded(what: str) -> InboxError:
    """An address holds as much as it may."""
    return InboxError(
        "SHADE_QUOTA_EXCEEDED", f"this inbox holds as many {what} as it may; its owner has to delete some"
    )
