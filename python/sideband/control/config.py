"""Settings of the control plane."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["ControlConfig", "OidcConfig", "no_credentials"]


Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class OidcConfig(BaseModel):
    """An OpenID Connect issuer whose JWTs are user tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str = Field(description="The issuer, exactly as in the claim iss.")
    audience: str = Field(min_length=1, description="What the claim aud must contain.")
    jwks_url: str | None = Field(
        default=None, description="Where its keys are; found by OpenID discovery when not given."
    )
    algorithms: tuple[Algorithm, ...] = Field(
        default=("RS256", "ES256", "EdDSA"), min_length=1, description="Signature algorithms accepted."
    )

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _encrypted(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        local = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not (parts.scheme == "https" or local) or not parts.hostname:
            raise ValueError("expected a URL that begins with https://")
        return no_credentials(value)


class ControlConfig(BaseModel):
    """Everything the control plane is told. Times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    public_url: str = Field(description="Where users and daemons reach the control plane, without a trailing slash.")
    relay_url: str = Field(description="Where clients and daemons reach the relay: ws:// or wss://.")
    issuer: str = Field(description="The claim iss of every token; {issuer}/.well-known/jwks.json has the keys.")
    audience: str = Field(default="sideband-relay", description="The claim aud of relay tokens.")
    region: str | None = Field(default=None, description="The claim region of relay tokens; None leaves it out.")

    client_token_seconds: int = Field(default=120, ge=10, le=300)
    daemon_token_seconds: int = Field(default=3600, ge=60, le=3600)
    identity_token_seconds: int = Field(default=300, ge=60, le=3600)

    quick_connect_attempts_per_minute: int = Field(default=10, ge=1, description="Redeem attempts of one address.")
    quick_connect_addresses: int = Field(default=65536, ge=16, description="Addresses whose attempts are remembered.")
    quick_connect_live_codes: int = Field(default=64, ge=1, description="Codes of one daemon that can be open at once.")

    max_request_bytes: int = Field(default=65536, ge=1024, description="Longest body of an API request.")
    request_seconds: float = Field(default=10.0, gt=0, description="How long the body of an API request may take.")
    refresh_seconds: float = Field(
        default=2.0, gt=0, le=5, description="How often revocations and signing keys are read."
    )
    audit_days: int = Field(default=400, ge=1, description="Days that audit records are kept.")

    oidc: OidcConfig | None = None


def no_credentials(url: str | None) -> str | None:
    """Return a URL that tells where something is and nothing else: it is shown, logged and put into tokens.

    Raises:
        ValueError: it holds a user or a password, or is malformed.
    """
    if url is not None and "@" in urlsplit(url).netloc:
        raise ValueError("a user or password in this URL would be shown to others; leave it out")
    return url
