"""Signing keys at rest."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.control.store.rows import SigningKeyRow
from sideband.control.store.schema import signing_keys

__all__ = ["add_signing_key", "all_signing_keys", "purge_signing_keys", "retire_signing_keys"]


async def add_signing_key(connection: AsyncConnection, row: SigningKeyRow) -> None:
    """Keep a new signing key."""
    await connection.execute(
        insert(signing_keys).values(
            kid=row.kid,
            public_key=row.public_key,
            sealed_private_key=row.sealed_private_key,
            created_at=row.created_at,
            signs_from=row.signs_from,
            retired_at=row.retired_at,
        )
    )


async def all_signing_keys(connection: AsyncConnection) -> list[SigningKeyRow]:
    """Return every signing key, the newest first."""
    statement = select(signing_keys).order_by(signing_keys.c.signs_from.desc(), signing_keys.c.kid)
    return [
        SigningKeyRow(row.kid, row.public_key, row.sealed_private_key, row.created_at, row.signs_from, row.retired_at)
        for row in await connection.execute(statement)
    ]


async def retire_signing_keys(connection: AsyncConnection, *, kids: list[str], at: int) -> None:
    """Set when keys leave the JWKS."""
    await connection.execute(
        update(signing_keys)
        .where(signing_keys.c.kid.in_(kids), signing_keys.c.retired_at.is_(None))
        .values(retired_at=at)
    )


async def purge_signing_keys(connection: AsyncConnection, before: int) -> None:
    """Forget the keys retired before `before`."""
    await connection.execute(delete(signing_keys).where(signing_keys.c.retired_at < before))
