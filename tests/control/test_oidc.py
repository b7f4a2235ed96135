"""Tokens of an OpenID Connect issuer, from a real HTTP server that plays it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from pydantic import ValidationError

from sideband.control.config import OidcConfig
from sideband.control.oidc import OidcTokens
from sideband.control.plane import ControlPlane
from sideband.control.wire import ProcedureError

RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
OKP = OKPKey.generate_key("Ed25519", {"kid": "okp"})


class AnyAlgorithm(jws.JWSRegistry):
    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


class Issuer:
    """Discovery, keys, tokens; `broken` answers everything with 503."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.url = ""
        self.keys: list[dict[str, Any]] = [key.as_dict(private=False) for key in (RSA, EC, OKP)]
        self.requests: list[str] = []
        self.broken = False
        self.discovery: dict[str, Any] | None = None

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        if self.broken:
            return web.Response(status=503)
        if request.path == "/.well-known/openid-configuration":
            return web.json_response(self.discovery or {"issuer": self.url, "jwks_uri": f"{self.url}/keys"})
        return web.json_response({"keys": self.keys})

    def token(self, key: Any = RSA, alg: str = "RS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
        now = int(self.clock())
        said = {"iss": self.url, "aud": "sideband", "sub": "alice", "iat": now, "exp": now + 300, **claims}
        said = {name: value for name, value in said.items() if value is not None}
        head = {"alg": alg, "kid": key.kid, **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        registry = AnyAlgorithm(strict_check_header=False)
        return jws.serialize_compact(head, json.dumps(said), key, registry=registry)


@pytest.fixture
async def issuer(clock: Any) -> AsyncIterator[Issuer]:
    issuer = Issuer(clock)
    app = web.Application()
    app.router.add_get("/{path:.*}", issuer.answer)
    async with TestServer(app) as server:
        issuer.url = str(server.make_url("")).rstrip("/")
        yield issuer


@pytest.fixture
async def tokens(issuer: Issuer, clock: Any) -> AsyncIterator[OidcTokens]:
    async with aiohttp.ClientSession() as session:
        yield OidcTokens(OidcConfig(issuer=issuer.url, audience="sideband"), session, clock)


async def refusal(tokens: OidcTokens, token: str) -> tuple[str, str]:
    with pytest.raises(ProcedureError) as caught:
        await tokens.verify(token)
    assert token not in str(caught.value)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (EC, "ES256"), (OKP, "EdDSA")], ids=["RSA", "EC", "OKP"])
async def test_a_good_token_tells_its_subject(tokens: OidcTokens, issuer: Issuer, key: Any, alg: str) -> None:
    found = await tokens.verify(issuer.token(key, alg))
    assert (found.issuer, found.subject) == (issuer.url, "alice")
    await tokens.verify(issuer.token(key, alg, aud=["other", "sideband"]))
    assert issuer.requests == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "other"}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": ["other"]}, "another audience"),
        ({"exp": None}, "expired"),
        ({"exp": "never"}, "expired"),
        ({"exp": True}, "expired"),
        ({"exp": 1}, "expired"),
        ({"nbf": 2**40}, "not valid yet"),
        ({"iat": 2**40}, "not valid yet"),
        ({"sub": None}, "subject"),
        ({"sub": ""}, "subject"),
        ({"sub": "a\u0000"}, "subject"),
        ({"sub": "a" * 256}, "subject"),
    ],
    ids=str,
)
async def test_claims_that_are_refused(tokens: OidcTokens, issuer: Issuer, claims: dict[str, Any], why: str) -> None:
    code, message = await refusal(tokens, issuer.token(**claims))
    assert code == "UNAUTHORIZED"
    assert why in message


async def test_expiry_has_half_a_minute_of_slack(tokens: OidcTokens, issuer: Issuer, clock: Any) -> None:
    token = issuer.token(exp=int(clock()) + 10)
    clock.advance(39)
    await tokens.verify(token)
    clock.advance(1)
    assert "expired" in (await refusal(tokens, token))[1]


