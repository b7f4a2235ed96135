"""What a pin store is, and the one in memory."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from sideband.daemon_id import check_daemon_id
from sideband.errors import IdentityStoreError

__all__ = ["IdentityKeyStore", "MemoryIdentityKeyStore", "check_pin"]

_KEY_BYTES = 32


@runtime_checkable
class IdentityKeyStore(Protocol):
    """Keeps the identity key that is pinned for each daemon (docs/protocol/trust.md).

    An implementation raises `IdentityStoreError` when it cannot answer for certain: a store that fails must never look
    like a first contact.
    """

    async def get(self, daemon_id: str) -> bytes | None:
        """Return the 32 byte key pinned for `daemon_id`, or None when none is."""

    async def set(self, daemon_id: str, identity_key: bytes) -> None:
        """Pin `identity_key` (32 bytes) for `daemon_id`, in place of what was pinned; it lasts once this returns."""

    async def delete(self, daemon_id: str) -> None:
        """Forget the pin of `daemon_id`; nothing happens when there is none."""


class MemoryIdentityKeyStore:
    """Pins that last as long as the object, for tests and for programs that bring their own keys.

    Args:
        pins: pins to begin with.
    """

    def __init__(self, pins: dict[str, bytes] | None = None) -> None:
        self._pins: dict[str, bytes] = {}
        for daemon_id, identity_key in (pins or {}).items():
            self._pins[daemon_id] = check_pin(daemon_id, identity_key)

    async def get(self, daemon_id: str) -> bytes | None:
        """Return the key pinned for `daemon_id`, or None."""
        return self._pins.get(check_daemon_id(daemon_id))

    async def set(self, daemon_id: str, identity_key: bytes) -> None:
        """Pin `identity_key` for `daemon_id`."""
        self._pins[daemon_id] = check_pin(daemon_id, identity_key)

    async def delete(self, daemon_id: str) -> None:
        """Forget the pin of `daemon_id`."""
        self._pins.pop(check_daemon_id(daemon_id), None)

    async def entries(self) -> dict[str, bytes]:
        """Return every pin, by daemon id."""
        return dict(self._pins)


def check_pin(daemon_id: str, identity_key: bytes) -> bytes:
    """Return `identity_key` as bytes when the two can be pinned.

    Raises:
        ConfigError: `daemon_id` is not a daemon id.
        IdentityStoreError: `identity_key` is not 32 bytes.
    """
    check_daemon_id(daemon_id)
    if not isinstance(identity_key, bytes | bytearray | memoryview):
        msg = f"an identity key is bytes, this one is {type(identity_key).__name__}"
        raise IdentityStoreError(msg)
    if len(identity_key) != _KEY_BYTES:
        msg = f"an identity key is {_KEY_BYTES} bytes, this one has {len(identity_key)}"
        raise IdentityStoreError(msg)
    return bytes(identity_key)
