"""Both planes in one process: tokens work at the relay, admins' actions reach it, stopping is graceful."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sideband.errors import ConfigError, StoreError, TransportError


async def bootstrap(administration: Callable[[], Any]) -> dict[str, Any]:
    acting = administration()
    account = await acting.create_account("home")
    user = await acting.create_user("me", accounts=["home"])
    token = await acting.create_user_token(user["id"])
    daemon = await acting.create_daemon("home", name="nas")
    return {"account": account["id"], "user": user["id"], "token": token["token"], **daemon}


async def closed(connection: Any) -> int | None:
    """Waits for the connection's end, whatever comes before, and returns its code."""
    async with asyncio.timeout(60):
        try:
            while True:
                await connection.receive()
        except TransportError:
            await connection.wait_closed()
    return connection.close_code


async def listed(http: Any, server: Any, data_dir: Path, path: str) -> list[dict[str, Any]]:
    token = (data_dir / "admin.token").read_text().strip()
    async with http.get(server.private_url + path, headers={"Authorization": f"Bearer {token}"}) as response:
        assert response.status == 200
        return (await response.json())["items"]


async def acted(http: Any, server: Any, data_dir: Path, path: str, body: Any = None) -> tuple[int, Any]:
    token = (data_dir / "admin.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    async with http.post(server.private_url + path, json=body or {}, headers=headers) as response:
        return response.status, await response.json()


async def test_a_daemon_and_a_client_meet(serve: Any, administration: Any, call: Any, connect: Any) -> None:
    server = await serve()
    made = await bootstrap(administration)
    _, renewed = await call(server.url, "daemon.renewToken", made["apiKey"])
    assert renewed["relayUrl"] == server.endpoints.relay_url
    status, code = await call(server.url, "quickConnect.create", made["apiKey"])
    assert status == 200
    daemon = await connect(renewed["relayUrl"], renewed["presenceToken"])
    _, session = await call(server.url, "relay.createSession", made["token"], {"daemonId": made["id"]})
    client = await connect(session["relayUrl"], session["token"])
    _, redeemed = await call(server.url, "quickConnect.redeem", None, code["code"])
    assert redeemed["daemonId"] == made["id"]
    guest = await connect(redeemed["relayUrl"], redeemed["token"])
    with pytest.raises(TransportError) as caught:
        await connect(session["relayUrl"], session["token"])
    assert caught.value.http_status == 409
    for connection in (client, guest, daemon):
        assert not connection.closed


async def test_online_is_told_at_once(serve: Any, administration: Any, call: Any, connect: Any) -> None:
    server = await serve()
    made = await bootstrap(administration)
    identity = {"identityPublicKey": "A" * 43 + "="}
    _, registered = await call(server.url, "daemon.register", made["apiKey"], identity)

    async def online() -> bool:
        _, rows = await call(server.url, "daemon.listAccessible", made["token"])
        return bool(rows[0]["online"])

    assert not await online()
    daemon = await connect(registered["relayUrl"], registered["presenceToken"])
    assert await online()
    await daemon.close()
    async with asyncio.timeout(60):
        while await online():
            pass


async def test_a_revoked_key_cuts_its_daemon_and_only_that(
    serve: Any, administration: Any, call: Any, connect: Any
) -> None:
    """By the command line's way, in the store alone: the running server follows."""
    server = await serve()
    made = await bootstrap(administration)
    other = await administration().create_daemon("home")
    _, renewed = await call(server.url, "daemon.renewToken", made["apiKey"])
    _, others = await call(server.url, "daemon.renewToken", other["apiKey"])
    daemon = await connect(renewed["relayUrl"], renewed["presenceToken"])
    bystander = await connect(others["relayUrl"], others["presenceToken"])
    began = time.monotonic()
    await administration().revoke_key(made["keyId"])
    assert await closed(daemon) == 4003
    assert time.monotonic() - began < 10
    assert not bystander.closed
    assert (await call(server.url, "daemon.renewToken", made["apiKey"]))[0] == 401
    with pytest.raises(TransportError) as caught:
        await connect(renewed["relayUrl"], renewed["presenceToken"])
    assert caught.value.http_status == 401


async def test_a_daemon_with_another_good_key_comes_back(
    serve: Any, administration: Any, call: Any, connect: Any
) -> None:
    server = await serve()
    made = await bootstrap(administration)
    _, renewed = await call(server.url, "daemon.renewToken", made["apiKey"])
    daemon = await connect(renewed["relayUrl"], renewed["presenceToken"])
    rotated = await administration().rotate_key("nas")
    assert rotated["revoked"] == [made["keyId"]]
    assert await closed(daemon) == 4003
    _, renewed = await call(server.url, "daemon.renewToken", rotated["apiKey"])
    again = await connect(renewed["relayUrl"], renewed["presenceToken"])
    assert not again.closed


@pytest.mark.parametrize("what", ["daemons/{id}", "accounts/{account}"])
async def test_disabling_over_http_cuts_at_once(
    serve: Any, administration: Any, call: Any, connect: Any, http: Any, tmp_path: Path, what: str
) -> None:
    server = await serve()
    made = await bootstrap(administration)
    _, renewed = await call(server.url, "daemon.renewToken", made["apiKey"])
    daemon = await connect(renewed["relayUrl"], renewed["presenceToken"])
    path = "/admin/v1/" + what.format(**made) + "/disable"
    status, _ = await acted(http, server, tmp_path / "data", path)
    assert status == 200
    assert await closed(daemon) == 4003
    with pytest.raises(TransportError) as caught:
        await connect(renewed["relayUrl"], renewed["presenceToken"])
    assert caught.value.http_status == 401


async def test_sessions_are_listed_and_kicked(
    serve: Any, administration: Any, call: Any, connect: Any, http: Any, tmp_path: Path
) -> None:
    server = await serve()
    made = await bootstrap(administration)
    _, renewed = await call(server.url, "daemon.renewToken", made["apiKey"])
    await connect(renewed["relayUrl"], renewed["presenceToken"])
    _, session = await call(server.url, "relay.createSession", made["token"], {"daemonId": made["id"]})
    client = await connect(session["relayUrl"], session["token"])
    [row] = await listed(http, server, tmp_path / "data", "/admin/v1/sessions")
    assert (row["daemon_id"], row["subject"], row["state"]) == (made["id"], made["user"], "paired")
    status, _ = await acted(http, server, tmp_path / "data", f"/admin/v1/sessions/{row['sid']}/kick")
    assert status == 200
    await closed(client)


async def test_a_signing_key_is_rotated_under_load(
    serve: Any, administration: Any, call: Any, connect: Any, http: Any, tmp_path: Path
) -> None:
    server = await serve()
    made = await bootstrap(administration)
    _, renewed = await call(server.url, "daemon.renewToken", made["apiKey"])
    await connect(renewed["relayUrl"], renewed["presenceToken"])
    opened = 0

    async def open_sessions() -> None:
        nonlocal opened
        for _ in range(10):
            _, session = await call(server.url, "relay.createSession", made["token"], {"daemonId": made["id"]})
            await connect(session["relayUrl"], session["token"])
            opened += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(open_sessions())
        for _ in range(2):
            body = {"immediately": False}
            rotation = tasks.create_task(acted(http, server, tmp_path / "data", "/admin/v1/signing-keys/rotate", body))
    assert opened == 40
    assert rotation.done()
    assert len(await listed(http, server, tmp_path / "data", "/admin/v1/signing-keys")) == 2


async def test_stopping_sends_connections_away(serve: Any, administration: Any, call: Any, connect: Any) -> None:
    server = await serve()
    made = await bootstrap(administration)
    _, renewed = await call(server.url, "daemon.renewToken", made["apiKey"])
    daemon = await connect(renewed["relayUrl"], renewed["presenceToken"])
    server.stop.set()
    assert await closed(daemon) == 1001
    await server.task


async def test_a_session_id_is_spent_over_a_restart(serve: Any, administration: Any, call: Any, connect: Any) -> None:
    server = await serve()
    made = await bootstrap(administration)
    port = int(server.url.rpartition(":")[2])
    _, session = await call(server.url, "relay.createSession", made["token"], {"daemonId": made["id"]})
    client = await connect(session["relayUrl"], session["token"])
    await closed(client)
    await server.end()
    again = await serve(listen={"port": port})
    assert again.url == server.url
    with pytest.raises(TransportError) as caught:
        await connect(session["relayUrl"], session["token"])
    assert caught.value.http_status == 409


async def test_an_address_that_is_taken_is_a_clear_error(serve: Any, tmp_path: Path) -> None:
    server = await serve()
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(ConfigError, match="choose another host or port"):
        await serve(tmp_path / "other", listen={"port": port})


async def test_a_folder_without_its_key_file_is_a_clear_error(serve: Any, tmp_path: Path) -> None:
    await (await serve()).end()
    (tmp_path / "data" / "server.key").unlink()
    with pytest.raises(StoreError, match=r"server\.key"):
        await serve()


async def test_one_listener_serves_both_planes(serve: Any, http: aiohttp.ClientSession) -> None:
    server = await serve()
    async with http.get(server.url + "/v1/version") as response:
        body = await response.json()
        assert response.status == 200
        assert set(body) == {"server", "oldestClient", "capabilities"}
        assert response.headers["X-Request-Id"]
    async with http.get(server.url + "/.well-known/jwks.json") as response:
        assert response.headers["Cache-Control"] == "public, max-age=300"
        assert len(json.loads(await response.text())["keys"]) == 1
    for path in ("/", "/relay"):
        async with http.get(server.url + path) as response:
            assert response.status == 426
    async with http.get(server.url + "/admin/v1/accounts") as response:
        assert response.status == 404
