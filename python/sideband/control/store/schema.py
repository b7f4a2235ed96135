"""Tables of the control plane.

Times are milliseconds since 1970 in UTC. Secrets are digests; a signing key's private half is sealed (signing.py).
The migrations under `sideband.control.migrations` make exactly these tables; a test compares them.
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

__all__ = [
    "accounts",
    "api_keys",
    "audit",
    "daemons",
    "kicks",
    "memberships",
    "metadata",
    "presence",
    "quick_connect_codes",
    "relay_sessions",
    "rotations",
    "signing_keys",
    "spent_sids",
    "user_tokens",
    "users",
]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ROW_ID = BigInteger().with_variant(Integer, "sqlite")

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
)

users = Table(
    "users",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("oidc_issuer", String(512)),
    Column("oidc_subject", String(255)),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    UniqueConstraint("oidc_issuer", "oidc_subject"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "user_id"),
)

user_tokens = Table(
    "user_tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False, index=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("hint", String(8), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)

daemons = Table(
    "daemons",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", String(128)),
    Column("identity_key", LargeBinary(32)),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
)

rotations = Table(
    "rotations",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("daemon_id", ForeignKey("daemons.id"), nullable=False, index=True),
    Column("statement", LargeBinary(256), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("daemon_id", ForeignKey("daemons.id"), nullable=False, index=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("hint", String(8), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

kicks = Table(
    "kicks",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("kind", String(8), nullable=False),
    Column("daemon_id", String(32)),
    Column("key_id", String(32)),
    Column("sid", String(16)),
    Column("at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("public_key", LargeBinary(32), nullable=False),
    Column("sealed_private_key", LargeBinary(256), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("signs_from", BigInteger, nullable=False),
    Column("retired_at", BigInteger),
)

quick_connect_codes = Table(
    "quick_connect_codes",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("daemon_id", ForeignKey("daemons.id"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("used_at", BigInteger),
)

spent_sids = Table(
    "spent_sids",
    metadata,
    Column("sid", LargeBinary(8), primary_key=True),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

presence = Table(
    "presence",
    metadata,
    Column("daemon_id", String(32), primary_key=True),
    Column("relay_id", String(64), nullable=False, index=True),
    Column("since", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

relay_sessions = Table(
    "relay_sessions",
    metadata,
    Column("sid", String(16), primary_key=True),
    Column("relay_id", String(64), nullable=False, index=True),
    Column("daemon_id", String(32), nullable=False, index=True),
    Column("subject", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("frames_up", BigInteger, nullable=False),
    Column("bytes_up", BigInteger, nullable=False),
    Column("frames_down", BigInteger, nullable=False),
    Column("bytes_down", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False, index=True),
    Column("actor", String(300), nullable=False),
    Column("action", String(64), nullable=False),
    Column("target", String(128)),
    Column("address", String(64)),
    Column("outcome", String(32), nullable=False),
    Column("detail", Text),
    sqlite_autoincrement=True,
)
