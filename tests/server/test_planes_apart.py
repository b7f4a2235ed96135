"""A control plane and a relay as two servers that share the JWKS and the internal interface only."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sideband.errors import ConfigError, TransportError

SECRET = "an internal secret of more than 32 characters"


@pytest.fixture
async def pair(serve: Any, tmp_path: Path) -> tuple[Any, Any]:
    """Starts the relay on a port that the control plane tells its clients."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        relay_port = probe.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        kick_port = probe.getsockname()[1]
    control = await serve(
        planes="control",
        relay_url=f"ws://127.0.0.1:{relay_port}/relay",
        internal={"secret": SECRET},
    )
    relay = await serve(
        tmp_path / "relay",
        planes="relay",
        issuer=control.url,
        listen={"port": relay_port},
        private={"port": kick_port},
        internal={
            "secret": SECRET,
            "control_url": control.private_url,
            "kick_url": f"http://127.0.0.1:{kick_port}/internal/v1/kick",
        },
    )
    return control, relay


async def closed(connection: Any) -> int | None:
    async with asyncio.timeout(60):
        try:
            while True:
                await connection.receive()
        except TransportError:
            await connection.wait_closed()
    return connection.close_code


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Asks again and again; each time is a request, so this does not spin."""
    async with asyncio.timeout(60):
        while not await condition():
            pass


async def test_tokens_of_one_open_connections_at_the_other(
    pair: tuple[Any, Any], administration: Any, call: Any, connect: Any
) -> None:
    control, relay = pair
    await administration().create_account("home")
    await administration().create_user("me", accounts=["home"])
    token = (await administration().create_user_token("me"))["token"]
    made = await administration().create_daemon("home")
    identity = {"identityPublicKey": "A" * 43 + "="}
    _, registered = await call(control.url, "daemon.register", made["apiKey"], identity)
    assert registered["relayUrl"] == relay.endpoints.relay_url
    daemon = await connect(registered["relayUrl"], registered["presenceToken"])
    _, session = await call(control.url, "relay.createSession", token, {"daemonId": made["id"]})
    client = await connect(session["relayUrl"], session["token"])
    assert not client.closed

    async def is_online() -> bool:
        _, rows = await call(control.url, "daemon.listAccessible", token)
        return bool(rows[0]["online"])

    await until(is_online)
    await administration().revoke_key(made["keyId"])
    assert await closed(daemon) == 4003
    with pytest.raises(TransportError) as caught:
        await connect(registered["relayUrl"], registered["presenceToken"])
    assert caught.value.http_status == 401


async def test_each_serves_its_own_and_nothing_else(pair: tuple[Any, Any], http: Any) -> None:
    control, relay = pair
    for url, path, status in (
        (control.url, "/.well-known/jwks.json", 200),
        (control.url, "/relay", 404),
        (relay.url, "/relay", 426),
        (relay.url, "/.well-known/jwks.json", 404),
        (control.url, "/internal/v1/relay/report", 404),
        (relay.private_url, "/admin/v1/accounts", 404),
        (relay.private_url, "/readyz", 200),
        (control.private_url, "/readyz", 200),
    ):
        async with http.get(url + path) as response:
            assert response.status == status, url + path
    async with http.post(relay.url + "/api/trpc/daemon.renewToken") as response:
        assert response.status in (404, 405)


async def test_a_relay_without_its_control_plane_is_up_and_not_ready(serve: Any, connect: Any, http: Any) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    relay = await serve(planes="relay", issuer=nobody)
    async with http.get(relay.private_url + "/healthz") as response:
        assert response.status == 200
    async with http.get(relay.private_url + "/readyz") as response:
        assert response.status == 503
        assert (await response.json())["parts"] == {"relay": True, "keys": False}
    header = "eyJhbGciOiJFZERTQSIsInR5cCI6InNicnAtcmVsYXkrand0Iiwia2lkIjoieCJ9"
    with pytest.raises(TransportError) as caught:
        await connect(relay.endpoints.relay_url, f"{header}.e30.AAAA")
    assert caught.value.http_status == 503


async def test_settings_that_are_missing(serve: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="relay_url"):
        await serve(planes="control")
    with pytest.raises(ConfigError, match="issuer"):
        await serve(planes="relay")
    with pytest.raises(ConfigError, match="control_url"):
        await serve(planes="relay", issuer="http://127.0.0.1:9", internal={"secret": SECRET})
    with pytest.raises(ConfigError, match="32"):
        await serve(planes="control", relay_url="ws://127.0.0.1:9/relay", internal={"secret": "short"})
