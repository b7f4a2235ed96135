"""What is going on now: presence, sessions, spent session ids, orders that relays have to follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import delete, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.control.store.schema import accounts, api_keys, kicks, presence, relay_sessions, spent_sids
from sideband.control.store.schema import daemons as daemons_table
from sideband.database import insert_ignore, insert_or_update

__all__ = [
    "Kick",
    "LiveSession",
    "add_kick",
    "kicks_since",
    "online_daemons",
    "purge_live",
    "refused_keys",
    "report",
    "set_offline",
    "set_online",
    "spend_sid",
]


@dataclass(frozen=True, slots=True)
class Kick:
    """An order to every relay, given at `at` (milliseconds).

    `daemon`: end a daemon's connection, with a `key_id` only one that was opened with that API key. `session`: end the
    session `sid` (base64url). Carrying one out twice does nothing.
    """

    id: int
    kind: str
    daemon_id: str | None
    key_id: str | None
    sid: str | None
    at: int


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session as a relay reports it; `since` in milliseconds, up is client to daemon."""

    sid: str
    daemon_id: str
    subject: str
    state: str
    since: int
    frames_up: int = 0
    bytes_up: int = 0
    frames_down: int = 0
    bytes_down: int = 0


async def spend_sid(connection: AsyncConnection, sid: int, expires_at: int) -> bool:
    """Spend a session id; False when it was spent before. It is remembered until `expires_at` (milliseconds)."""
    result = await connection.execute(
        insert_ignore(connection, spent_sids, sid=sid.to_bytes(8, "big"), expires_at=expires_at)
    )
    return bool(result.rowcount == 1)


async def set_online(connection: AsyncConnection, relay_id: str, daemon_id: str, now: int, expires_at: int) -> None:
    """Note that a relay holds a daemon's connection until `expires_at`, unless it is reported again."""
    await connection.execute(
        insert_or_update(connection, presence, keep=("since",)),
        {"daemon_id": daemon_id, "relay_id": relay_id, "since": now, "expires_at": expires_at},
    )


async def set_offline(connection: AsyncConnection, relay_id: str, daemon_id: str) -> None:
    """Note that a relay lost a daemon's connection; another relay's note stays."""
    await connection.execute(delete(presence).where(presence.c.daemon_id == daemon_id, presence.c.relay_id == relay_id))


async def report(
    connection: AsyncConnection,
    relay_id: str,
    daemons: Mapping[str, int],
    sessions: Sequence[LiveSession],
    expires_at: int,
) -> None:
    """Replace what is known of a relay by the daemons it holds (id and since when) and its sessions."""
    await connection.execute(delete(presence).where(presence.c.relay_id == relay_id))
    await connection.execute(delete(relay_sessions).where(relay_sessions.c.relay_id == relay_id))
    common = {"relay_id": relay_id, "expires_at": expires_at}
    # In one order everywhere, so that two relays that report the same rows cannot lock each other out.
    held = [{"daemon_id": daemon_id, "since": since, **common} for daemon_id, since in sorted(daemons.items())]
    if held:
        await connection.execute(insert_or_update(connection, presence), held)
    rows = [{**asdict(session), **common} for session in sorted(sessions, key=lambda session: session.sid)]
    if rows:
        await connection.execute(insert_or_update(connection, relay_sessions), rows)


async def online_daemons(connection: AsyncConnection, daemon_ids: Iterable[str], now: int) -> set[str]:
    """Return those of `daemon_ids` that a relay holds a connection of at `now`."""
    statement = select(presence.c.daemon_id).where(
        presence.c.daemon_id.in_(list(daemon_ids)), presence.c.expires_at > now
    )
    return {row.daemon_id for row in await connection.execute(statement)}


async def add_kick(
    connection: AsyncConnection,
    now: int,
    *,
    daemon_id: str | None = None,
    key_id: str | None = None,
    sid: str | None = None,
) -> None:
    """Order every relay to end a daemon's connection, or a session."""
    kind = "session" if sid is not None else "daemon"
    await connection.execute(insert(kicks).values(kind=kind, daemon_id=daemon_id, key_id=key_id, sid=sid, at=now))


async def kicks_since(connection: AsyncConnection, since: int) -> list[Kick]:
    """Return the orders that were given at or after `since`, in their order."""
    statement = select(kicks).where(kicks.c.at >= since).order_by(kicks.c.id)
    return [
        Kick(row.id, row.kind, row.daemon_id, row.key_id, row.sid, row.at)
        for row in await connection.execute(statement)
    ]


async def refused_keys(connection: AsyncConnection, revoked_since: int) -> set[str]:
    """Return the ids of API keys whose tokens relays must refuse.

    Those that were revoked at or after `revoked_since`, and those of daemons that are disabled now.
    """
    statement = (
        select(api_keys.c.id)
        .select_from(
            api_keys.join(daemons_table, daemons_table.c.id == api_keys.c.daemon_id).join(
                accounts, accounts.c.id == daemons_table.c.account_id
            )
        )
        .where(
            or_(
                api_keys.c.revoked_at >= revoked_since,
                daemons_table.c.disabled_at.is_not(None),
                accounts.c.disabled_at.is_not(None),
            )
        )
    )
    return {row.id for row in await connection.execute(statement)}


async def purge_live(connection: AsyncConnection, now: int, kicks_before: int) -> None:
    """Forget session ids and presence that lapsed, and orders given before `kicks_before`."""
    await connection.execute(delete(spent_sids).where(spent_sids.c.expires_at < now))
    await connection.execute(delete(presence).where(presence.c.expires_at < now))
    await connection.execute(delete(relay_sessions).where(relay_sessions.c.expires_at < now))
    await connection.execute(delete(kicks).where(kicks.c.at < kicks_before))
