"""The store of the control plane: SQLAlchemy Core on SQLite or PostgreSQL."""

from __future__ import annotations

from sideband.control.store.database import Database
from sideband.database import sqlite_url

__all__ = ["Database", "sqlite_url"]
