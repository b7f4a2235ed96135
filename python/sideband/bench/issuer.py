"""Tokens for a relay that a benchmark has started."""

import json
import time
from typing import Any

from joserfc import jws
from joserfc.jwk import OKPKey

from sideband.control.signing import EdDSARegistry
from sideband.relay.tokens import AUDIENCE, TOKEN_TYPE, encode_session_id

__all__ = ["Issuer"]

_ISSUER = "https://control.example"
_REGISTRY = EdDSARegistry()


class Issuer:
    """Signs tokens as the control plane does."""

    def __init__(self) -> None:
        self._key = OKPKey.generate_key("Ed25519")

    def told(self, **config: Any) -> str:
        """Return the first line for `sideband.bench.relay_process`."""
        key = {**self._key.as_dict(private=False), "alg": "EdDSA", "use": "sig", "kid": "k1"}
        settings = {"issuer": _ISSUER, "loopback_listener": True, "shutdown_spread_seconds": 0.0}
        settings |= {"close_timeout_seconds": 1.0, "shutdown_seconds": 2.0, **config}
        return json.dumps({"jwks": {"keys": [key]}, "config": settings})

    def client(self, daemon_id: str, session_id: int) -> str:
        """Return a client's token."""
        claims = {"sub": "u_1", "role": "client", "did": daemon_id, "sid": encode_session_id(session_id)}
        return self._sign({**claims, "scp": ["session:create"]}, 250)

    def daemon(self, daemon_id: str) -> str:
        """Return a daemon's token."""
        claims = {"sub": daemon_id, "role": "daemon", "did": daemon_id, "scp": ["session:resume"]}
        return self._sign({**claims, "lim": {"concurrent_sessions": 100_000}}, 3600)

    def _sign(self, claims: dict[str, Any], seconds: int) -> str:
        now = int(time.time())
        claims |= {"iss": _ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + seconds}
        header = {"alg": "EdDSA", "typ": TOKEN_TYPE, "kid": "k1"}
        return jws.serialize_compact(header, json.dumps(claims).encode(), self._key, registry=_REGISTRY)
