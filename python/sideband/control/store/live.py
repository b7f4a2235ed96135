"""What is going on now: presence, sessions, spent session ids, revocations that relays have to follow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.control.store.database import insert_ignore, insert_or_update
from sideband.control.store.schema import presence, revocations, spent_sids

__all__ = [
    "Revocation",
    "add_revocation",
    "newest_revocation_id",
    "online_daemons",
    "purge_live",
    "report_presence",
    "revocations_after",
    "set_offline",
    "set_online",
    "spend_sid",
]


@dataclass(frozen=True, slots=True)
class Revocation:
    """An order to refuse a daemon's tokens issued until `at` (milliseconds), and to end its connection.

    With a `key_id` it is about the tokens that were issued for that API key only.
    """

    id: int
    daemon_id: str
    key_id: str | None
    at: int


async def spend_sid(connection: AsyncConnection, sid: int, expires_at: int) -> bool:
    """Spend a session id; False when it was spent before. It is remembered until `expires_at` (milliseconds)."""
    result = await connection.execute(
        insert_ignore(connection, spent_sids, sid=sid.to_bytes(8, "big"), expires_at=expires_at)
    )
    return bool(result.rowcount == 1)


async def set_online(connection: AsyncConnection, relay_id: str, daemon_id: str, now: int, expires_at: int) -> None:
    """Note that a relay holds a daemon's connection until `expires_at`, unless it is reported again."""
    await connection.execute(
        insert_or_update(
            connection, presence, ("since",), daemon_id=daemon_id, relay_id=relay_id, since=now, expires_at=expires_at
        )
    )


async def set_offline(connection: AsyncConnection, relay_id: str, daemon_id: str) -> None:
    """Note that a relay lost a daemon's connection; another relay's note stays."""
    await connection.execute(delete(presence).where(presence.c.daemon_id == daemon_id, presence.c.relay_id == relay_id))


async def report_presence(
    connection: AsyncConnection, relay_id: str, daemon_ids: Iterable[str], now: int, expires_at: int
) -> None:
    """Replace what is known of a relay by the full list of daemons that it holds now."""
    online = set(daemon_ids)
    held = {
        row.daemon_id
        for row in await connection.execute(select(presence.c.daemon_id).where(presence.c.relay_id == relay_id))
    }
    gone = held - online
    if gone:
        await connection.execute(
            delete(presence).where(presence.c.relay_id == relay_id, presence.c.daemon_id.in_(gone))
        )
    for daemon_id in sorted(online):
        await set_online(connection, relay_id, daemon_id, now, expires_at)


async def online_daemons(connection: AsyncConnection, daemon_ids: Iterable[str], now: int) -> set[str]:
    """Return those of `daemon_ids` that a relay holds a connection of at `now`."""
    statement = select(presence.c.daemon_id).where(
        presence.c.daemon_id.in_(list(daemon_ids)), presence.c.expires_at > now
    )
    return {row.daemon_id for row in await connection.execute(statement)}


async def add_revocation(connection: AsyncConnection, daemon_id: str, key_id: str | None, now: int) -> None:
    """Order every relay to refuse a daemon's earlier tokens and to end its connection."""
    await connection.execute(insert(revocations).values(daemon_id=daemon_id, key_id=key_id, at=now))


async def revocations_after(connection: AsyncConnection, last_id: int, since: int) -> list[Revocation]:
    """Return the orders with an id over `last_id`, given at or after `since`, in their order."""
    statement = (
        select(revocations).where(revocations.c.id > last_id, revocations.c.at >= since).order_by(revocations.c.id)
    )
    return [Revocation(row.id, row.daemon_id, row.key_id, row.at) for row in await connection.execute(statement)]


async def newest_revocation_id(connection: AsyncConnection) -> int:
    """Return the id of the newest order, 0 when there was none."""
    return (await connection.execute(select(func.max(revocations.c.id)))).scalar() or 0


async def purge_live(connection: AsyncConnection, now: int, revocations_before: int) -> None:
    """Forget session ids and presence that lapsed, and orders older than any token they could concern."""
    await connection.execute(delete(spent_sids).where(spent_sids.c.expires_at < now))
    await connection.execute(delete(presence).where(presence.c.expires_at < now))
    await connection.execute(delete(revocations).where(revocations.c.at < revocations_before))
