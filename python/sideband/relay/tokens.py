"""Validation of relay tokens (docs/protocol/relay.md, "Tokens").

Every check is made in the order of that page and the first that fails is reported. A `TokenError` carries a reason and
a status and never any part of the token.
"""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol, TypeAlias

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from sideband.daemon_id import is_daemon_id
from sideband.errors import TokenError

__all__ = [
    "AUDIENCE",
    "MAX_TOKEN_CHARACTERS",
    "KeySource",
    "RelayToken",
    "Role",
    "TokenVerifier",
    "decode_session_id",
    "encode_session_id",
    "token_from_request",
]

AUDIENCE = "sideband-relay"
MAX_TOKEN_CHARACTERS = 4096
TOKEN_TYPE = "sbrp-relay+jwt"  # noqa: S105  (a media type, not a secret)

Role: TypeAlias = Literal["client", "daemon"]

_REFUSED_HEADERS = ("jwk", "jku", "x5u", "x5c", "crit")
_SIGNED_PARTS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_MAX_TIME = 2**53


class KeySource(Protocol):
    """Where the public keys of the issuer come from."""

    async def key(self, kid: str) -> OKPKey | None:
        """Return the Ed25519 key named `kid`, or None when the issuer has none of that name.

        Raises:
            TokenError: `keys_unavailable` with status 503 when that cannot be told now.
        """


@dataclass(frozen=True, slots=True)
class RelayToken:
    """What a valid token says.

    Attributes:
        role: `client` or `daemon`.
        daemon_id: the only source of routing.
        subject: the user's id for a client, the daemon's for a daemon.
        session_id: of a client; 0 for a daemon.
        issued_at: Unix seconds.
        expires_at: Unix seconds.
        can_resume: a daemon's token holds `session:resume`.
        max_sessions: `lim.concurrent_sessions`, or None.
        key_id: the API key a daemon's token was asked with, or None when the issuer does not tell.
        token_id: `jti`, for audit only; empty when there is none.
    """

    role: Role
    daemon_id: str
    subject: str
    session_id: int
    issued_at: float
    expires_at: float
    can_resume: bool
    max_sessions: int | None
    key_id: str | None
    token_id: str


def token_from_request(authorization: Sequence[str], query: Sequence[str]) -> str:
    """Return the one token of a request.

    Args:
        authorization: values of all Authorization headers.
        query: values of all `token` parameters of the query.

    Raises:
        TokenError: `missing_token`, or `token_twice` when there is more than one, in both places for example.
    """
    if len(authorization) + len(query) > 1:
        _refuse("token_twice", "send the token once: in the Authorization header or in ?token=")
    if query:
        token = query[0]
    elif authorization:
        scheme, _, token = authorization[0].partition(" ")
        if scheme.lower() != "bearer":
            _refuse("missing_token", "the Authorization header is not of the form 'Bearer <token>'")
    else:
        _refuse("missing_token", "send a token as 'Authorization: Bearer <token>'")
    if not token:
        _refuse("missing_token", "the token is empty")
    return token


