"""Rows of the store as values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ApiKeyRow", "CodeRow", "DaemonRow", "SigningKeyRow", "UserRow"]


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user. `disabled` refuses every credential of theirs."""

    id: str
    name: str
    disabled: bool


@dataclass(frozen=True, slots=True)
class DaemonRow:
    """A daemon.

    `disabled` holds when it or its account is disabled; `identity_key` is None before its first register.
    """

    id: str
    account_id: str
    name: str | None
    identity_key: bytes | None
    disabled: bool


@dataclass(frozen=True, slots=True)
class ApiKeyRow:
    """An API key that is not revoked, with its daemon."""

    id: str
    daemon: DaemonRow


@dataclass(frozen=True, slots=True)
class CodeRow:
    """A Quick Connect code that was just consumed."""

    daemon: DaemonRow
    expires_at: int


@dataclass(frozen=True, slots=True)
class SigningKeyRow:
    """A signing key; `sealed_private_key` opens with the data folder's secret only."""

    kid: str
    public_key: bytes
    sealed_private_key: bytes
    created_at: int
    signs_from: int
    retired_at: int | None
