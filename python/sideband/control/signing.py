"""Signing keys and the tokens they sign (docs/protocol/relay.md, "Tokens").

Only EdDSA on Ed25519. Several keys can be published at once: a new one is published before it signs, an old one stays
published until the last token it signed has expired, so that a rotation refuses no one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.control.secrets import ServerSecret
from sideband.control.store import Database
from sideband.control.store.rows import SigningKeyRow
from sideband.control.store.signing_keys import (
    add_signing_key,
    all_signing_keys,
    purge_signing_keys,
    retire_signing_keys,
)
from sideband.database import wait_for_turn
from sideband.errors import ConfigError

__all__ = ["EdDSARegistry", "PublishedKey", "SigningKeys", "add_key", "rotate"]

PUBLISH_BEFORE_SIGNING_SECONDS = 600
"""How long a rotated key is published before it signs: twice the time a relay caches the JWKS."""

PUBLISH_AFTER_SIGNING_SECONDS = 3600 + 300
"""How long a replaced key stays published: the life of a daemon's token, and slack for clocks."""


class EdDSARegistry(JWSRegistry):
    """Allows `EdDSA` and nothing else.

    RFC 9864 deprecates the name EdDSA in favour of Ed25519, and joserfc warns of it at each use; the protocol is
    fixed on EdDSA, and the key says which curve it is.
    """

    def get_alg(self, name: str) -> Any:
        """Return the algorithm, or raise UnsupportedAlgorithmError for any other name."""
        if name != "EdDSA":
            raise UnsupportedAlgorithmError(f"algorithm {name!r} is not EdDSA")
        return self.algorithms["EdDSA"]


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A signing key as admins see it.

    Times in milliseconds. `retired_at` is when it leaves the JWKS, None if not planned.
    """

    kid: str
    created_at: int
    signs_from: int
    retired_at: int | None
    signing: bool


class SigningKeys:
    """The signing keys in use, read from the store by `refresh()`.

    Signing needs no store, so tokens are signed by the last known keys also while the store is away.
    """

    def __init__(self, database: Database, secret: ServerSecret, clock: Callable[[], float]) -> None:
        self._database = database
        self._secret = secret
        self._clock = clock
        self._keys: list[tuple[SigningKeyRow, OKPKey]] = []
        self._document: dict[str, list[dict[str, Any]]] = {"keys": []}
        self._document_until = 0.0
        self._registry = EdDSARegistry(algorithms=["EdDSA"])

    async def load(self) -> None:
        """Read the keys, making the first one when there is none.

        Raises:
            StoreError: the store failed, or its keys do not open with this data folder's secret.
        """
        async with self._database.write() as connection:
            await wait_for_turn(connection)
            if not await all_signing_keys(connection):
                await add_key(connection, self._secret, self._now())
        await self.refresh()

    async def refresh(self) -> None:
        """Read the keys again; called regularly, so that a rotation by another process is followed."""
        async with self._database.read() as connection:
            rows = await all_signing_keys(connection)
        known = {row.kid: key for row, key in self._keys}
        self._keys = [(row, known.get(row.kid) or self._open(row)) for row in rows]
        self._document_until = 0.0

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """Return the JSON Web Key Set: the public half of every key that is not retired.

        The same object until a key comes or goes.
        """
        now = self._now()
        if now >= self._document_until:
            published = [(row, key) for row, key in self._keys if not _is_retired(row, now)]
            self._document = {"keys": [key.as_dict(private=False) for _, key in published]}
            self._document_until = min((row.retired_at for row, _ in published if row.retired_at), default=float("inf"))
        return self._document

    def sign(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """Return a compact JWT with `claims`, signed by the newest key whose time has come.

        Raises:
            ConfigError: there is no such key.
        """
        now = self._now()
        for row, key in self._keys:
            if row.signs_from <= now and not _is_retired(row, now):
                return jwt.encode(
                    {**header, "alg": "EdDSA", "kid": row.kid}, dict(claims), key, registry=self._registry
                )
        raise ConfigError("no signing key is current; run: sideband admin signing-key rotate --now")

    def published(self) -> list[PublishedKey]:
        """Return the keys in the JWKS, the newest first; exactly one of them is `signing`."""
        now = self._now()
        rows = [row for row, _ in self._keys if not _is_retired(row, now)]
        signing = next((row.kid for row in rows if row.signs_from <= now), None)
        return [
            PublishedKey(row.kid, row.created_at, row.signs_from, row.retired_at, row.kid == signing) for row in rows
        ]

    def _open(self, row: SigningKeyRow) -> OKPKey:
        key = OKPKey.import_key(self._secret.open(row.sealed_private_key, row.kid))
        return OKPKey.import_key({**key.as_dict(private=True), "kid": row.kid, "alg": "EdDSA", "use": "sig"})

    def _now(self) -> int:
        return int(self._clock() * 1000)


async def add_key(connection: AsyncConnection, secret: ServerSecret, now: int, *, delay_seconds: int = 0) -> str:
    """Make a signing key that signs `delay_seconds` from `now` (milliseconds); return its kid."""
    kid = secrets.token_urlsafe(12)
    key = OKPKey.generate_key("Ed25519")
    await add_signing_key(
        connection,
        SigningKeyRow(
            kid=kid,
            public_key=bytes(key.public_key.public_bytes_raw()),
            sealed_private_key=secret.seal(key.as_pem(private=True), kid),
            created_at=now,
            signs_from=now + delay_seconds * 1000,
            retired_at=None,
        ),
    )
    return kid


async def rotate(connection: AsyncConnection, secret: ServerSecret, now: int, *, immediately: bool = False) -> str:
    """Make a new signing key and plan the end of the present ones; return the new kid.

    With `immediately`, for a key that leaked, the new key signs at once and the old ones leave the JWKS at once:
    tokens they signed are refused as soon as relays fetch it again (5 min at most).

    Raises:
        ConfigError: a rotation is still under way and `immediately` is not set.
    """
    await wait_for_turn(connection)
    await purge_signing_keys(connection, now)
    present = await all_signing_keys(connection)
    if len(present) > 1 and not immediately:
        raise ConfigError("a rotation is still under way; wait until the old key is retired, or add --now")
    delay = 0 if immediately else PUBLISH_BEFORE_SIGNING_SECONDS
    kid = await add_key(connection, secret, now, delay_seconds=delay)
    if immediately:
        await purge_signing_keys(connection, 1 << 62)
        await retire_signing_keys(connection, kids=[row.kid for row in present], at=now)
    else:
        retired_at = now + (delay + PUBLISH_AFTER_SIGNING_SECONDS) * 1000
        await retire_signing_keys(connection, kids=[row.kid for row in present], at=retired_at)
    return kid


def _is_retired(row: SigningKeyRow, now: int) -> bool:
    return row.retired_at is not None and row.retired_at <= now
