"""Tables of inboxes on SQL. Times are milliseconds since 1970.

The migrations beside make exactly these tables; a test compares them.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = ["VERSION_TABLE", "blobs", "deleted", "metadata", "owners"]

VERSION_TABLE = "inbox_alembic_version"
"""Inboxes can share a database with the control plane."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

_ROW_ID = BigInteger().with_variant(Integer(), "sqlite")

owners = Table(
    "inbox_owners",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("address", String(256), nullable=False, unique=True),
    Column("signing_key", LargeBinary(32), nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("blobs", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("envelope_key", LargeBinary(32)),
    Column("envelope_key_signature", LargeBinary(64)),
    Column("envelope_key_signed_at", BigInteger, nullable=False),
    Column("watchers", Text),
    Column("watchers_signed_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# The ciphertext stands last: SQLite reads a row from its start, and mostly its other columns are enough.
blobs = Table(
    "inbox_blobs",
    metadata,
    Column("owner_id", ForeignKey("inbox_owners.id"), primary_key=True, autoincrement=False),
    Column("cursor", BigInteger, primary_key=True, autoincrement=False),
    Column("msg_id", String(64), nullable=False),
    Column("sender", LargeBinary(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("ciphertext", LargeBinary, nullable=False),
    UniqueConstraint("owner_id", "msg_id"),
    Index("ix_inbox_blobs_owner_id_sender", "owner_id", "sender", "expires_at"),
)

deleted = Table(
    "inbox_deleted",
    metadata,
    Column("owner_id", ForeignKey("inbox_owners.id"), primary_key=True, autoincrement=False),
    Column("msg_id", String(64), primary_key=True),
    Column("cursor", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("forget_at", BigInteger, nullable=False, index=True),
)
