"""The first schema of inboxes.

Revision 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "inbox_owners",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("address", sa.String(length=256), nullable=False),
        sa.Column("signing_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("blobs", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("envelope_key", sa.LargeBinary(length=32), nullable=True),
        sa.Column("envelope_key_signature", sa.LargeBinary(length=64), nullable=True),
        sa.Column("envelope_key_signed_at", sa.BigInteger(), nullable=False),
        sa.Column("watchers", sa.Text(), nullable=True),
        sa.Column("watchers_signed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox_owners")),
        sa.UniqueConstraint("address", name=op.f("uq_inbox_owners_address")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "inbox_blobs",
        sa.Column("owner_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("msg_id", sa.String(length=64), nullable=False),
        sa.Column("sender", sa.LargeBinary(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["inbox_owners.id"], name=op.f("fk_inbox_blobs_owner_id")),
        sa.PrimaryKeyConstraint("owner_id", "cursor", name=op.f("pk_inbox_blobs")),
        sa.UniqueConstraint("owner_id", "msg_id", name=op.f("uq_inbox_blobs_owner_id")),
    )
    op.create_index(op.f("ix_inbox_blobs_expires_at"), "inbox_blobs", ["expires_at"], unique=False)
    op.create_index("ix_inbox_blobs_owner_id_sender", "inbox_blobs", ["owner_id", "sender", "expires_at"], unique=False)
    op.create_table(
        "inbox_deleted",
        sa.Column("owner_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("msg_id", sa.String(length=64), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("forget_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["inbox_owners.id"], name=op.f("fk_inbox_deleted_owner_id")),
        sa.PrimaryKeyConstraint("owner_id", "msg_id", name=op.f("pk_inbox_deleted")),
    )
    op.create_index(op.f("ix_inbox_deleted_forget_at"), "inbox_deleted", ["forget_at"], unique=False)
