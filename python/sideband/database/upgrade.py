"""Bringing a schema up to date by Alembic migrations that are part of the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.errors import StoreError

__all__ = ["SchemaUpgrade"]

_ADVISORY_LOCK = 0x5342_4E44


@dataclass(frozen=True, slots=True)
class SchemaUpgrade:
    """The migrations of one part of the package. Call it with a connection inside a transaction.

    Attributes:
        folder: where `env.py` and `versions/` are.
        head: the revision this version of the package works with.
        version_table: holds the revision a database is at; parts that share a database have one each.
    """

    folder: Path
    head: str
    version_table: str = "alembic_version"

    async def __call__(self, connection: AsyncConnection) -> None:
        """Bring the schema to `head`, inside the caller's transaction.

        Raises:
            StoreError: the schema was made by a newer version of this package.
        """
        if connection.dialect.name == "postgresql":
            # Two nodes may start at once; the lock lasts until the transaction ends.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        await connection.run_sync(self._upgrade)

    def _upgrade(self, connection: Connection) -> None:
        current = self._current_revision(connection)
        if current == self.head:
            return
        # Imported late: a start on a store that is up to date does not pay for it.
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(self.folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        config.attributes["version_table"] = self.version_table
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if current is not None and current not in known:
            raise StoreError(
                f"the store's schema is revision {current}, made by a newer sideband than this one ({self.head}); "
                "upgrade sideband, or restore the store's backup"
            )
        command.upgrade(config, self.head)

    def _current_revision(self, connection: Connection) -> str | None:
        if not inspect(connection).has_table(self.version_table):
            return None
        revision = connection.execute(select(column("version_num")).select_from(table(self.version_table))).scalar()
        return None if revision is None else str(revision)
