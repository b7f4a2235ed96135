import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.util import urlsafe_b64encode

from sideband.errors import ConfigError, TokenError
from sideband.jwks import MAX_JWKS_BYTES, FetchedKeys, LocalKeys, PublishedKeys, fetch_over_http, parse_jwks


def jwks(*kids: str) -> dict[str, Any]:
    public = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x = urlsafe_b64encode(public).decode()
    return {"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": kid, "x": x} for kid in kids]}


class Source:
    """A JWKS that can go away, change and be slow."""

    def __init__(self) -> None:
        self.document: object = jwks("k1")
        self.error: Exception | None = None
        self.fetches = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.now = 1000.0
        self.keys = FetchedKeys(self.fetch, clock=lambda: self.now)

    async def fetch(self) -> object:
        self.fetches += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.document

    async def unavailable(self, kid: str) -> bool:
        with pytest.raises(TokenError) as caught:
            await self.keys.key(kid)
        assert (caught.value.reason, caught.value.status) == ("keys_unavailable", 503)
        return True


async def test_kept_for_five_minutes() -> None:
    source = Source()
    assert not source.keys.usable
    for now in (1000.0, 1001.0, 1300.0):
        source.now = now
        assert await source.keys.key("k1") is not None
    assert source.fetches == 1
    source.now = 1300.1
    assert await source.keys.key("k1") is not None
    assert source.fetches == 2
    assert source.keys.usable


async def test_an_unknown_kid_is_looked_for_once_at_most_every_ten_seconds() -> None:
    source = Source()
    await source.keys.key("k1")
    source.now += 10
    assert await source.keys.key("k2") is None
    assert source.fetches == 2
    source.now += 9.9
    source.document = jwks("k1", "k2")
    assert await source.keys.key("k2") is None
    assert source.fetches == 2
    source.now += 0.2
    assert await source.keys.key("k2") is not None
    assert source.fetches == 3


async def test_a_key_taken_out_is_gone_after_the_next_fetch() -> None:
    source = Source()
    source.document = jwks("k1", "k2")
    assert await source.keys.key("k2") is not None
    source.document = jwks("k1")
    source.now += 301
    assert await source.keys.key("k2") is None


async def test_many_at_once_wait_for_one_fetch() -> None:
    source = Source()
    source.gate.clear()
    asking = [asyncio.ensure_future(source.keys.key("k1")) for _ in range(20)]
    await asyncio.sleep(0)
    source.gate.set()
    assert all(await asyncio.gather(*asking))
    assert source.fetches == 1


async def test_a_cancelled_fetch_does_not_hang_the_others() -> None:
    source = Source()
    source.gate.clear()
    first = asyncio.ensure_future(source.keys.key("k1"))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.gate.set()
    source.now += 10
    assert await source.keys.key("k1") is not None


@pytest.mark.parametrize(
    "error",
    [aiohttp.ClientConnectionError(), OSError(), ValueError(), RecursionError(), TimeoutError()],
    ids=lambda e: type(e).__name__,
)
async def test_unreachable_at_start(error: Exception) -> None:
    source = Source()
    source.error = error
    assert await source.unavailable("k1")
    assert await source.unavailable("k1")
    assert source.fetches == 1
    source.error = None
    source.now += 10
    assert await source.keys.key("k1") is not None


async def test_unreachable_later_known_keys_are_used_for_a_while() -> None:
    source = Source()
    await source.keys.key("k1")
    source.error = OSError()
    source.now = 1000 + 900
    assert await source.keys.key("k1") is not None
    assert await source.keys.key("k2") is None
    source.now = 1000 + 901
    assert await source.unavailable("k1")
    assert not source.keys.usable
    source.error = None
    source.now += 10
    assert await source.keys.refresh()


@pytest.mark.parametrize("document", [None, [], {"keys": {}}, {}, "text"])
async def test_what_is_no_jwks_counts_as_unreachable(document: object) -> None:
    source = Source()
    source.document = document
    assert await source.unavailable("k1")
    with pytest.raises(ValueError, match="JWKS"):
        parse_jwks(document)


async def test_local_keys_follow_the_document() -> None:
    document = jwks("k1")
    keys = LocalKeys(lambda: document)
    assert await keys.key("k1") is not None
    document = jwks("k2")
    assert await keys.key("k1") is None
    assert await keys.key("k2") is not None


FAULTS = ["fine", "status", "redirect", "too large", "too deep", "no json"]


@asynccontextmanager
async def published(fault: str) -> AsyncIterator[str]:
    """The URL of an issuer that publishes `k1`, or something else."""

    async def serve(_request: web.Request) -> web.Response:
        if fault == "redirect":
            raise web.HTTPFound("https://elsewhere.example/")
        if fault == "too large":
            return web.Response(body=b" " * (MAX_JWKS_BYTES + 1))
        if fault == "too deep":
            return web.Response(body=b"[" * MAX_JWKS_BYTES)
        if fault == "no json":
            return web.Response(text="<html>")
        return web.json_response(jwks("k1"), status=500 if fault == "status" else 200)

    app = web.Application()
    app.router.add_get("/base/.well-known/jwks.json", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/base"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("apart", [False, True], ids=["session given", "session of its own"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_over_http(fault: str, apart: bool) -> None:
    async with published(fault) as issuer, aiohttp.ClientSession() as session:
        keys = PublishedKeys(issuer) if apart else FetchedKeys(fetch_over_http(session, issuer))
        if fault == "fine":
            assert await keys.key("k1") is not None
        else:
            with pytest.raises(TokenError, match="keys_unavailable"):
                await keys.key("k1")


@pytest.mark.parametrize(
    "issuer", ["", "control.example", "ftp://control.example", "https://", "http://control.example", "http://[", "x:y"]
)
def test_an_issuer_whose_keys_cannot_be_believed(issuer: str) -> None:
    with pytest.raises(ConfigError, match="https"):
        PublishedKeys(issuer)


@pytest.mark.parametrize("issuer", ["https://control.example", "http://localhost:8080", "http://[::1]:8080"])
def test_an_issuer_whose_keys_can(issuer: str) -> None:
    assert not PublishedKeys(issuer).usable
