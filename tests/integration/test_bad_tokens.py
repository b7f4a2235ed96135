"""Tokens that a relay refuses, each with its exact outcome, while the daemon's other session goes on."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sideband import Peer, RetryPolicy, TransportError
from tests.support.relay_harness import World, bearer
from tests.support.token_issuer import Issuer

NEVER = RetryPolicy()
HOUR = 3600.0


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as made:
        await made.daemon(lambda peer: peer.rpc.handle("echo", lambda value: value) and None)
        yield made


@pytest.fixture
async def bystander(world: World) -> Peer:
    peer = world.client()
    await peer.connect()
    return peer


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def resigned(token: str, sign: Callable[[bytes], bytes], **header: Any) -> str:
    """The same claims under another header and signature."""
    original = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    signing_input = f"{encoded({**original, **header})}.{token.split('.')[1]}"
    signature = base64.urlsafe_b64encode(sign(signing_input.encode())).rstrip(b"=").decode()
    return f"{signing_input}.{signature}"


def by_rsa(signing_input: bytes) -> bytes:
    return rsa.generate_private_key(65537, 2048).sign(signing_input, padding.PKCS1v15(), hashes.SHA256())


BAD: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "expired": (lambda issuer: issuer.client(iat=HOUR, exp=HOUR + 120), "expired"),
    "without its signature": (lambda issuer: resigned(issuer.client(), lambda _: b""), "bad_signature"),
    "alg none": (lambda issuer: resigned(issuer.client(), lambda _: b"", alg="none"), "wrong_algorithm"),
    "RS256": (lambda issuer: resigned(issuer.client(), by_rsa, alg="RS256"), "wrong_algorithm"),
    "signed by another issuer's key": (lambda _: Issuer().client(), "bad_signature"),
    "of another issuer": (lambda issuer: issuer.client(iss="https://other.example"), "wrong_issuer"),
    "for another audience": (lambda issuer: issuer.client(aud="sideband-control"), "wrong_audience"),
    "with a zero sid": (lambda issuer: issuer.client(sid=0), "bad_session_id"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_is_refused_before_the_upgrade(world: World, bystander: Peer, name: str) -> None:
    make, reason = BAD[name]
    token = make(world.relay.issuer)
    # One attempt more after a 401: the token may have grown old on its way.
    attempts: list[str] = []
    peer = world.client(retry=NEVER, params=lambda: attempts.append(token) or bearer(token, session_id=7))
    with pytest.raises(TransportError) as caught:
        await peer.connect()
    assert (caught.value.kind, caught.value.http_status) == ("authentication_failed", 401)
    assert token not in str(caught.value)
    assert world.relay.relay is not None
    assert world.relay.relay.stats.refused == {reason: len(attempts)}
    assert await bystander.rpc.call("echo", "still here?") == "still here?"


async def test_a_token_is_used_once(world: World, bystander: Peer) -> None:
    token = world.relay.issuer.client()
    first = world.client(params=lambda: bearer(token))
    await first.connect()
    for _ in range(2):
        with pytest.raises(TransportError) as caught:
            await world.client(retry=NEVER, params=lambda: bearer(token)).connect()
        assert caught.value.http_status == 409
        assert await bystander.rpc.call("echo", "still here?") == "still here?"
        # The second time, the session that used it is over.
        await first.disconnect()