class TokenVerifier:
    """Validates tokens of one issuer for one relay.

    Args:
        issuer: what `iss` must equal.
        keys: the issuer's keys.
        audience: what `aud` must contain.
        region: this relay's region; a token with another one is refused with 403. None takes only tokens without one.
        leeway_seconds: how far clocks may be apart; at most 30, the default.
        max_client_seconds: longest life of a client's token; default 300.
        max_daemon_seconds: longest life of a daemon's token; default one hour and a minute.
        clock: Unix time.
    """

    def __init__(
        self,
        issuer: str,
        keys: KeySource,
        *,
        audience: str = AUDIENCE,
        region: str | None = None,
        leeway_seconds: float = 30.0,
        max_client_seconds: float = 300.0,
        max_daemon_seconds: float = 3660.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._keys = keys
        self._audience = audience
        self._region = region
        self._leeway_seconds = leeway_seconds
        self._max_seconds: dict[Role, float] = {"client": max_client_seconds, "daemon": max_daemon_seconds}
        self._clock = clock
        self._registry = _EdDSARegistry(strict_check_header=False)

    async def verify(self, token: str) -> RelayToken:
        """Validate one token.

        Raises:
            TokenError: status 401; 403 for region and scope; 503 `keys_unavailable` when the keys cannot be had.
        """
        header = _read_header(token)
        key = await self._keys.key(header["kid"])
        if key is None:
            _refuse("unknown_key", "no published key has this kid")
        return self._read_claims(self._verified_claims(token, key))

    def _verified_claims(self, token: str, key: OKPKey) -> dict[str, Any]:
        try:
            payload = jws.deserialize_compact(token.encode("ascii"), key, registry=self._registry).payload
        except (JoseError, ValueError):
            raise TokenError("bad_signature", "the signature does not verify") from None
        try:
            claims = json.loads(payload or b"")
        except (ValueError, RecursionError):
            raise TokenError("malformed_token", "the claims are not JSON") from None
        if not isinstance(claims, dict):
            _refuse("malformed_token", "the claims are not a JSON object")
        return claims

    def _read_claims(self, claims: dict[str, Any]) -> RelayToken:
        self._check_origin(claims)
        issued_at, expires_at = self._check_times(claims)
        version = claims.get("ver", 1)
        if isinstance(version, bool) or version != 1:
            _refuse("wrong_version", "ver is not 1")
        role = _read_role(claims)
        daemon_id = claims.get("did")
        if not isinstance(daemon_id, str) or not is_daemon_id(daemon_id):
            _refuse("bad_daemon_id", "did is not 1 to 255 bytes without control characters")
        subject, session_id = _check_client(claims) if role == "client" else (daemon_id, 0)
        region = claims.get("region")
        if region is not None and region != self._region:
            _refuse("wrong_region", "the token is for another region", status=403)
        if expires_at - issued_at > self._max_seconds[role]:
            _refuse("lifetime_too_long", f"a token of a {role} lives at most {self._max_seconds[role]:.0f} s")
        scopes = _check_scopes(claims)
        if role == "client" and "session:create" not in scopes:
            _refuse("missing_scope", "scp does not hold session:create", status=403)
        return RelayToken(
            role=role,
            daemon_id=daemon_id,
            subject=subject,
            session_id=session_id,
            issued_at=issued_at,
            expires_at=expires_at,
            can_resume=role == "daemon" and "session:resume" in scopes,
            max_sessions=_check_limit(claims),
            key_id=_optional_text(claims, "akd"),
            token_id=_optional_text(claims, "jti") or "",
        )

    def _check_origin(self, claims: dict[str, Any]) -> None:
        audience = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else audience
        if not isinstance(audiences, list) or self._audience not in audiences:
            _refuse("wrong_audience", f"aud does not contain {self._audience!r}")
        if claims.get("iss") != self._issuer:
            _refuse("wrong_issuer", "iss is not the configured issuer")

    def _check_times(self, claims: dict[str, Any]) -> tuple[float, float]:
        issued_at, expires_at = _read_time(claims, "iat"), _read_time(claims, "exp")
        now = self._clock()
        if now >= expires_at + self._leeway_seconds:
            _refuse("expired", "the token has expired; ask for a new one")
        if issued_at > now + self._leeway_seconds or expires_at <= issued_at:
            _refuse("not_yet_valid", "iat is in the future or not before exp; check the clocks")
        return issued_at, expires_at


def encode_session_id(session_id: int) -> str:
    """Return a session id as tokens write it: base64url without padding of 8 bytes, big-endian."""
    return urlsafe_b64encode(session_id.to_bytes(8, "big")).rstrip(b"=").decode()


def decode_session_id(text: str) -> int:
    """Return the session id that a token's `sid` names.

    Raises:
        ValueError: it is not 8 bytes, zero, or not written the one canonical way.
    """
    if not _SESSION_ID.fullmatch(text):
        msg = "a session id is base64url of 8 bytes without padding"
        raise ValueError(msg)
    session_id = int.from_bytes(_decode_segment(text), "big")
    # Only four bits of the eleventh character count; setting the others would write the same session in another way.
    if session_id == 0 or encode_session_id(session_id) != text:
        msg = "a session id is not zero and is written in one way only"
        raise ValueError(msg)
    return session_id


class _EdDSARegistry(jws.JWSRegistry):
    """Allows EdDSA alone, and without joserfc's warning that RFC 9864 renames it: the protocol fixes the name."""

    max_header_length = MAX_TOKEN_CHARACTERS

    def get_alg(self, name: str) -> Any:
        if name != "EdDSA":
            _refuse("wrong_algorithm", "alg is not EdDSA")
        return self.algorithms["EdDSA"]


def _read_header(token: str) -> dict[str, Any]:
    if len(token) > MAX_TOKEN_CHARACTERS:
        _refuse("token_too_long", f"a token has at most {MAX_TOKEN_CHARACTERS} characters")
    if not _SIGNED_PARTS.fullmatch(token):
        _refuse("malformed_token", "a token is three parts of base64url, joined by dots")
    try:
        header = json.loads(_decode_segment(token.partition(".")[0]))
    except (ValueError, RecursionError):
        raise TokenError("malformed_token", "the header is not JSON") from None
    if not isinstance(header, dict):
        _refuse("malformed_token", "the header is not a JSON object")
    if header.get("typ") != TOKEN_TYPE:
        _refuse("wrong_type", f"typ is not {TOKEN_TYPE}")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        _refuse("missing_kid", "kid is missing")
    if any(name in header for name in _REFUSED_HEADERS):
        _refuse("forbidden_header", f"none of {', '.join(_REFUSED_HEADERS)} is allowed in the header")
    if header.get("alg") != "EdDSA":
        _refuse("wrong_algorithm", "alg is not EdDSA")
    return header


def _read_role(claims: dict[str, Any]) -> Role:
    role = claims.get("role")
    if role not in ("client", "daemon"):
        _refuse("wrong_role", "role is neither 'client' nor 'daemon'")
    return "client" if role == "client" else "daemon"


def _check_client(claims: dict[str, Any]) -> tuple[str, int]:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not is_daemon_id(subject):
        _refuse("bad_subject", "sub of a client is not 1 to 255 bytes without control characters")
    text = claims.get("sid")
    if not isinstance(text, str):
        _refuse("bad_session_id", "sid is not a string")
    try:
        session_id = decode_session_id(text)
    except ValueError as error:
        raise TokenError("bad_session_id", f"sid: {error}") from None
    return subject, session_id


def _check_scopes(claims: dict[str, Any]) -> list[str]:
    scopes = claims.get("scp", [])
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        _refuse("bad_scope", "scp is not a list of strings")
    return scopes


def _check_limit(claims: dict[str, Any]) -> int | None:
    limits = claims.get("lim", {})
    if not isinstance(limits, dict):
        _refuse("bad_limit", "lim is not an object")
    sessions = limits.get("concurrent_sessions")
    if sessions is None:
        return None
    if not isinstance(sessions, int) or isinstance(sessions, bool) or sessions < 1:
        _refuse("bad_limit", "lim.concurrent_sessions is not a positive integer")
    return sessions


def _optional_text(claims: dict[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and is_daemon_id(value) else None


def _read_time(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    # The range check also refuses NaN and infinity, which Python's JSON reader takes.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _MAX_TIME:
        _refuse("bad_times", f"{name} is not a number")
    return float(value)


def _decode_segment(segment: str) -> bytes:
    return b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)


def _refuse(reason: str, message: str, *, status: int = 401) -> NoReturn:
    raise TokenError(reason, message, status=status)
