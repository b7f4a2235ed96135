"""Inboxes on SQL: SQLite here, PostgreSQL with the events of other processes in postgres.py."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Row, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.database import BUSY_TIMEOUT_SECONDS, Database, insert_ignore, wait_for_turn
from sideband.errors import InboxError, StoreError
from sideband.inbox.store.base import Blob, EnvelopeKeyRecord, NewBlob, Owner, Page, Quotas, Receipt, sender_hint
from sideband.inbox.store.migrations import upgrade
from sideband.inbox.store.notices import Notices
from sideband.inbox.store.put_batch import put_batch
from sideband.inbox.store.refusals import address_taken, too_many_addresses
from sideband.inbox.store.schema import blobs, deleted, owners

__all__ = ["MAX_BATCH", "SqlInboxStore"]

MAX_BATCH = 256
"""Most puts in one transaction."""
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""A batch ends with the put that reaches this."""


@dataclass(slots=True, eq=False)
class _Waiting:
    put: tuple[NewBlob, Quotas, int]
    outcome: Receipt | InboxError | StoreError | None = None


class SqlInboxStore:
    """Inboxes in a database. See `InboxStore`. One process at a time may use a SQLite file."""

    def __init__(self, database: Database, notices: Notices) -> None:
        self.notices = notices
        self._database = database
        self._waiting: list[_Waiting] = []
        self._one_batch = asyncio.Lock()

    @classmethod
    async def open(cls, url: str, *, wait_seconds: float = BUSY_TIMEOUT_SECONDS) -> Self:
        """Connect, bring the schema up to date, and return the store.

        Raises:
            ConfigError: the URL is not one of SQLite or PostgreSQL.
            StoreError: the store cannot be reached, or its schema was made by a newer version of this package.
        """
        return cls(await Database.connect(url, upgrade, wait_seconds=wait_seconds), Notices())

    async def register(
        self, address: str, signing_key: bytes, *, envelope_key: EnvelopeKeyRecord | None, signed_at: int, limit: int
    ) -> bool:
        """See `InboxStore.register`."""
        async with self._database.write() as connection:
            row = await self._locked(connection, address)
            if row is None:
                await wait_for_turn(connection)
                known = (await connection.execute(select(func.count()).select_from(owners))).scalar_one()
                if known >= limit:
                    raise too_many_addresses()
                if await self._insert(connection, address, signing_key, envelope_key, signed_at):
                    return True
                row = await self._locked(connection, address)
            if row is None or row.signing_key != signing_key:
                raise address_taken()
            if envelope_key is not None and signed_at > row.envelope_key_signed_at:
                await connection.execute(
                    update(owners)
                    .where(owners.c.id == row.id)
                    .values(
                        envelope_key=envelope_key.public_key,
                        envelope_key_signature=envelope_key.signature,
                        envelope_key_signed_at=signed_at,
                    )
                )
            return False

    async def owner(self, address: str) -> Owner | None:
        """See `InboxStore.owner`."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(owners).where(owners.c.address == address))).first()
        if row is None:
            return None
        key = None
        if row.envelope_key is not None:
            key = EnvelopeKeyRecord(row.envelope_key, row.envelope_key_signature)
        watchers = frozenset(json.loads(row.watchers)) if row.watchers else frozenset()
        return Owner(row.address, row.signing_key, row.cursor, key, watchers)

    async def set_watchers(self, address: str, watchers: frozenset[str], *, signed_at: int) -> None:
        """See `InboxStore.set_watchers`."""
        async with self._database.write() as connection:
            await connection.execute(
                update(owners)
                .where(owners.c.address == address, owners.c.watchers_signed_at < signed_at)
                .values(watchers=json.dumps(sorted(watchers)), watchers_signed_at=signed_at)
            )

    async def put(self, blob: NewBlob, quotas: Quotas, now: int) -> Receipt:
        """See `InboxStore.put`."""
        waiting = _Waiting((blob, quotas, now))
        self._waiting.append(waiting)
        try:
            async with self._one_batch:
                # Who has the lock writes for all that wait, and they find it done. One that is cancelled meanwhile
                # leaves them to the next.
                if waiting.outcome is None:
                    await self._write_batch(waiting)
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
        outcome = waiting.outcome
        if not isinstance(outcome, Receipt):
            raise outcome or AssertionError("a batch that was written has an outcome for each put")
        return outcome

    async def read(self, address: str, since: int, *, limit: int, max_bytes: int, now: int) -> Page:
        """See `InboxStore.read`."""
        owner_id = select(owners.c.id).where(owners.c.address == address).scalar_subquery()
        live = (blobs.c.owner_id == owner_id, blobs.c.expires_at > now)
        async with self._database.read() as connection:
            found = (
                await connection.execute(
                    select(blobs.c.cursor, blobs.c.size)
                    .where(*live, blobs.c.cursor > since)
                    .order_by(blobs.c.cursor)
                    .limit(limit + 1)
                )
            ).all()
            count = _fitting(found, limit, max_bytes)
            if count == 0:
                return Page([], more=False)
            rows = await connection.execute(
                select(blobs.c.cursor, blobs.c.msg_id, blobs.c.ciphertext, blobs.c.sender, blobs.c.expires_at)
                .where(*live, blobs.c.cursor > since, blobs.c.cursor <= found[count - 1].cursor)
                .order_by(blobs.c.cursor)
            )
            kept = [
                Blob(cursor, msg_id, ciphertext, sender_hint(sender), expires_at)
                for cursor, msg_id, ciphertext, sender, expires_at in rows
            ]
        return Page(kept, more=count < len(found))

    async def delete(self, address: str, msg_id: str, *, now: int, forget_at: int) -> bool:
        """See `InboxStore.delete`."""
        async with self._database.write() as connection:
            owner = await self._locked(connection, address)
            if owner is None:
                return False
            gone = (
                await connection.execute(
                    delete(blobs)
                    .where(blobs.c.owner_id == owner.id, blobs.c.msg_id == msg_id, blobs.c.expires_at > now)
                    .returning(blobs.c.cursor, blobs.c.size, blobs.c.expires_at)
                )
            ).first()
            if gone is None:
                return False
            memory = {"cursor": gone.cursor, "expires_at": gone.expires_at, "forget_at": forget_at}
            await connection.execute(delete(deleted).where(deleted.c.owner_id == owner.id, deleted.c.msg_id == msg_id))
            await connection.execute(insert(deleted).values(owner_id=owner.id, msg_id=msg_id, **memory))
            await _subtract(connection, owner.id, 1, gone.size)
            return True

    async def purge(self, now: int) -> int:
        """See `InboxStore.purge`."""
        async with self._database.read() as connection:
            expired = blobs.c.expires_at <= now
            owner_ids = (await connection.execute(select(blobs.c.owner_id).where(expired).distinct())).scalars().all()
        purged = 0
        for owner_id in owner_ids:
            # A transaction each: puts of other addresses need not wait, and no two locks are held at once.
            async with self._database.write() as connection:
                await connection.execute(select(owners.c.id).where(owners.c.id == owner_id).with_for_update())
                gone = (
                    await connection.execute(
                        delete(blobs)
                        .where(blobs.c.owner_id == owner_id, blobs.c.expires_at <= now)
                        .returning(blobs.c.size)
                    )
                ).all()
                await _subtract(connection, owner_id, len(gone), sum(row.size for row in gone))
            purged += len(gone)
        async with self._database.write() as connection:
            await connection.execute(delete(deleted).where(deleted.c.forget_at <= now))
        return purged

    async def check(self) -> None:
        """See `InboxStore.check`."""
        async with self._database.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """See `InboxStore.close`."""
        await self._database.close()

    async def _write_batch(self, own: _Waiting) -> None:
        batch = _batch(self._waiting, own)
        try:
            async with self._database.write() as connection:
                outcomes = await connection.run_sync(put_batch, [waiting.put for waiting in batch])
                stored = {
                    waiting.put[0].address
                    for waiting, outcome in zip(batch, outcomes, strict=True)
                    if isinstance(outcome, Receipt) and not outcome.duplicate
                }
                await self._tell_others(connection, stored)
        except StoreError as error:
            # All of them fail now: each waiting for the store's time-out by itself would take for ever.
            for waiting in batch:
                waiting.outcome = StoreError(str(error))
            return
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.outcome = outcome
            self._waiting.remove(waiting)
            if isinstance(outcome, Receipt) and not outcome.duplicate:
                blob = waiting.put[0]
                kept = Blob(outcome.cursor, blob.msg_id, blob.ciphertext, sender_hint(blob.sender), blob.expires_at)
                self.notices.stored(blob.address, outcome.cursor - 1, kept)

    async def _tell_others(self, connection: AsyncConnection, addresses: set[str]) -> None:
        """Tell other processes, with the commit of `connection`. With SQLite there are none."""

    async def _locked(self, connection: AsyncConnection, address: str) -> Row[Any] | None:
        return (await connection.execute(select(owners).where(owners.c.address == address).with_for_update())).first()

    async def _insert(
        self,
        connection: AsyncConnection,
        address: str,
        signing_key: bytes,
        envelope_key: EnvelopeKeyRecord | None,
        signed_at: int,
    ) -> bool:
        statement = insert_ignore(
            connection,
            owners,
            address=address,
            signing_key=signing_key,
            cursor=0,
            blobs=0,
            bytes=0,
            envelope_key=envelope_key.public_key if envelope_key else None,
            envelope_key_signature=envelope_key.signature if envelope_key else None,
            envelope_key_signed_at=signed_at,
            watchers_signed_at=0,
        )
        return bool((await connection.execute(statement)).rowcount)


async def _subtract(connection: AsyncConnection, owner_id: int, count: int, size: int) -> None:
    await connection.execute(
        update(owners).where(owners.c.id == owner_id).values(blobs=owners.c.blobs - count, bytes=owners.c.bytes - size)
    )


def _batch(waiting: list[_Waiting], own: _Waiting) -> list[_Waiting]:
    # Whoever writes is part of the batch: otherwise it could go on writing for others without an end.
    batch, size = [own], len(own.put[0].ciphertext)
    for each in waiting:
        if len(batch) >= MAX_BATCH or size >= MAX_BATCH_BYTES:
            break
        if each is not own:
            batch.append(each)
            size += len(each.put[0].ciphertext)
    return batch


def _fitting(found: Any, limit: int, max_bytes: int) -> int:
    size = 0
    for index, row in enumerate(found[:limit]):
        if size >= max_bytes:
            return index
        size += row.size
    return min(len(found), limit)
