"""Who is connected: the identity token, from its verification to `peer.identity`."""

from __future__ import annotations

import time
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from sideband.errors import PeerError, TokenError
from sideband.jwks import FetchedKeys, LocalKeys
from sideband.peer import IdentityTokenVerifier, Peer, PeerIdentity, PeerState, RetryPolicy
from sideband.relay.tokens import encode_session_id
from tests.support.relay_harness import World, bearer, until
from tests.support.token_issuer import ISSUER, Issuer

TYPE = "sideband-identity+jwt"


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": ISSUER, "aud": "d_1", "sub": "u_7", "iat": now, "exp": now + 300, **more}


def verifier(issuer: Issuer) -> IdentityTokenVerifier:
    return IdentityTokenVerifier(ISSUER, "d_1", LocalKeys(issuer.jwks))


async def test_a_good_token() -> None:
    issuer = Issuer()
    identity = await verifier(issuer)(issuer.sign(claims(sid=encode_session_id(5), name="Ada"), typ=TYPE), 5)
    assert (identity.subject, identity.issuer, identity.claims["name"]) == ("u_7", ISSUER, "Ada")
    assert "Ada" not in repr(identity)


async def test_a_token_that_names_no_session_serves_any() -> None:
    issuer = Issuer()
    token = issuer.sign(claims(aud=["other", "d_1"]), typ=TYPE)
    assert (await verifier(issuer)(token, 9)).subject == "u_7"
    assert (await verifier(issuer)(token)).subject == "u_7"


NOW = int(time.time())


@pytest.mark.parametrize(
    ("change", "header", "reason"),
    [
        ({"aud": "d_2"}, {}, "wrong_audience"),
        ({"aud": None}, {}, "wrong_audience"),
        ({"iss": "https://evil.example"}, {}, "wrong_issuer"),
        ({"exp": NOW - 60, "iat": NOW - 200}, {}, "expired"),
        ({"iat": NOW + 3_000, "exp": NOW + 3_100}, {}, "not_yet_valid"),
        ({"exp": NOW + 100_000}, {}, "not_yet_valid"),
        ({"exp": "soon"}, {}, "malformed_token"),
        ({"iat": True}, {}, "malformed_token"),
        ({"sub": ""}, {}, "missing_subject"),
        ({"sub": 7}, {}, "missing_subject"),
        ({"sid": encode_session_id(6)}, {}, "wrong_session"),
        ({"sid": 5}, {}, "wrong_session"),
        ({}, {"typ": "sbrp-relay+jwt"}, "wrong_type"),
        ({}, {"kid": "other"}, "unknown_key"),
        ({}, {"kid": 7}, "missing_kid"),
        ({}, {"crit": ["x"], "x": 1}, "forbidden_header"),
        ({}, {"jku": "https://evil.example/jwks"}, "forbidden_header"),
    ],
)
async def test_tokens_that_are_refused(change: dict[str, Any], header: dict[str, Any], reason: str) -> None:
    issuer = Issuer()
    if header.get("kid") == 7 or "crit" in header:
        token = _with_header(issuer, claims(**change), {"alg": "EdDSA", "typ": TYPE, "kid": "k1", **header})
    else:
        token = issuer.sign(claims(**change), **{"typ": TYPE, **header})
    with pytest.raises(TokenError) as caught:
        await verifier(issuer)(token, 5)
    assert caught.value.reason == reason
    assert token not in str(caught.value)


def _with_header(issuer: Issuer, body: dict[str, Any], header: dict[str, Any]) -> str:
    import base64
    import json

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    signature = issuer.sign(body, typ=TYPE).rpartition(".")[2]
    return f"{part(header)}.{part(body)}.{signature}"


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c.d", "e30.e30.e30", "x" * 5_000, "ü.ü.ü", "bnVsbA.e30.x"])
async def test_what_is_no_token(token: str) -> None:
    with pytest.raises(TokenError):
        await verifier(Issuer())(token, 5)


async def test_a_signature_of_another_key_and_none_at_all() -> None:
    issuer = Issuer()
    forged = Issuer(key=OKPKey.generate_key("Ed25519")).sign(claims(), typ=TYPE)
    for token in (forged, forged.rpartition(".")[0] + "."):
        with pytest.raises(TokenError) as caught:
            await verifier(issuer)(token, 5)
        assert caught.value.reason == "bad_signature"
    unsigned = _with_header(issuer, claims(), {"alg": "none", "typ": TYPE, "kid": "k1"})
    with pytest.raises(TokenError) as caught:
        await verifier(issuer)(unsigned, 5)
    assert caught.value.reason == "wrong_algorithm"


async def test_the_daemon_learns_who_is_there(world: World) -> None:
    issuer, seen = world.relay.issuer, list[PeerIdentity | None]()

    def params() -> Any:
        token = issuer.sign(claims(sid=encode_session_id(77)), typ=TYPE)
        return bearer(issuer.client(sid=77), metadata={"sideband:identity": token})

    await world.daemon(lambda peer: seen.append(peer.identity), verify_identity=verifier(issuer))
    async with world.client(params=params):
        await until(lambda: seen)
    async with world.client():
        await until(lambda: len(seen) == 2)
    assert seen[0] is not None
    assert seen[0].subject == "u_7"
    assert seen[1] is None


@pytest.mark.parametrize("kind", ["forged", "policy", "raises", "not-quite-true"])
async def test_a_client_that_is_refused_is_closed_for_good(world: World, kind: str) -> None:
    issuer, introduced = world.relay.issuer, list[Peer]()

    def params() -> Any:
        token = (Issuer() if kind == "forged" else issuer).sign(claims(), typ=TYPE)
        return bearer(issuer.client(), metadata={"sideband:identity": token})

    async def policy(identity: PeerIdentity | None) -> Any:
        if kind == "raises":
            raise RuntimeError("the policy broke")
        return "yes" if kind == "not-quite-true" else identity is None

    authorize = None if kind == "forged" else policy
    server = await world.daemon(introduced.append, verify_identity=verifier(issuer), authorize=authorize)
    peer = world.client(params=params, retry=RetryPolicy(mode="on-error"))
    states: list[PeerState] = []
    peer.on("state_change", lambda state, _previous: states.append(state))
    with pytest.raises(PeerError, match="the other side closed the session: refused") as caught:
        await peer.connect()
    assert caught.value is peer.error
    assert (caught.value.code, caught.value.details) == ("peer_closed", {"reason": "refused"})
    assert states == ["connecting", "negotiating", "closed"]
    assert introduced == []
    assert server.connections == ()


async def test_a_client_is_told_to_come_again_while_the_keys_cannot_be_had(world: World) -> None:
    issuer, seen = world.relay.issuer, list[PeerIdentity | None]()
    away = True

    async def fetch() -> object:
        if away:
            raise OSError
        return issuer.jwks()

    def params() -> Any:
        token = issuer.sign(claims(), typ=TYPE)
        return bearer(issuer.client(), metadata={"sideband:identity": token})

    keys = FetchedKeys(fetch, retry_seconds=0)
    await world.daemon(
        lambda peer: seen.append(peer.identity), verify_identity=IdentityTokenVerifier(ISSUER, "d_1", keys)
    )
    peer = world.client(params=params, retry=RetryPolicy(mode="on-error", initial=0, max=0))
    with pytest.raises(PeerError) as caught:
        await peer.connect()
    assert caught.value.details == {"reason": "shutdown"}
    assert not peer.closed
    assert seen == []
    away = False
    await peer.when_ready()
    await until(lambda: seen)
    assert seen[0] is not None
    assert seen[0].subject == "u_7"
    await peer.disconnect()
