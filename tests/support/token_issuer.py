"""Signs relay tokens as the control plane does."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from joserfc import jws
from joserfc.jwk import OKPKey

from sideband.relay.tokens import encode_session_id

ISSUER = "https://control.example"
DAEMON = "d_1"


@dataclass
class Issuer:
    """An issuer with one key."""

    unix: Callable[[], float] = time.time
    kid: str = "k1"
    key: OKPKey = field(default_factory=lambda: OKPKey.generate_key("Ed25519"))

    def jwks(self) -> dict[str, Any]:
        return {"keys": [{**self.key.as_dict(private=False), "alg": "EdDSA", "use": "sig", "kid": self.kid}]}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        protected = {"alg": "EdDSA", "typ": "sbrp-relay+jwt", "kid": self.kid, **header}
        return jws.serialize_compact(protected, json.dumps(claims).encode(), self.key, registry=_PlainEdDSA())

    def client(self, daemon_id: str = DAEMON, sid: int | None = None, **claims: Any) -> str:
        now = int(self.unix())
        sid = secrets.randbits(63) + 1 if sid is None else sid
        base = {"iss": ISSUER, "aud": "sideband-relay", "iat": now, "exp": now + 120, "sub": "u_1", "role": "client"}
        return self.sign({**base, "did": daemon_id, "sid": encode_session_id(sid), "scp": ["session:create"], **claims})

    def daemon(self, daemon_id: str = DAEMON, *, resume: bool = True, **claims: Any) -> str:
        now = int(self.unix())
        base = {"iss": ISSUER, "aud": "sideband-relay", "iat": now, "exp": now + 3600, "sub": daemon_id}
        scopes = ["session:resume"] if resume else []
        return self.sign({**base, "role": "daemon", "did": daemon_id, "scp": scopes, **claims})


class _PlainEdDSA(jws.JWSRegistry):
    # joserfc warns of the algorithm's name, which is the one that the page asks for.
    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]
