"""Schema migrations of inboxes, run when a store is opened."""

from __future__ import annotations

from pathlib import Path

from sideband.database import SchemaUpgrade
from sideband.inbox.store.schema import VERSION_TABLE

__all__ = ["HEAD", "upgrade"]

HEAD = "0001"
"""The revision this version of the package works with."""

upgrade = SchemaUpgrade(Path(__file__).parent, HEAD, VERSION_TABLE)
"""Brings a store to `HEAD`."""
