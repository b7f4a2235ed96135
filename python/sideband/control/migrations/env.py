"""Alembic's entry: migrate over the connection that `sideband.control.migrations.upgrade` hands in."""

from __future__ import annotations

from alembic import context

from sideband.control.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
