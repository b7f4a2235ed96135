"""User tokens of an OpenID Connect issuer: JWTs verified by its published keys (docs/protocol/relay.md).

Keys are found by OpenID discovery, kept for 5 minutes, and fetched again for an unknown key at most every 10 s. While
the issuer cannot be reached, known keys are used until they are 15 minutes old.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import aiohttp
from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import KeySet

from sideband.control.config import OidcConfig
from sideband.control.wire import ProcedureError

__all__ = ["OidcTokens", "VerifiedSubject"]

FRESH_SECONDS = 300.0
RETRY_SECONDS = 10.0
STALE_SECONDS = 900.0
FETCH_SECONDS = 5.0
LEEWAY_SECONDS = 30.0
MAX_DOCUMENT_BYTES = 256 * 1024
MAX_SUBJECT_CHARS = 255

_log = logging.getLogger("sideband.control.oidc")


@dataclass(frozen=True, slots=True)
class VerifiedSubject:
    """Who a verified token speaks of."""

    issuer: str
    subject: str


class OidcTokens:
    """Verifies the tokens of one issuer.

    Args:
        config: issuer, audience, algorithms.
        session: makes the requests; the caller's to close.
        clock: Unix time.
    """

    def __init__(self, config: OidcConfig, session: aiohttp.ClientSession, clock: Callable[[], float]) -> None:
        self._config = config
        self._session = session
        self._clock = clock
        self._registry = _AllowedAlgorithms(config.algorithms)
        self._keys: dict[str, Any] = {}
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._fetching = asyncio.Lock()

    async def verify(self, token: str) -> VerifiedSubject:
        """Return the subject of a token that is signed by the issuer, for our audience, and valid now.

        Raises:
            ProcedureError: `UNAUTHORIZED` when it is not; `INTERNAL_SERVER_ERROR` when the issuer's keys cannot be had.
        """
        try:
            header = jws.extract_compact(token.encode("ascii")).headers()
        except (JoseError, ValueError, TypeError, RecursionError):
            raise _refused("it is no JWT") from None
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise _refused("its header has no kid")
        key = await self._key(kid)
        if key is None:
            raise _refused("no key of the issuer has its kid")
        try:
            payload = jws.deserialize_compact(token.encode("ascii"), key, registry=self._registry).payload
            claims = json.loads(payload or b"")
        except (JoseError, ValueError, TypeError, RecursionError):
            raise _refused("its signature does not verify") from None
        return self._subject(claims)

    def _subject(self, claims: Any) -> VerifiedSubject:
        if not isinstance(claims, dict) or claims.get("iss") != self._config.issuer:
            raise _refused("it is of another issuer")
        audience = claims.get("aud")
        if self._config.audience not in (audience if isinstance(audience, list) else [audience]):
            raise _refused("it is for another audience")
        now = self._clock()
        expires = claims.get("exp")
        if not _is_number(expires) or now >= expires + LEEWAY_SECONDS:
            raise _refused("it has expired; log in again")
        for name in ("nbf", "iat"):
            begins = claims.get(name, 0)
            if not _is_number(begins) or begins > now + LEEWAY_SECONDS:
                raise _refused("it is not valid yet; check the clocks")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARS or not subject.isprintable():
            raise _refused("its subject is missing or malformed")
        return VerifiedSubject(self._config.issuer, subject)

    async def _key(self, kid: str) -> Any:
        now = self._clock()
        if kid not in self._keys or now - self._fetched_at > FRESH_SECONDS:
            await self._fetch_unless_just_done(now)
        if self._clock() - self._fetched_at > STALE_SECONDS:
            raise ProcedureError(
                "INTERNAL_SERVER_ERROR",
                "the keys of the login's issuer cannot be fetched; try again later",
                retry_after=10,
            )
        return self._keys.get(kid)

    async def _fetch_unless_just_done(self, asked_at: float) -> None:
        async with self._fetching:
            if asked_at - self._tried_at < RETRY_SECONDS:
                return
            self._tried_at = self._clock()
            try:
                self._keys = _usable(await self._get(await self._jwks_url()))
            except (aiohttp.ClientError, JoseError, OSError, ValueError, TimeoutError) as error:
                _log.warning("oidc_keys_not_fetched", extra={"cause": type(error).__name__})
            else:
                self._fetched_at = self._clock()

    async def _jwks_url(self) -> str:
        if self._config.jwks_url is not None:
            return self._config.jwks_url
        found = await self._get(self._config.issuer.rstrip("/") + "/.well-known/openid-configuration")
        # OpenID Connect Discovery 1.0 (4.3): a document of another issuer must not be used.
        if found.get("issuer") != self._config.issuer or not isinstance(found.get("jwks_uri"), str):
            raise ValueError("the discovery document is of another issuer or names no keys")
        return OidcConfig(issuer=found["jwks_uri"], audience="x").issuer

    async def _get(self, url: str) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        async with self._session.get(url, timeout=timeout, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"the issuer answered {response.status}")
            body = await response.content.read(MAX_DOCUMENT_BYTES + 1)
            while body and not response.content.at_eof() and len(body) <= MAX_DOCUMENT_BYTES:
                body += await response.content.read(MAX_DOCUMENT_BYTES)
        if len(body) > MAX_DOCUMENT_BYTES:
            raise ValueError("the issuer's document is too long")
        document = json.loads(body)
        if not isinstance(document, dict):
            raise ValueError("the issuer's document is no object")
        return document


class _AllowedAlgorithms(jws.JWSRegistry):
    """The configured algorithms, EdDSA without joserfc's warning that RFC 9864 renames it."""

    max_header_length = 4096

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(algorithms=list(allowed), strict_check_header=False)
        self._names = allowed

    def get_alg(self, name: str) -> Any:
        if name not in self._names:
            raise UnsupportedAlgorithmError("the algorithm is not allowed")
        return self.algorithms[name]


def _usable(document: dict[str, Any]) -> dict[str, Any]:
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise ValueError("the document is no JWKS")
    keys: dict[str, Any] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str):
            continue
        # A symmetric key among public ones is a mistake that would let anyone sign.
        if entry.get("kty") not in ("RSA", "EC", "OKP") or entry.get("use", "sig") != "sig":
            continue
        try:
            keys[entry["kid"]] = KeySet.import_key_set({"keys": [entry]}).keys[0]
        except (JoseError, ValueError, TypeError):
            continue
    return keys


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refused(why: str) -> ProcedureError:
    return ProcedureError("UNAUTHORIZED", f"the login's token is refused: {why}")
