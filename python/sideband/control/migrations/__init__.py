"""Schema migrations, part of the package and run when the store is opened."""

from __future__ import annotations

from pathlib import Path

from sideband.database import SchemaUpgrade

__all__ = ["HEAD", "upgrade"]

HEAD = "0001"
"""The revision this version of the package works with."""

upgrade = SchemaUpgrade(Path(__file__).parent, HEAD)
"""Brings a store to `HEAD`."""
