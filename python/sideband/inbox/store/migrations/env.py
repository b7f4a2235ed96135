"""Alembic's entry: migrate over the connection that `SchemaUpgrade` hands in."""

from __future__ import annotations

from alembic import context

from sideband.inbox.store.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
context.run_migrations()
