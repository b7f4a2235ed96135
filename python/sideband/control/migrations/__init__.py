"""Schema migrations, part of the package and run when the store is opened."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.errors import StoreError

__all__ = ["HEAD", "upgrade"]

HEAD = "0001"
"""The revision this version of the package works with."""

_ADVISORY_LOCK = 0x5342_4E44


async def upgrade(connection: AsyncConnection) -> None:
    """Bring the schema to `HEAD`, inside the caller's transaction.

    Raises:
        StoreError: the schema was made by a newer version of this package.
    """
    if connection.dialect.name == "postgresql":
        # Two nodes may start at once; the lock lasts until the transaction ends.
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    current = _current_revision(connection)
    if current == HEAD:
        return
    # Imported late: a start on a store that is up to date does not pay for it.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise StoreError(
            f"the store's schema is revision {current}, made by a newer sideband than this one ({HEAD}); "
            "upgrade sideband, or restore the store's backup"
        )
    command.upgrade(config, HEAD)


def _current_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)
