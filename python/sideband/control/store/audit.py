"""The audit trail: who did what, when, from where, with what outcome. It never holds a secret."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.control.store.schema import audit

__all__ = ["AuditRecord", "add_audit", "list_audit", "purge_audit"]


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One line of the trail; `at` in milliseconds."""

    id: int
    at: int
    actor: str
    action: str
    target: str | None
    address: str | None
    outcome: str
    detail: dict[str, Any]


async def add_audit(
    connection: AsyncConnection,
    *,
    now: int,
    actor: str,
    action: str,
    target: str | None = None,
    address: str | None = None,
    outcome: str = "ok",
    **detail: Any,
) -> None:
    """Add a record, in the transaction of the action it is about."""
    await connection.execute(
        insert(audit).values(
            at=now,
            actor=actor,
            action=action,
            target=target,
            address=address,
            outcome=outcome,
            detail=json.dumps(detail) if detail else None,
        )
    )


async def list_audit(
    connection: AsyncConnection, *, limit: int = 100, before_id: int | None = None, target: str | None = None
) -> list[AuditRecord]:
    """Return at most `limit` records, the newest first, optionally those older than one, or about one target."""
    statement = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before_id is not None:
        statement = statement.where(audit.c.id < before_id)
    if target is not None:
        statement = statement.where(audit.c.target == target)
    return [
        AuditRecord(
            row.id,
            row.at,
            row.actor,
            row.action,
            row.target,
            row.address,
            row.outcome,
            json.loads(row.detail) if row.detail else {},
        )
        for row in await connection.execute(statement)
    ]


async def purge_audit(connection: AsyncConnection, before: int) -> int:
    """Forget the records older than `before`; return how many there were."""
    return (await connection.execute(delete(audit).where(audit.c.at < before))).rowcount
