"""Accounts, users, daemons and credentials as an admin handles them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Table, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.control.store.schema import (
    accounts,
    api_keys,
    daemons,
    memberships,
    presence,
    relay_sessions,
    user_tokens,
    users,
)
from sideband.database import insert_ignore

__all__ = [
    "add_member",
    "find_id",
    "insert_row",
    "keys_of",
    "list_accounts",
    "list_daemons",
    "list_keys",
    "list_sessions",
    "list_tokens",
    "list_users",
    "mark",
    "remove_member",
]

Rows = list[dict[str, Any]]


async def insert_row(connection: AsyncConnection, table: Table, **values: Any) -> None:
    """Add a row."""
    await connection.execute(insert(table).values(**values))


async def find_id(connection: AsyncConnection, table: Table, id_or_name: str) -> str | None:
    """Return the id of the row whose id or, where the table has names, whose name is `id_or_name`.

    An id goes before a name; None when there is no such row, or several have the name.
    """
    named = or_(table.c.id == id_or_name, table.c.name == id_or_name) if "name" in table.c else table.c.id == id_or_name
    found = [row.id for row in await connection.execute(select(table.c.id).where(named))]
    if id_or_name in found:
        return id_or_name
    return str(found[0]) if len(found) == 1 else None


async def mark(connection: AsyncConnection, table: Table, row_id: str, column: Column[Any], value: int | None) -> bool:
    """Set a row's time column, such as `disabled_at`; tell whether that changed anything but a time already set."""
    unset = column.is_(None) if value is not None else column.is_not(None)
    result = await connection.execute(update(table).where(table.c.id == row_id, unset).values({column: value}))
    return result.rowcount == 1


async def add_member(connection: AsyncConnection, account_id: str, user_id: str, now: int) -> bool:
    """Let a user reach an account's daemons; False when they could already."""
    statement = insert_ignore(connection, memberships, account_id=account_id, user_id=user_id, created_at=now)
    return bool((await connection.execute(statement)).rowcount == 1)


async def remove_member(connection: AsyncConnection, account_id: str, user_id: str) -> bool:
    """Take a user's access to an account's daemons; False when they had none."""
    statement = memberships.delete().where(memberships.c.account_id == account_id, memberships.c.user_id == user_id)
    return (await connection.execute(statement)).rowcount == 1


async def keys_of(connection: AsyncConnection, daemon_id: str) -> list[str]:
    """Return the ids of a daemon's API keys that are not revoked."""
    statement = select(api_keys.c.id).where(api_keys.c.daemon_id == daemon_id, api_keys.c.revoked_at.is_(None))
    return [row.id for row in await connection.execute(statement)]


async def list_accounts(connection: AsyncConnection) -> Rows:
    """Return every account, by name, with the names of its users."""
    rows = await _rows(connection, select(accounts).order_by(accounts.c.name))
    members: dict[str, list[str]] = {row["id"]: [] for row in rows}
    statement = (
        select(memberships.c.account_id, users.c.name)
        .select_from(memberships.join(users, users.c.id == memberships.c.user_id))
        .order_by(users.c.name)
    )
    for row in await connection.execute(statement):
        members[row.account_id].append(row.name)
    return [{**row, "users": members[row["id"]]} for row in rows]


async def list_users(connection: AsyncConnection) -> Rows:
    """Return every user, by name."""
    return await _rows(connection, select(users).order_by(users.c.name))


async def list_tokens(connection: AsyncConnection, user_id: str | None = None) -> Rows:
    """Return user tokens without their digests, of one user or of all."""
    shown = [column for column in user_tokens.c if column.name != "digest"]
    statement = select(*shown).order_by(user_tokens.c.created_at, user_tokens.c.id)
    return await _rows(connection, statement if user_id is None else statement.where(user_tokens.c.user_id == user_id))


async def list_daemons(connection: AsyncConnection, now: int) -> Rows:
    """Return every daemon with its account's name and whether it is online."""
    statement = (
        select(daemons, accounts.c.name.label("account"), presence.c.expires_at.label("online_until"))
        .select_from(
            daemons.join(accounts, accounts.c.id == daemons.c.account_id).outerjoin(
                presence, presence.c.daemon_id == daemons.c.id
            )
        )
        .order_by(accounts.c.name, daemons.c.name, daemons.c.id)
    )
    rows = await _rows(connection, statement)
    for row in rows:
        row["online"] = (row.pop("online_until") or 0) > now
    return rows


async def list_keys(connection: AsyncConnection, daemon_id: str | None = None) -> Rows:
    """Return API keys without their digests, of one daemon or of all."""
    shown = [column for column in api_keys.c if column.name != "digest"]
    statement = select(*shown).order_by(api_keys.c.created_at, api_keys.c.id)
    return await _rows(
        connection, statement if daemon_id is None else statement.where(api_keys.c.daemon_id == daemon_id)
    )


async def list_sessions(connection: AsyncConnection, now: int) -> Rows:
    """Return the live sessions that relays reported last."""
    statement = select(relay_sessions).where(relay_sessions.c.expires_at > now).order_by(relay_sessions.c.since)
    return await _rows(connection, statement)


async def _rows(connection: AsyncConnection, statement: Any) -> Rows:
    result: Sequence[Any] = (await connection.execute(statement)).mappings().all()
    return [dict(row) for row in result]
