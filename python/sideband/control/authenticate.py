"""Who calls: credentials from the header Authorization, checked against the store."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.control.ids import API_KEY_PREFIX, USER_TOKEN_PREFIX, secret_digest
from sideband.control.store.credentials import api_key_by_digest, user_by_oidc_subject, user_by_token_digest
from sideband.control.store.rows import ApiKeyRow, UserRow
from sideband.control.wire import ProcedureError

__all__ = ["MAX_CREDENTIAL_CHARS", "OidcSubject", "OidcVerifier", "authenticate_daemon", "authenticate_user", "bearer"]

MAX_CREDENTIAL_CHARS = 8000
"""Longest credential that is looked at; OIDC tokens can be long."""


class OidcSubject(Protocol):
    """Who an OIDC token speaks of."""

    @property
    def issuer(self) -> str:
        """The claim iss."""

    @property
    def subject(self) -> str:
        """The claim sub."""


class OidcVerifier(Protocol):
    """Verifies a JWT of the configured issuer."""

    async def verify(self, token: str) -> OidcSubject:
        """Return its subject, or raise ProcedureError `UNAUTHORIZED`."""


def bearer(request: web.Request) -> str:
    """Return the credential of `Authorization: Bearer ...`.

    Raises:
        ProcedureError: `UNAUTHORIZED` when there is none, more than one, or it is too long.
    """
    headers = request.headers.getall("Authorization", [])
    if len(headers) != 1:
        what = "is missing" if not headers else "is there more than once"
        raise ProcedureError("UNAUTHORIZED", f"the header Authorization {what}; expected: Bearer CREDENTIAL")
    scheme, _, credential = headers[0].partition(" ")
    credential = credential.strip()
    fits = 0 < len(credential) <= MAX_CREDENTIAL_CHARS and credential.isascii()
    if scheme.lower() != "bearer" or not fits:
        raise ProcedureError("UNAUTHORIZED", "the header Authorization is malformed; expected: Bearer CREDENTIAL")
    return credential


async def authenticate_daemon(connection: AsyncConnection, credential: str) -> ApiKeyRow:
    """Return the API key, with its daemon, that `credential` is.

    Raises:
        ProcedureError: `UNAUTHORIZED` when there is no such key or it was revoked; `FORBIDDEN` when its daemon is
            disabled.
    """
    if not credential.startswith(API_KEY_PREFIX):
        raise ProcedureError("UNAUTHORIZED", f"expected a daemon's API key ({API_KEY_PREFIX}...)")
    key = await api_key_by_digest(connection, secret_digest(credential))
    if key is None:
        raise ProcedureError("UNAUTHORIZED", "the API key is unknown or revoked; ask an admin for a new one")
    if key.daemon.disabled:
        raise ProcedureError("FORBIDDEN", "the daemon or its account is disabled")
    return key


async def authenticate_user(
    connection: AsyncConnection, credential: str, subject: OidcSubject | None, now: int
) -> UserRow:
    """Return the user that `credential` belongs to; `subject` is what an OIDC token was verified to be, if it is one.

    Raises:
        ProcedureError: `UNAUTHORIZED` for an unknown, revoked or expired token; `FORBIDDEN` for a user that is
            disabled or that no admin has added.
    """
    if subject is not None:
        user = await user_by_oidc_subject(connection, subject.issuer, subject.subject)
        if user is None:
            raise ProcedureError("FORBIDDEN", "this login is not known here; ask an admin to add the user")
    else:
        if not credential.startswith(USER_TOKEN_PREFIX):
            raise ProcedureError("UNAUTHORIZED", f"expected a user token ({USER_TOKEN_PREFIX}...)")
        user = await user_by_token_digest(connection, secret_digest(credential), now)
        if user is None:
            raise ProcedureError("UNAUTHORIZED", "the user token is unknown, revoked or expired; log in again")
    if user.disabled:
        raise ProcedureError("FORBIDDEN", "the user is disabled")
    return user
