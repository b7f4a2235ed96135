"""What the control plane signs: relay tokens (docs/protocol/relay.md, "Tokens") and identities of users."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

from sideband.control.config import ControlConfig
from sideband.control.signing import SigningKeys

__all__ = ["IDENTITY_TOKEN_TYPE", "RELAY_TOKEN_TYPE", "TokenIssuer", "new_sid"]

RELAY_TOKEN_TYPE = "sbrp-relay+jwt"  # noqa: S105  (a media type, not a secret)
IDENTITY_TOKEN_TYPE = "sideband-identity+jwt"  # noqa: S105  (a media type, not a secret)


class TokenIssuer:
    """Issues tokens in the name of one issuer."""

    def __init__(self, config: ControlConfig, keys: SigningKeys, clock: Callable[[], float]) -> None:
        self._config = config
        self._keys = keys
        self._clock = clock

    def daemon_token(self, daemon_id: str, api_key_id: str, *, resume: bool) -> str:
        """Return a daemon's token for the relay, with the scope `session:resume` only if it asked for that.

        The claim `akd` names the API key it was asked with, so that revoking a key refuses exactly its tokens.
        """
        return self._relay_token(
            self._config.daemon_token_seconds,
            {
                "sub": daemon_id,
                "role": "daemon",
                "did": daemon_id,
                "scp": ["session:resume"] if resume else [],
                "akd": api_key_id,
            },
        )

    def client_token(self, daemon_id: str, subject: str, sid: bytes) -> str:
        """Return a client's token for one session with a daemon."""
        return self._relay_token(
            self._config.client_token_seconds,
            {"sub": subject, "role": "client", "did": daemon_id, "sid": _b64(sid), "scp": ["session:create"]},
        )

    def identity(self, daemon_id: str, subject: str, sid: bytes, name: str | None = None) -> str:
        """Return the JWT by which a daemon learns who its client is, bound to the session by the claim `sid`."""
        claims = {"aud": daemon_id, "sub": subject, "sid": _b64(sid)}
        if name is not None:
            claims["name"] = name
        return self._sign(IDENTITY_TOKEN_TYPE, self._config.identity_token_seconds, claims)

    def _relay_token(self, lifetime: int, claims: dict[str, Any]) -> str:
        if self._config.region is not None:
            claims["region"] = self._config.region
        return self._sign(RELAY_TOKEN_TYPE, lifetime, {"aud": self._config.audience, "ver": 1, **claims})

    def _sign(self, media_type: str, lifetime: int, claims: dict[str, Any]) -> str:
        now = int(self._clock())
        standard = {"iss": self._config.issuer, "iat": now, "exp": now + lifetime, "jti": secrets.token_urlsafe(16)}
        return self._keys.sign({"typ": media_type}, {**standard, **claims})


def new_sid() -> bytes:
    """Return a random session id: 8 bytes, not all zero."""
    while True:
        sid = secrets.token_bytes(8)
        if any(sid):
            return sid


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
