"""What every store of inboxes promises. One suite of tests runs on all of them.

Cursors of an address only rise and none is used twice, whatever is deleted, purged or restarted. A reader that was
given cursor n never misses a lower one. Times are passed in, in milliseconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from sideband.inbox.store.notices import Notices

__all__ = [
    "DEFAULT_QUOTAS",
    "Blob",
    "EnvelopeKeyRecord",
    "InboxStore",
    "NewBlob",
    "Owner",
    "Page",
    "Quotas",
    "Receipt",
    "message_id",
    "sender_hint",
]

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Quotas:
    """What one address may hold. A put that would go beyond is refused and changes nothing.

    Attributes:
        blobs: blobs of an address.
        bytes: their ciphertexts together.
        blobs_per_sender: blobs of one sender at an address.
        remember_ms: how long a deleted blob is remembered, so that the same put again is no second delivery.
    """

    blobs: int = 1_000
    bytes: int = 64 * MIB
    blobs_per_sender: int = 200
    remember_ms: int = 24 * 3600 * 1000


DEFAULT_QUOTAS = Quotas()


@dataclass(frozen=True, slots=True)
class EnvelopeKeyRecord:
    """The key that envelopes for an address are sealed to (32 bytes), with its owner's signature (64 bytes)."""

    public_key: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Owner:
    """A registered address.

    Attributes:
        address: in its one form.
        signing_key: Ed25519, 32 bytes; the first use has won.
        highest: no cursor of this address is above it.
        envelope_key: as published, or None.
        watchers: addresses that may see whether this one is connected.
    """

    address: str
    signing_key: bytes
    highest: int
    envelope_key: EnvelopeKeyRecord | None = None
    watchers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NewBlob:
    """What is put.

    Attributes:
        address: in its one form.
        msg_id: SHA-256 of the ciphertext, 64 lowercase hex digits.
        ciphertext: as it came.
        sender: the sender's signing key, 32 bytes.
        expires_at: from then on it is not there any more.
    """

    address: str
    msg_id: str
    ciphertext: bytes
    sender: bytes
    expires_at: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a put; `duplicate` tells that the same ciphertext was put before, and this is its first answer."""

    cursor: int
    expires_at: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Blob:
    """What is delivered; `hint` is the sender's (see `sender_hint`)."""

    cursor: int
    msg_id: str
    ciphertext: bytes
    hint: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Page:
    """Blobs in the order of their cursors; `more` tells that there were others behind them."""

    blobs: list[Blob]
    more: bool


class InboxStore(Protocol):
    """Where inboxes are kept. Every method may raise StoreError; then nothing was changed, or the change is whole."""

    notices: Notices
    """Tells of blobs that were stored, by whatever process, once they can be read."""

    async def register(
        self, address: str, signing_key: bytes, *, envelope_key: EnvelopeKeyRecord | None, signed_at: int, limit: int
    ) -> bool:
        """Make `signing_key` the owner of `address`; tell whether it was not before.

        Args:
            address: in its one form.
            signing_key: 32 bytes.
            envelope_key: published from now on unless a later signed request has published another; None leaves it.
            signed_at: when the request was signed.
            limit: most addresses that the store takes; those that are there stay.

        Raises:
            InboxError: `SHADE_UNAUTHORIZED`: the address is another key's. `SHADE_QUOTA_EXCEEDED`: it would be beyond
                `limit`.
        """

    async def owner(self, address: str) -> Owner | None:
        """Return the owner of `address`, or None."""

    async def set_watchers(self, address: str, watchers: frozenset[str], *, signed_at: int) -> None:
        """Set who may see whether `address` is connected, unless a later signed request has set it."""

    async def put(self, blob: NewBlob, quotas: Quotas, now: int) -> Receipt:
        """Keep a blob; it is on the disk, and told of, once this returns.

        Raises:
            InboxError: `SHADE_NOT_FOUND`: nobody owns the address. `SHADE_QUOTA_EXCEEDED`: see `Quotas`.
        """

    async def read(self, address: str, since: int, *, limit: int, max_bytes: int, now: int) -> Page:
        """Return the first blobs above `since` that have not expired.

        Args:
            address: in its one form.
            since: a cursor; 0 for all.
            limit: most blobs.
            max_bytes: the page ends with the blob that reaches it; a page is never empty because of it.
            now: the time.
        """

    async def delete(self, address: str, msg_id: str, *, now: int, forget_at: int) -> bool:
        """Take a blob away and remember until `forget_at` that it was there; tell whether it was."""

    async def purge(self, now: int) -> int:
        """Take away what has expired, and forget what need not be remembered; return how many blobs were."""

    async def check(self) -> None:
        """Return if the store works.

        Raises:
            StoreError: it does not.
        """

    async def close(self) -> None:
        """Close every connection. Idempotent."""


def message_id(ciphertext: bytes) -> str:
    """Return the id of a blob: SHA-256 in lowercase hex."""
    return sha256(ciphertext).hexdigest()


def sender_hint(signing_key: bytes) -> str:
    """Return the first 8 bytes of the SHA-256 of a sender's signing key, in hex: a hint, never proof."""
    return sha256(signing_key).hexdigest()[:16]
