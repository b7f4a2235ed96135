"""Inboxes in memory: for tests, and for what may be lost with the process."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice

from sideband.inbox.store.base import Blob, EnvelopeKeyRecord, NewBlob, Owner, Page, Quotas, Receipt, sender_hint
from sideband.inbox.store.notices import Notices
from sideband.inbox.store.refusals import address_taken, quota_exceeded, too_many_addresses, unknown_address

__all__ = ["MemoryInboxStore"]


@dataclass(slots=True)
class _Kept:
    blob: Blob
    sender: bytes


@dataclass(slots=True)
class _Inbox:
    owner: Owner
    key_signed_at: int
    watchers_signed_at: int = 0
    held: int = 0
    order: list[int] = field(default_factory=list)
    by_cursor: dict[int, _Kept] = field(default_factory=dict)
    by_id: dict[str, _Kept] = field(default_factory=dict)
    by_sender: Counter[bytes] = field(default_factory=Counter)
    deleted: dict[str, tuple[Receipt, int]] = field(default_factory=dict)

    def add(self, blob: Blob, sender: bytes) -> None:
        self.by_cursor[blob.cursor] = self.by_id[blob.msg_id] = _Kept(blob, sender)
        self.order.append(blob.cursor)
        self.by_sender[sender] += 1
        self.held += len(blob.ciphertext)

    def remove(self, blob: Blob) -> None:
        sender = self.by_cursor.pop(blob.cursor).sender
        self.by_sender[sender] -= 1
        if not self.by_sender[sender]:
            del self.by_sender[sender]
        del self.by_id[blob.msg_id]
        del self.order[bisect_right(self.order, blob.cursor) - 1]
        self.held -= len(blob.ciphertext)

    def drop_expired(self, now: int) -> int:
        expired = [kept.blob for kept in self.by_id.values() if kept.blob.expires_at <= now]
        for blob in expired:
            self.remove(blob)
        return len(expired)


class MemoryInboxStore:
    """Inboxes that end with the process. See `InboxStore`."""

    def __init__(self) -> None:
        self.notices = Notices()
        self._inboxes: dict[str, _Inbox] = {}

    async def register(
        self, address: str, signing_key: bytes, *, envelope_key: EnvelopeKeyRecord | None, signed_at: int, limit: int
    ) -> bool:
        """See `InboxStore.register`."""
        inbox = self._inboxes.get(address)
        if inbox is None:
            if len(self._inboxes) >= limit:
                raise too_many_addresses()
            self._inboxes[address] = _Inbox(Owner(address, signing_key, 0, envelope_key), signed_at)
            return True
        if inbox.owner.signing_key != signing_key:
            raise address_taken()
        if envelope_key is not None and signed_at > inbox.key_signed_at:
            inbox.owner = replace(inbox.owner, envelope_key=envelope_key)
            inbox.key_signed_at = signed_at
        return False

    async def owner(self, address: str) -> Owner | None:
        """See `InboxStore.owner`."""
        inbox = self._inboxes.get(address)
        return None if inbox is None else inbox.owner

    async def set_watchers(self, address: str, watchers: frozenset[str], *, signed_at: int) -> None:
        """See `InboxStore.set_watchers`."""
        inbox = self._inboxes[address]
        if signed_at > inbox.watchers_signed_at:
            inbox.owner = replace(inbox.owner, watchers=watchers)
            inbox.watchers_signed_at = signed_at

    async def put(self, blob: NewBlob, quotas: Quotas, now: int) -> Receipt:
        """See `InboxStore.put`."""
        inbox = self._inboxes.get(blob.address)
        if inbox is None:
            raise unknown_address()
        known = inbox.by_id.get(blob.msg_id)
        if known is not None:
            if known.blob.expires_at > now:
                return Receipt(known.blob.cursor, known.blob.expires_at, duplicate=True)
            inbox.remove(known.blob)
        remembered = inbox.deleted.get(blob.msg_id)
        if remembered is not None and remembered[1] > now:
            return remembered[0]
        self._check_quotas(inbox, blob, quotas, now)
        cursor = inbox.owner.highest + 1
        inbox.owner = replace(inbox.owner, highest=cursor)
        stored = Blob(cursor, blob.msg_id, blob.ciphertext, sender_hint(blob.sender), blob.expires_at)
        inbox.add(stored, blob.sender)
        self.notices.stored(blob.address, cursor - 1, stored)
        return Receipt(cursor, blob.expires_at, duplicate=False)

    async def read(self, address: str, since: int, *, limit: int, max_bytes: int, now: int) -> Page:
        """See `InboxStore.read`."""
        inbox = self._inboxes.get(address)
        blobs: list[Blob] = []
        if inbox is None:
            return Page(blobs, more=False)
        size = 0
        for cursor in islice(inbox.order, bisect_right(inbox.order, since), None):
            blob = inbox.by_cursor[cursor].blob
            if blob.expires_at <= now:
                continue
            if len(blobs) >= limit or size >= max_bytes:
                return Page(blobs, more=True)
            blobs.append(blob)
            size += len(blob.ciphertext)
        return Page(blobs, more=False)

    async def delete(self, address: str, msg_id: str, *, now: int, forget_at: int) -> bool:
        """See `InboxStore.delete`."""
        inbox = self._inboxes.get(address)
        kept = None if inbox is None else inbox.by_id.get(msg_id)
        if inbox is None or kept is None or kept.blob.expires_at <= now:
            return False
        inbox.remove(kept.blob)
        inbox.deleted[msg_id] = (Receipt(kept.blob.cursor, kept.blob.expires_at, duplicate=True), forget_at)
        return True

    async def purge(self, now: int) -> int:
        """See `InboxStore.purge`."""
        for inbox in self._inboxes.values():
            inbox.deleted = {msg_id: known for msg_id, known in inbox.deleted.items() if known[1] > now}
        return sum(inbox.drop_expired(now) for inbox in self._inboxes.values())

    async def check(self) -> None:
        """Return: memory works."""

    async def close(self) -> None:
        """Forget everything."""
        self._inboxes.clear()

    @staticmethod
    def _check_quotas(inbox: _Inbox, blob: NewBlob, quotas: Quotas, now: int) -> None:
        if (
            len(inbox.order) >= quotas.blobs
            or inbox.held + len(blob.ciphertext) > quotas.bytes
            or inbox.by_sender[blob.sender] >= quotas.blobs_per_sender
        ):
            inbox.drop_expired(now)
        if len(inbox.order) >= quotas.blobs:
            raise quota_exceeded("messages")
        if inbox.held + len(blob.ciphertext) > quotas.bytes:
            raise quota_exceeded("bytes")
        if inbox.by_sender[blob.sender] >= quotas.blobs_per_sender:
            raise quota_exceeded("messages of this sender")
