"""Stores on SQLAlchemy Core, SQLite or PostgreSQL, and their migrations. What is in them is the business of others."""

from __future__ import annotations

from sideband.database.connection import (
    BUSY_TIMEOUT_SECONDS,
    Database,
    insert_ignore,
    insert_or_update,
    sqlite_url,
    wait_for_turn,
)
from sideband.database.upgrade import SchemaUpgrade

__all__ = [
    "BUSY_TIMEOUT_SECONDS",
    "Database",
    "SchemaUpgrade",
    "insert_ignore",
    "insert_or_update",
    "sqlite_url",
    "wait_for_turn",
]
