"""API keys, user tokens, OIDC subjects and Quick Connect codes: who a presented credential is.

Each is looked up by its digest; a digest of 256 random bits gives nothing away by the time a lookup takes.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.control.store.daemons import daemon_by_id, daemon_columns, daemon_of
from sideband.control.store.rows import ApiKeyRow, CodeRow, UserRow
from sideband.control.store.schema import accounts, api_keys, daemons, quick_connect_codes, user_tokens, users

__all__ = [
    "add_code",
    "api_key_by_digest",
    "consume_code",
    "count_live_codes",
    "is_redeemable",
    "purge_codes",
    "user_by_oidc_subject",
    "user_by_token_digest",
]


async def api_key_by_digest(connection: AsyncConnection, digest: bytes) -> ApiKeyRow | None:
    """Return the API key that is stored as `digest` and not revoked, with its daemon."""
    statement = (
        select(api_keys.c.id.label("key_id"), *daemon_columns())
        .select_from(
            api_keys.join(daemons, daemons.c.id == api_keys.c.daemon_id).join(
                accounts, accounts.c.id == daemons.c.account_id
            )
        )
        .where(api_keys.c.digest == digest, api_keys.c.revoked_at.is_(None))
    )
    row = (await connection.execute(statement)).first()
    return ApiKeyRow(row.key_id, daemon_of(row)) if row else None


async def user_by_token_digest(connection: AsyncConnection, digest: bytes, now: int) -> UserRow | None:
    """Return the user whose token is stored as `digest`, neither revoked nor expired at `now`."""
    statement = (
        select(users.c.id, users.c.name, users.c.disabled_at)
        .select_from(user_tokens.join(users, users.c.id == user_tokens.c.user_id))
        .where(
            user_tokens.c.digest == digest,
            user_tokens.c.revoked_at.is_(None),
            or_(user_tokens.c.expires_at.is_(None), user_tokens.c.expires_at > now),
        )
    )
    return _user((await connection.execute(statement)).first())


async def user_by_oidc_subject(connection: AsyncConnection, issuer: str, subject: str) -> UserRow | None:
    """Return the user that an admin tied to the subject of an OIDC issuer."""
    statement = select(users.c.id, users.c.name, users.c.disabled_at).where(
        users.c.oidc_issuer == issuer, users.c.oidc_subject == subject
    )
    return _user((await connection.execute(statement)).first())


async def add_code(connection: AsyncConnection, digest: bytes, daemon_id: str, *, now: int, expires_at: int) -> None:
    """Keep a new Quick Connect code."""
    await connection.execute(
        insert(quick_connect_codes).values(digest=digest, daemon_id=daemon_id, created_at=now, expires_at=expires_at)
    )


async def is_redeemable(connection: AsyncConnection, digest: bytes, now: int) -> bool:
    """Tell whether a code could be consumed at `now`, without consuming it."""
    statement = select(quick_connect_codes.c.daemon_id).where(
        quick_connect_codes.c.digest == digest,
        quick_connect_codes.c.used_at.is_(None),
        quick_connect_codes.c.expires_at > now,
    )
    return (await connection.execute(statement)).first() is not None


async def count_live_codes(connection: AsyncConnection, daemon_id: str, now: int) -> int:
    """Return how many codes of a daemon could still be redeemed at `now`."""
    statement = (
        select(func.count())
        .select_from(quick_connect_codes)
        .where(
            quick_connect_codes.c.daemon_id == daemon_id,
            quick_connect_codes.c.used_at.is_(None),
            quick_connect_codes.c.expires_at > now,
        )
    )
    return (await connection.execute(statement)).scalar_one()


async def consume_code(connection: AsyncConnection, digest: bytes, now: int) -> CodeRow | None:
    """Consume a code and return what it opens, or None when it is unknown, used or expired.

    One UPDATE decides, so that of any number of callers at the same instant exactly one gets the row.
    """
    consumed = (
        await connection.execute(
            update(quick_connect_codes)
            .where(
                quick_connect_codes.c.digest == digest,
                quick_connect_codes.c.used_at.is_(None),
                quick_connect_codes.c.expires_at > now,
            )
            .values(used_at=now)
            .returning(quick_connect_codes.c.daemon_id, quick_connect_codes.c.expires_at)
        )
    ).first()
    if consumed is None:
        return None
    daemon = await daemon_by_id(connection, consumed.daemon_id)
    return CodeRow(daemon, consumed.expires_at) if daemon else None


async def purge_codes(connection: AsyncConnection, before: int) -> int:
    """Forget the codes that expired before `before`; return how many there were."""
    result = await connection.execute(delete(quick_connect_codes).where(quick_connect_codes.c.expires_at < before))
    return result.rowcount


def _user(row: Row[*tuple[Any, ...]] | None) -> UserRow | None:
    return UserRow(row.id, row.name, row.disabled_at is not None) if row else None
