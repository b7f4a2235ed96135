"""Puts on SQL, many in one transaction: one wait for the disk serves all that came in the meantime."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, tuple_, update

from sideband.errors import InboxError
from sideband.inbox.store.base import NewBlob, Quotas, Receipt
from sideband.inbox.store.refusals import quota_exceeded, unknown_address
from sideband.inbox.store.schema import blobs, deleted, owners

__all__ = ["put_batch"]

Outcome = Receipt | InboxError


@dataclass(slots=True)
class _Room:
    """An owner's row as it will be when the batch is written."""

    owner_id: int
    cursor: int
    blobs: int
    bytes: int


def put_batch(connection: Connection, puts: Sequence[tuple[NewBlob, Quotas, int]]) -> list[Outcome]:
    """Keep blobs, inside the caller's transaction; return what became of each, in order.

    Rows of owners are locked first, in the order of their addresses, so that batches of several processes never wait
    for each other in a circle, and what is read afterwards cannot change before the commit.
    """
    rooms = _lock(connection, sorted({put.address for put, _, _ in puts}))
    wanted = [(rooms[put.address].owner_id, put) for put, _, _ in puts if put.address in rooms]
    ids = {(owner_id, put.msg_id) for owner_id, put in wanted}
    stored = _stored(connection, ids)
    remembered = _remembered(connection, ids - stored.keys())
    now = min(now for _, _, now in puts)
    by_sender = _count_senders(connection, {(owner_id, put.sender) for owner_id, put in wanted}, now)

    outcomes: list[Outcome] = []
    rows: list[dict[str, Any]] = []
    for put, quotas, at in puts:
        room = rooms.get(put.address)
        if room is None:
            outcomes.append(unknown_address())
            continue
        key = (room.owner_id, put.msg_id)
        known = stored.get(key)
        if known is not None and known.expires_at <= at:
            _drop_expired(connection, room, at)
            known = None
        if known is None and key in remembered and remembered[key][1] > at:
            known = remembered[key][0]
        if known is not None:
            outcomes.append(known)
            continue
        refusal = _refusal(connection, room, put, quotas, at, by_sender)
        if refusal is not None:
            outcomes.append(refusal)
            continue
        room.cursor += 1
        room.blobs += 1
        room.bytes += len(put.ciphertext)
        by_sender[room.owner_id, put.sender] = by_sender.get((room.owner_id, put.sender), 0) + 1
        stored[key] = Receipt(room.cursor, put.expires_at, duplicate=True)
        rows.append(_row(room, put))
        outcomes.append(Receipt(room.cursor, put.expires_at, duplicate=False))
    _write(connection, rooms, rows)
    return outcomes


def _lock(connection: Connection, addresses: Sequence[str]) -> dict[str, _Room]:
    statement = (
        select(owners.c.id, owners.c.address, owners.c.cursor, owners.c.blobs, owners.c.bytes)
        .where(owners.c.address.in_(addresses))
        .order_by(owners.c.address)
        .with_for_update()
    )
    return {row.address: _Room(row.id, row.cursor, row.blobs, row.bytes) for row in connection.execute(statement)}


def _stored(connection: Connection, ids: Iterable[tuple[int, str]]) -> dict[tuple[int, str], Receipt]:
    statement = select(blobs.c.owner_id, blobs.c.msg_id, blobs.c.cursor, blobs.c.expires_at).where(
        tuple_(blobs.c.owner_id, blobs.c.msg_id).in_(list(ids))
    )
    return {
        (row.owner_id, row.msg_id): Receipt(row.cursor, row.expires_at, duplicate=True)
        for row in connection.execute(statement)
    }


def _remembered(connection: Connection, ids: Iterable[tuple[int, str]]) -> dict[tuple[int, str], tuple[Receipt, int]]:
    statement = select(deleted).where(tuple_(deleted.c.owner_id, deleted.c.msg_id).in_(list(ids)))
    return {
        (row.owner_id, row.msg_id): (Receipt(row.cursor, row.expires_at, duplicate=True), row.forget_at)
        for row in connection.execute(statement)
    }


def _count_senders(
    connection: Connection, senders: Iterable[tuple[int, bytes]], now: int
) -> dict[tuple[int, bytes], int]:
    statement = (
        select(blobs.c.owner_id, blobs.c.sender, func.count())
        .where(tuple_(blobs.c.owner_id, blobs.c.sender).in_(list(senders)), blobs.c.expires_at > now)
        .group_by(blobs.c.owner_id, blobs.c.sender)
    )
    return {(owner_id, sender): count for owner_id, sender, count in connection.execute(statement)}


def _refusal(
    connection: Connection,
    room: _Room,
    put: NewBlob,
    quotas: Quotas,
    now: int,
    by_sender: dict[tuple[int, bytes], int],
) -> InboxError | None:
    size = len(put.ciphertext)
    if room.blobs >= quotas.blobs or room.bytes + size > quotas.bytes:
        _drop_expired(connection, room, now)
    if room.blobs >= quotas.blobs:
        return quota_exceeded("messages")
    if room.bytes + size > quotas.bytes:
        return quota_exceeded("bytes")
    if by_sender.get((room.owner_id, put.sender), 0) >= quotas.blobs_per_sender:
        return quota_exceeded("messages of this sender")
    return None


def _drop_expired(connection: Connection, room: _Room, now: int) -> None:
    gone = connection.execute(
        delete(blobs).where(blobs.c.owner_id == room.owner_id, blobs.c.expires_at <= now).returning(blobs.c.size)
    ).all()
    room.blobs -= len(gone)
    room.bytes -= sum(row.size for row in gone)


def _row(room: _Room, put: NewBlob) -> dict[str, Any]:
    return {
        "owner_id": room.owner_id,
        "cursor": room.cursor,
        "msg_id": put.msg_id,
        "sender": put.sender,
        "size": len(put.ciphertext),
        "expires_at": put.expires_at,
        "ciphertext": put.ciphertext,
    }


def _write(connection: Connection, rooms: dict[str, _Room], rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(blobs), rows)
    if rooms:
        connection.execute(
            update(owners)
            .where(owners.c.id == bindparam("row"))
            .values(cursor=bindparam("new_cursor"), blobs=bindparam("new_blobs"), bytes=bindparam("new_bytes")),
            [
                {"row": room.owner_id, "new_cursor": room.cursor, "new_blobs": room.blobs, "new_bytes": room.bytes}
                for room in rooms.values()
            ],
        )