async def test_signatures_that_are_refused(tokens: OidcTokens, issuer: Issuer) -> None:
    good = issuer.token()
    head, payload, signature = good.split(".")
    stranger = RSAKey.generate_key(2048, {"kid": "rsa"})
    unsigned = f"{head}.{payload}."
    as_hmac = issuer.token(OctKey.import_key(json.dumps(RSA.as_dict(private=False)).encode(), {"kid": "rsa"}), "HS256")
    for token in (
        issuer.token(stranger),
        unsigned,
        as_hmac,
        issuer.token(RSA, "RS384"),
        issuer.token(EC, "ES256", {"kid": "rsa"}),
        f"{head}.{payload}.{signature[:-4]}AAAA",
    ):
        assert (await refusal(tokens, token))[0] == "UNAUTHORIZED"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "....", "sbnd_dak_x", "\u00e9.e.e", "e30.e30.AAAA"], ids=str)
async def test_what_is_no_token(tokens: OidcTokens, token: str) -> None:
    with pytest.raises(ProcedureError) as caught:
        await tokens.verify(token)
    assert caught.value.code == "UNAUTHORIZED"


async def test_a_symmetric_key_among_the_public_ones_is_not_used(tokens: OidcTokens, issuer: Issuer) -> None:
    shared = OctKey.generate_key(256, {"kid": "shared"})
    issuer.keys.append(shared.as_dict(private=True))
    assert "kid" in (await refusal(tokens, issuer.token(shared, "HS256")))[1]


async def test_unknown_keys_are_fetched_at_most_every_ten_seconds(
    tokens: OidcTokens, issuer: Issuer, clock: Any
) -> None:
    await tokens.verify(issuer.token())
    new = RSAKey.generate_key(2048, {"kid": "new"})
    issuer.keys = [new.as_dict(private=False)]
    for _ in range(5):
        await refusal(tokens, issuer.token(new))
    assert issuer.requests.count("/keys") == 1
    clock.advance(10)
    await tokens.verify(issuer.token(new))
    assert issuer.requests.count("/keys") == 2


async def test_many_at_once_fetch_once(tokens: OidcTokens, issuer: Issuer, gather_all: Any) -> None:
    await gather_all(*(tokens.verify(issuer.token()) for _ in range(20)))
    assert issuer.requests.count("/keys") == 1


async def test_an_issuer_that_is_away_is_bridged_for_a_quarter_of_an_hour(
    tokens: OidcTokens, issuer: Issuer, clock: Any
) -> None:
    await tokens.verify(issuer.token())
    issuer.broken = True
    clock.advance(899)
    await tokens.verify(issuer.token())
    clock.advance(10)
    assert (await refusal(tokens, issuer.token()))[0] == "INTERNAL_SERVER_ERROR"
    issuer.broken = False
    clock.advance(10)
    await tokens.verify(issuer.token())


async def test_an_issuer_that_was_never_there(tokens: OidcTokens, issuer: Issuer) -> None:
    issuer.broken = True
    assert (await refusal(tokens, issuer.token()))[0] == "INTERNAL_SERVER_ERROR"


@pytest.mark.parametrize(
    "document",
    [{"issuer": "https://evil.example", "jwks_uri": "https://evil.example/keys"}, {"jwks_uri": "x"}, {"a": 1}],
)
async def test_a_discovery_document_of_another_issuer(
    tokens: OidcTokens, issuer: Issuer, document: dict[str, Any]
) -> None:
    issuer.discovery = document
    assert (await refusal(tokens, issuer.token()))[0] == "INTERNAL_SERVER_ERROR"


@pytest.mark.parametrize("url", ["http://login.example", "ftp://x", "login.example", "https://", ""])
def test_an_issuer_needs_https(url: str) -> None:
    with pytest.raises(ValidationError):
        OidcConfig(issuer=url, audience="x")


async def test_a_user_logs_in_with_a_token_of_the_issuer(
    plane: ControlPlane, issuer: Issuer, tokens: OidcTokens, home: Any, admin: Any
) -> None:
    from aiohttp.test_utils import TestClient

    from sideband.control.app import create_control_app

    async with TestClient(TestServer(create_control_app(plane, oidc=tokens))) as client:

        async def call(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            asked = {"json": {"daemonId": home.daemon}}
            async with client.post("/api/trpc/relay.createSession", json=asked, headers=headers) as response:
                return response.status

        assert await call(issuer.token()) == 403
        await admin().create_user("alice", accounts=["home"], oidc_issuer=issuer.url, oidc_subject="alice")
        assert await call(issuer.token()) == 200
        assert await call(issuer.token(sub="bob")) == 403
        assert await call(issuer.token(aud="other")) == 401
        assert await call(home.token) == 200
        await admin().set_user_disabled("alice", True)
        assert await call(issuer.token()) == 403
