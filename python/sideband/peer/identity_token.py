"""Who is connected, by the control plane's word (docs/protocol/peer.md, "Who is connected").

The control plane signs a JWT for the daemon when it lets a user create a session; the client passes it on in the
handshake, inside the encrypted session.
"""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol, TypeAlias

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from sideband.errors import TokenError
from sideband.jwks import PublishedKeys

__all__ = [
    "IDENTITY_METADATA_KEY",
    "IdentityTokenVerifier",
    "IdentityVerifier",
    "KeySource",
    "PeerIdentity",
]

IDENTITY_METADATA_KEY = "sideband:identity"
"""Handshake metadata under which a client sends its identity token."""
IDENTITY_TOKEN_TYPE = "sideband-identity+jwt"  # noqa: S105  (a media type, not a secret)
MAX_TOKEN_CHARACTERS = 4_096
LEEWAY_SECONDS = 30.0
MAX_LIFETIME_SECONDS = 600.0

_REFUSED_HEADERS = ("jwk", "jku", "x5u", "x5c", "crit")


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """What a verified identity token says.

    Attributes:
        subject: the user's id, or `quick-connect` for whoever redeemed a code.
        issuer: the control plane that says so.
        claims: all of the token's claims.
    """

    subject: str
    issuer: str
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)


IdentityVerifier: TypeAlias = Callable[[str, int | None], Awaitable[PeerIdentity]]
"""Verifies the token of a session (its id, or None without a relay); raises `TokenError` for one not to be believed."""


class KeySource(Protocol):
    """Where the public keys of the issuer come from."""

    async def key(self, kid: str) -> OKPKey | None:
        """Return the Ed25519 key named `kid`, or None when the issuer has none of that name."""


class IdentityTokenVerifier:
    """Verifies identity tokens of one control plane for one daemon; what `listen(verify_identity=...)` wants.

        verifier = IdentityTokenVerifier("https://control.example", "d_1")

    The signature (EdDSA only), type, audience, issuer, times and, where the token names one, the session are checked.
    A token is good for opening a session; that it expires later does not end the session.

    Args:
        issuer: the control plane's URL, which `iss` must equal.
        daemon_id: what `aud` must contain.
        keys: the issuer's keys; by default `sideband.jwks.PublishedKeys(issuer)`, which fetches them when the first
            token comes, and keeps them for five minutes.
        clock: Unix seconds.

    Raises:
        ConfigError: without `keys`, when `issuer` is no https URL; plain http is for this machine only.
    """

    def __init__(
        self,
        issuer: str,
        daemon_id: str,
        keys: KeySource | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._daemon_id = daemon_id
        self._keys = PublishedKeys(issuer) if keys is None else keys
        self._clock = clock
        self._registry = _EdDSARegistry(strict_check_header=False)

    async def __call__(self, token: str, session_id: int | None = None) -> PeerIdentity:
        """Verify a token for a session.

        Raises:
            TokenError: it is not to be believed; `keys_unavailable` when the issuer's keys cannot be had.
        """
        key = await self._keys.key(_read_kid(token))
        if key is None:
            _refuse("unknown_key", "no published key has this kid")
        claims = self._verified_claims(token, key)
        self._check_origin(claims)
        self._check_times(claims)
        _check_session(claims, session_id)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            _refuse("missing_subject", "sub is missing")
        return PeerIdentity(subject, self._issuer, claims)

    def _verified_claims(self, token: str, key: OKPKey) -> dict[str, Any]:
        try:
            claims = json.loads(
                jws.deserialize_compact(token.encode("ascii"), key, registry=self._registry).payload or b""
            )
        except (JoseError, ValueError, RecursionError):
            raise TokenError("bad_signature", "the signature does not verify, or the claims are not JSON") from None
        if not isinstance(claims, dict):
            _refuse("malformed_token", "the claims are not a JSON object")
        return claims

    def _check_origin(self, claims: Mapping[str, Any]) -> None:
        audience = claims.get("aud")
        if self._daemon_id not in ([audience] if isinstance(audience, str) else audience or []):
            _refuse("wrong_audience", "aud does not name this daemon")
        if claims.get("iss") != self._issuer:
            _refuse("wrong_issuer", "iss is not the expected control plane")

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        issued_at, expires_at, now = _read_time(claims, "iat"), _read_time(claims, "exp"), self._clock()
        if now >= expires_at + LEEWAY_SECONDS:
            _refuse("expired", "the token has expired")
        if issued_at > now + LEEWAY_SECONDS or not 0 < expires_at - issued_at <= MAX_LIFETIME_SECONDS:
            _refuse("not_yet_valid", "iat is in the future, or the token lives too long")


class _EdDSARegistry(jws.JWSRegistry):
    """Allows EdDSA alone, and without joserfc's warning that RFC 9864 renames it: the protocol fixes the name."""

    max_header_length = MAX_TOKEN_CHARACTERS

    def get_alg(self, name: str) -> Any:
        if name != "EdDSA":
            _refuse("wrong_algorithm", "alg is not EdDSA")
        return self.algorithms["EdDSA"]


def _read_kid(token: str) -> str:
    if len(token) > MAX_TOKEN_CHARACTERS or token.count(".") != 2:
        _refuse("malformed_token", f"a token is three parts and at most {MAX_TOKEN_CHARACTERS} characters")
    try:
        part = token.partition(".")[0]
        header = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        raise TokenError("malformed_token", "the header is not JSON") from None
    if not isinstance(header, dict) or header.get("typ") != IDENTITY_TOKEN_TYPE:
        _refuse("wrong_type", f"typ is not {IDENTITY_TOKEN_TYPE}")
    if any(name in header for name in _REFUSED_HEADERS):
        _refuse("forbidden_header", f"none of {', '.join(_REFUSED_HEADERS)} is allowed in the header")
    if header.get("alg") != "EdDSA":
        _refuse("wrong_algorithm", "alg is not EdDSA")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        _refuse("missing_kid", "kid is missing")
    return kid


def _check_session(claims: Mapping[str, Any], session_id: int | None) -> None:
    # Otherwise whoever gets hold of a token could show it in a session of their own.
    named = claims.get("sid")
    if named is None:
        return
    expected = "" if session_id is None else urlsafe_b64encode(session_id.to_bytes(8, "big")).rstrip(b"=").decode()
    if not isinstance(named, str) or not hmac.compare_digest(named.encode(), expected.encode()):
        _refuse("wrong_session", "the token was issued for another session")


def _read_time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse("malformed_token", f"{name} is not a number")
    return value


def _refuse(reason: str, message: str) -> NoReturn:
    raise TokenError(reason, message)
