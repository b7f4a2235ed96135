"""Each refusal of the token rules, with its reason and status."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from sideband.errors import TokenError
from sideband.jwks import LocalKeys
from sideband.relay.tokens import RelayToken, TokenVerifier, encode_session_id, token_from_request

NOW = 1_763_700_000.0
ISSUER = "https://control.example"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
HEADER = {"alg": "EdDSA", "typ": "sbrp-relay+jwt", "kid": "k1"}
CLIENT = {
    "iss": ISSUER,
    "aud": "sideband-relay",
    "iat": NOW,
    "exp": NOW + 120,
    "jti": "j1",
    "ver": 1,
    "sub": "u_1",
    "role": "client",
    "did": "d_1",
    "sid": "AAAAAAAAAAE",
    "scp": ["session:create"],
}
DAEMON = {
    "iss": ISSUER,
    "aud": ["other", "sideband-relay"],
    "iat": NOW,
    "exp": NOW + 3600,
    "sub": "d_1",
    "role": "daemon",
    "did": "d_1",
    "scp": ["session:resume", "unknown:scope"],
}


def b64(data: bytes | str) -> str:
    return base64.urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()


def jwk(key: Ed25519PrivateKey = KEY, **changes: Any) -> dict[str, Any]:
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k1", "x": b64(public), **changes}


def signed(header: dict[str, Any] | str, claims: dict[str, Any] | str, key: Ed25519PrivateKey = KEY) -> str:
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    signing_input = ".".join(map(b64, parts))
    return f"{signing_input}.{b64(key.sign(signing_input.encode()))}"


def verifier(*, region: str | None = None, now: float = NOW, jwks: list[dict[str, Any]] | None = None) -> TokenVerifier:
    keys = LocalKeys(lambda: {"keys": [jwk()] if jwks is None else jwks})
    return TokenVerifier(ISSUER, keys, region=region, clock=lambda: now)


async def verify(token: str, **options: Any) -> RelayToken:
    return await verifier(**options).verify(token)


async def refusal(token: str, **options: Any) -> tuple[str, int]:
    with pytest.raises(TokenError) as caught:
        await verify(token, **options)
    assert token not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value.reason, caught.value.status


def client(**changes: Any) -> str:
    claims = {**CLIENT, **changes}
    return signed(HEADER, {name: value for name, value in claims.items() if value is not ...})


def daemon(**changes: Any) -> str:
    claims = {**DAEMON, **changes}
    return signed(HEADER, {name: value for name, value in claims.items() if value is not ...})


async def test_a_clients_token() -> None:
    token = await verify(client(lim={"concurrent_sessions": 4}))
    assert token == RelayToken("client", "d_1", "u_1", 1, NOW, NOW + 120, False, 4, None, "j1")


async def test_a_daemons_token() -> None:
    token = await verify(daemon(akd="key-1"))
    assert token == RelayToken("daemon", "d_1", "d_1", 0, NOW, NOW + 3600, True, None, "key-1", "")
    assert not (await verify(daemon(scp=...))).can_resume
    assert not (await verify(daemon(scp=["session:create"]))).can_resume


async def test_headers_that_mean_nothing_are_ignored() -> None:
    assert (await verify(signed({**HEADER, "cty": "x", "extra": 1}, CLIENT))).role == "client"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"typ": "JWT"}, "wrong_type"),
        ({"typ": None}, "wrong_type"),
        ({"kid": ""}, "missing_kid"),
        ({"kid": 7}, "missing_kid"),
        ({"kid": "k2"}, "unknown_key"),
        ({"alg": "none"}, "wrong_algorithm"),
        ({"alg": "RS256"}, "wrong_algorithm"),
        ({"alg": "Ed25519"}, "wrong_algorithm"),
        ({"alg": ["EdDSA"]}, "wrong_algorithm"),
        ({"jwk": jwk()}, "forbidden_header"),
        ({"jku": "https://attacker.example/jwks.json"}, "forbidden_header"),
        ({"x5u": "https://attacker.example/c.pem"}, "forbidden_header"),
        ({"x5c": []}, "forbidden_header"),
        ({"crit": ["exp"]}, "forbidden_header"),
        ({"crit": []}, "forbidden_header"),
    ],
)
async def test_header_refusals(header: dict[str, Any], reason: str) -> None:
    assert await refusal(signed({**HEADER, **header}, CLIENT)) == (reason, 401)


async def test_unsigned_with_alg_none() -> None:
    parts = b64(json.dumps({**HEADER, "alg": "none"})), b64(json.dumps(CLIENT))
    assert await refusal(".".join(parts) + ".") == ("wrong_algorithm", 401)
    assert await refusal(".".join((b64(json.dumps(HEADER)), parts[1])) + ".") == ("bad_signature", 401)


async def test_hs256_with_the_public_key_as_secret() -> None:
    for secret in (PUBLIC, b64(PUBLIC).encode(), json.dumps(jwk()).encode()):
        signing_input = f"{b64(json.dumps({**HEADER, 'alg': 'HS256'}))}.{b64(json.dumps(CLIENT))}"
        mac = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
        assert await refusal(f"{signing_input}.{b64(mac)}") == ("wrong_algorithm", 401)


async def test_rs256_with_a_key_of_its_own() -> None:
    key = rsa.generate_private_key(65537, 2048)
    signing_input = f"{b64(json.dumps({**HEADER, 'alg': 'RS256'}))}.{b64(json.dumps(CLIENT))}"
    signature = key.sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert await refusal(f"{signing_input}.{b64(signature)}") == ("wrong_algorithm", 401)


async def test_signed_by_another_key() -> None:
    assert await refusal(signed(HEADER, CLIENT, OTHER_KEY)) == ("bad_signature", 401)


async def test_claims_changed_after_signing() -> None:
    header, _claims, signature = client().split(".")
    assert await refusal(f"{header}.{b64(json.dumps({**CLIENT, 'did': 'd_2'}))}.{signature}") == ("bad_signature", 401)


@pytest.mark.parametrize(
    "entry",
    [
        jwk(alg="Ed25519"),
        {name: value for name, value in jwk().items() if name != "alg"},
        jwk(use="enc"),
        jwk(kty="oct"),
        jwk(crv="Ed448"),
        jwk(x="AAAA"),
        jwk(x=7),
        jwk(kid=7),
        "no object",
    ],
)
async def test_a_published_key_must_itself_be_fit(entry: Any) -> None:
    assert await refusal(client(), jwks=[entry]) == ("unknown_key", 401)


async def test_two_keys_are_current_during_a_rotation() -> None:
    both = [jwk(), jwk(OTHER_KEY, kid="k2")]
    assert (await verify(client(), jwks=both)).session_id == 1
    assert (await verify(signed({**HEADER, "kid": "k2"}, CLIENT, OTHER_KEY), jwks=both)).session_id == 1
    assert await refusal(signed({**HEADER, "kid": "k2"}, CLIENT), jwks=both) == ("bad_signature", 401)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": ...}, "wrong_audience"),
        ({"aud": "someone-else"}, "wrong_audience"),
        ({"aud": ["a", "b"]}, "wrong_audience"),
        ({"aud": {"sideband-relay": 1}}, "wrong_audience"),
        ({"iss": ...}, "wrong_issuer"),
        ({"iss": ISSUER + "/"}, "wrong_issuer"),
        ({"iat": ...}, "bad_times"),
        ({"exp": ...}, "bad_times"),
        ({"iat": "1763700000"}, "bad_times"),
        ({"exp": True}, "bad_times"),
        ({"exp": float("nan")}, "bad_times"),
        ({"exp": float("inf")}, "bad_times"),
        ({"exp": 10**400}, "bad_times"),
        ({"iat": -1}, "bad_times"),
        ({"iat": NOW + 31, "exp": NOW + 100}, "not_yet_valid"),
        ({"iat": NOW, "exp": NOW - 1}, "not_yet_valid"),
        ({"iat": NOW - 130, "exp": NOW - 30}, "expired"),
        ({"ver": 2}, "wrong_version"),
        ({"ver": "1"}, "wrong_version"),
        ({"ver": True}, "wrong_version"),
        ({"ver": None}, "wrong_version"),
        ({"role": ...}, "wrong_role"),
        ({"role": "admin"}, "wrong_role"),
        ({"did": ...}, "bad_daemon_id"),
        ({"did": ""}, "bad_daemon_id"),
        ({"did": "x" * 256}, "bad_daemon_id"),
        ({"did": "é" * 128}, "bad_daemon_id"),
        ({"did": "d\n1"}, "bad_daemon_id"),
        ({"did": "d\x7f1"}, "bad_daemon_id"),
        ({"did": 1}, "bad_daemon_id"),
        ({"sub": ...}, "bad_subject"),
        ({"sub": ""}, "bad_subject"),
        ({"sub": 5}, "bad_subject"),
        ({"sid": ...}, "bad_session_id"),
        ({"sid": "AAAAAAAAAAA"}, "bad_session_id"),
        ({"sid": "AAAAAAAAAAE="}, "bad_session_id"),
        ({"sid": "AAAAAAAAAAF"}, "bad_session_id"),
        ({"sid": "AAAAAAAAAQ"}, "bad_session_id"),
        ({"sid": "AAAAAAAAAAAB"}, "bad_session_id"),
        ({"sid": "AAAAAAAAAA+"}, "bad_session_id"),
        ({"sid": 1}, "bad_session_id"),
        ({"exp": NOW + 301}, "lifetime_too_long"),
        ({"scp": "session:create"}, "bad_scope"),
        ({"scp": [1]}, "bad_scope"),
        ({"scp": None}, "bad_scope"),
        ({"lim": 5}, "bad_limit"),
        ({"lim": {"concurrent_sessions": 0}}, "bad_limit"),
        ({"lim": {"concurrent_sessions": 1.5}}, "bad_limit"),
        ({"lim": {"concurrent_sessions": True}}, "bad_limit"),
    ],
)
async def test_claim_refusals_with_401(changes: dict[str, Any], reason: str) -> None:
    assert await refusal(client(**changes)) == (reason, 401)


@pytest.mark.parametrize("scopes", [..., [], ["session:resume"], ["unknown"]])
async def test_a_client_without_session_create_is_403(scopes: Any) -> None:
    assert await refusal(client(scp=scopes)) == ("missing_scope", 403)


@pytest.mark.parametrize(("relay", "token"), [("eu", "us"), (None, "us"), ("eu", 7)])
async def test_another_region_is_403(relay: str | None, token: Any) -> None:
    assert await refusal(client(region=token), region=relay) == ("wrong_region", 403)


@pytest.mark.parametrize("region", [..., "eu", None])
async def test_the_same_region_or_none(region: Any) -> None:
    assert (await verify(client(region=region), region="eu")).session_id == 1


async def test_edges_that_are_just_allowed() -> None:
    assert await verify(client(iat=NOW + 30, exp=NOW + 100))
    assert await verify(client(iat=NOW - 100, exp=NOW - 29.9))
    assert await verify(client(exp=NOW + 300))
    assert await verify(daemon(exp=NOW + 3660))
    assert await verify(client(did="x" * 255))
    assert await verify(client(sid="__________8"))
    assert await refusal(daemon(exp=NOW + 3661)) == ("lifetime_too_long", 401)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("x" * 4097, "token_too_long"),
        ("a.b", "malformed_token"),
        ("a.b.c.d", "malformed_token"),
        ("..", "malformed_token"),
        ("a=.b.c", "malformed_token"),
        ("é.b.c", "malformed_token"),
        (f"{b64('no json')}.e30.AA", "malformed_token"),
        (f"{b64('[1]')}.e30.AA", "malformed_token"),
        (f"{b64('[' * 3000)}.e30.AA", "malformed_token"),
        ("A.e30.AA", "malformed_token"),
    ],
)
async def test_tokens_that_are_none(token: str, reason: str) -> None:
    assert await refusal(token) == (reason, 401)


async def test_an_empty_token() -> None:
    with pytest.raises(TokenError, match="malformed_token"):
        await verify("")


async def test_4096_characters_are_allowed() -> None:
    token = client(pad="")
    claims = {**CLIENT, "pad": "x" * ((4096 - len(token)) * 3 // 4)}
    for extra in ("", "x", "xx", "xxx"):
        padded = signed(HEADER, {**claims, "pad": claims["pad"] + extra})
        if len(padded) <= 4096:
            assert await verify(padded)
        else:
            assert await refusal(padded) == ("token_too_long", 401)


@pytest.mark.parametrize("claims", ["no json", "[]", "[" * 2500, "7"])
async def test_signed_claims_that_are_no_object(claims: str) -> None:
    assert await refusal(signed(HEADER, claims)) == ("malformed_token", 401)


async def test_the_first_failure_in_the_order_of_the_page_is_reported() -> None:
    """One claim after the other is made right; each time the next in the order is named."""
    wrong: dict[str, Any] = {
        "aud": "x",
        "iss": "x",
        "iat": "x",
        "exp": NOW - 60,
        "ver": 9,
        "role": "x",
        "did": "",
        "sub": "",
        "sid": "",
        "region": "x",
        "scp": 0,
        "lim": 0,
    }
    repairs: list[tuple[dict[str, Any], str]] = [
        ({}, "wrong_audience"),
        ({"aud": "sideband-relay"}, "wrong_issuer"),
        ({"iss": ISSUER}, "bad_times"),
        ({"iat": NOW - 1000}, "expired"),
        ({"exp": NOW + 60}, "wrong_version"),
        ({"ver": 1}, "wrong_role"),
        ({"role": "client"}, "bad_daemon_id"),
        ({"did": "d"}, "bad_subject"),
        ({"sub": "u"}, "bad_session_id"),
        ({"sid": "AAAAAAAAAAE"}, "wrong_region"),
        ({"region": "eu"}, "lifetime_too_long"),
        ({"iat": NOW}, "bad_scope"),
        ({"scp": []}, "missing_scope"),
        ({"scp": ["session:create"]}, "bad_limit"),
    ]
    for repair, reason in repairs:
        wrong.update(repair)
        assert (await refusal(signed(HEADER, wrong), region="eu"))[0] == reason
    assert await verify(signed(HEADER, {**wrong, "lim": {}}), region="eu")


async def test_the_clock_is_unix_time_by_default() -> None:
    now = time.time()
    keys = LocalKeys(lambda: {"keys": [jwk()]})
    assert await TokenVerifier(ISSUER, keys).verify(client(iat=now, exp=now + 60))


@pytest.mark.parametrize(
    ("authorization", "query", "reason"),
    [
        ([], [], "missing_token"),
        (["Basic abc"], [], "missing_token"),
        (["Bearer "], [], "missing_token"),
        (["Bearer"], [], "missing_token"),
        ([], [""], "missing_token"),
        (["Bearer a"], ["a"], "token_twice"),
        (["Bearer a", "Bearer a"], [], "token_twice"),
        ([], ["a", "b"], "token_twice"),
        (["Basic abc"], ["a"], "token_twice"),
    ],
)
def test_a_request_holds_one_token(authorization: list[str], query: list[str], reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        token_from_request(authorization, query)
    assert (caught.value.reason, caught.value.status) == (reason, 401)


def test_where_a_token_may_be() -> None:
    assert token_from_request(["Bearer abc"], []) == "abc"
    assert token_from_request(["bearer abc"], []) == "abc"
    assert token_from_request([], ["abc"]) == "abc"


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: f"{b64(raw)}.{b64(raw)}.{b64(raw)}"))
async def test_nothing_but_token_errors_for_arbitrary_text(text: str) -> None:
    with pytest.raises(TokenError):
        await verify(text)


@given(st.integers(1, 2**64 - 1))
async def test_every_session_id_is_read_back(session_id: int) -> None:
    assert (await verify(client(sid=encode_session_id(session_id)))).session_id == session_id
