"""Inboxes in the server's process: off unless asked for, on the same listener, with their own limits and counts."""

import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sideband._native import IdentityKeyPair
from sideband.errors import ConfigError
from sideband.inbox.signing import encode_base64, sign_fields
from sideband.server.settings import load_settings

BOB = IdentityKeyPair.from_private_bytes(bytes(32))


def signed(**fields: Any) -> dict[str, Any]:
    import time

    stamped = {**fields, "signedAt": int(time.time() * 1000)}
    return {**stamped, "signature": sign_fields(BOB, stamped)}


async def register(http: aiohttp.ClientSession, url: str, address: str = "bob") -> int:
    body = signed(address=address, signingKey=encode_base64(BOB.public_key))
    async with http.post(f"{url}/v1/inbox/register", json=body) as response:
        return response.status


async def test_there_is_no_inbox_unless_asked_for(serve: Any, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    server = await serve()
    assert await register(http, server.url) == 404
    assert not (tmp_path / "data/inbox.db").exists()


@pytest.mark.parametrize("planes", ["both", "control"])
async def test_an_inbox_beside_the_planes(serve: Any, http: aiohttp.ClientSession, tmp_path: Path, planes: str) -> None:
    relay_url = "wss://relay.example/relay" if planes == "control" else None
    server = await serve(inbox={"enabled": True}, planes=planes, relay_url=relay_url)
    assert [await register(http, server.url) for _ in range(2)] == [201, 200]
    assert (tmp_path / "data/inbox.db").stat().st_mode & 0o777 == 0o600
    async with http.get(f"{server.url}/v1/version") as response:
        assert response.status == 200
    async with http.get(f"{server.private_url}/readyz") as response:
        assert (await response.json())["parts"]["inbox"] is True
    async with http.get(f"{server.private_url}/metrics") as response:
        assert 'sideband_inbox_answers_total{route="register",status="201"} 1.0' in await response.text()
    await server.end()
    again = await serve(inbox={"enabled": True, "store_url": "memory:"})
    assert await register(http, again.url) == 201


async def test_a_large_body_is_for_puts_alone(serve: Any, http: aiohttp.ClientSession) -> None:
    server = await serve(inbox={"enabled": True})
    await register(http, server.url)
    content = encode_base64(bytes(900_000))
    fields = {"ciphertext": content, "senderSigningKey": encode_base64(BOB.public_key)}
    body = signed(**fields, address="bob")
    content_type = {"Content-Type": "application/json"}
    data = io.BytesIO(json.dumps(body).encode())
    async with http.put(f"{server.url}/v1/inbox/bob", data=data, headers=content_type) as response:
        assert response.status == 201
    async with http.post(f"{server.url}/api/trpc/daemon.register", data=b" " * 900_000) as response:
        assert response.status == 400


def test_settings_of_the_inbox() -> None:
    settings = load_settings(None, {"inbox": {"put_rate": {"burst": 5, "per_second": 2}, "blobs_per_address": 7}})
    assert not settings.inbox.enabled
    config = settings.inbox_config()
    assert (config.put_rate.burst, config.blobs_per_address, config.limits_by_client) == (5, 7, False)
    public = {"host": "0.0.0.0", "allow_plain_http": True}
    assert load_settings(None, {"public_url": "http://x.example", "listen": public}).inbox_config().limits_by_client


@pytest.mark.parametrize(
    "flags",
    [
        {"inbox": {"ttl_min_seconds": 90, "ttl_max_seconds": 80}},
        {"inbox": {"put_body_bytes": 2000}},
        {"inbox": {"limits_by_client": False}},
        {"inbox": {"enabled": True}, "planes": "relay", "issuer": "https://x.example"},
    ],
    ids=str,
)
def test_settings_that_contradict(flags: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"inbox|ttl_|put_body"):
        load_settings(None, flags)
