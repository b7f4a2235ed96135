"""Daemons, their identity keys, and who may reach them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, Select, and_, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.control.store.rows import DaemonRow
from sideband.control.store.schema import accounts, daemons, memberships, rotations

__all__ = [
    "accessible_daemons",
    "add_rotation",
    "daemon_by_id",
    "daemon_columns",
    "daemon_of",
    "is_member",
    "rotation_statements",
    "set_identity",
    "set_name",
]


def daemon_columns() -> Any:
    """Return the columns that `daemon_of` reads, for a SELECT from daemons joined with accounts."""
    return (
        daemons.c.id.label("daemon_id"),
        daemons.c.account_id,
        daemons.c.name.label("daemon_name"),
        daemons.c.identity_key,
        or_(daemons.c.disabled_at.is_not(None), accounts.c.disabled_at.is_not(None)).label("daemon_disabled"),
    )


def daemon_of(row: Row[Any]) -> DaemonRow:
    """Return the daemon in a row of `daemon_columns()`."""
    return DaemonRow(row.daemon_id, row.account_id, row.daemon_name, row.identity_key, bool(row.daemon_disabled))


async def daemon_by_id(connection: AsyncConnection, daemon_id: str) -> DaemonRow | None:
    """Return a daemon, or None when there is none of that id."""
    row = (await connection.execute(_daemons().where(daemons.c.id == daemon_id))).first()
    return daemon_of(row) if row else None


async def accessible_daemons(connection: AsyncConnection, user_id: str) -> list[DaemonRow]:
    """Return the enabled daemons with an identity key of every enabled account the user belongs to, by name."""
    statement = (
        _daemons()
        .join(memberships, memberships.c.account_id == daemons.c.account_id)
        .where(
            memberships.c.user_id == user_id,
            daemons.c.disabled_at.is_(None),
            accounts.c.disabled_at.is_(None),
            daemons.c.identity_key.is_not(None),
        )
        .order_by(daemons.c.name, daemons.c.id)
    )
    return [daemon_of(row) for row in await connection.execute(statement)]


async def is_member(connection: AsyncConnection, user_id: str, account_id: str) -> bool:
    """Tell whether the user belongs to the account."""
    statement = select(memberships.c.user_id).where(
        and_(memberships.c.user_id == user_id, memberships.c.account_id == account_id)
    )
    return (await connection.execute(statement)).first() is not None


async def set_identity(connection: AsyncConnection, daemon_id: str, key: bytes, *, previous: bytes | None) -> bool:
    """Set the identity key if it still is `previous`; tell whether it was."""
    is_previous = daemons.c.identity_key.is_(None) if previous is None else daemons.c.identity_key == previous
    result = await connection.execute(
        update(daemons).where(daemons.c.id == daemon_id, is_previous).values(identity_key=key)
    )
    return result.rowcount == 1


async def set_name(connection: AsyncConnection, daemon_id: str, name: str) -> None:
    """Set the name people see."""
    await connection.execute(update(daemons).where(daemons.c.id == daemon_id).values(name=name))


async def add_rotation(connection: AsyncConnection, daemon_id: str, statement: bytes, now: int) -> None:
    """Keep a rotation statement that was verified."""
    await connection.execute(insert(rotations).values(daemon_id=daemon_id, statement=statement, created_at=now))


async def rotation_statements(connection: AsyncConnection, daemon_ids: list[str]) -> dict[str, list[bytes]]:
    """Return each daemon's rotation statements, the oldest first."""
    statement = (
        select(rotations.c.daemon_id, rotations.c.statement)
        .where(rotations.c.daemon_id.in_(daemon_ids))
        .order_by(rotations.c.id)
    )
    found: dict[str, list[bytes]] = {daemon_id: [] for daemon_id in daemon_ids}
    for row in await connection.execute(statement):
        found[row.daemon_id].append(row.statement)
    return found


def _daemons() -> Select[Any]:
    return select(*daemon_columns()).select_from(daemons.join(accounts, accounts.c.id == daemons.c.account_id))
