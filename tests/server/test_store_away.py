"""A store that is away for a while: what stands goes on, what is new is refused in time, and then all is well again."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sideband._native import decode_frame, encode_frame
from sideband.errors import TransportError
from sideband.secure_relay.frames import FrameType


def other_process(tmp_path: Path) -> sqlite3.Connection:
    """Open the store as another process would; used in threads, because waiting for a lock must not stop the server."""
    return sqlite3.connect(tmp_path / "data" / "sideband.db", isolation_level=None, check_same_thread=False, timeout=30)


async def receive_data(connection: Any) -> bytes:
    """Return the next Data frame's payload; pings in between are passed over."""
    while True:
        kind, _, payload = decode_frame(await connection.receive())
        if kind == FrameType.DATA:
            return payload


async def refused(connect: Any, url: str, token: str) -> int | None:
    with pytest.raises(TransportError) as caught:
        await connect(url, token)
    return caught.value.http_status


async def test_sessions_go_on_while_the_store_is_locked(
    serve: Any, administration: Any, call: Any, connect: Any, http: Any, tmp_path: Path
) -> None:
    server = await serve(database_wait_seconds=0.05)
    await administration().create_account("home")
    await administration().create_user("me", accounts=["home"])
    token = (await administration().create_user_token("me"))["token"]
    made = await administration().create_daemon("home")
    _, renewed = await call(server.url, "daemon.renewToken", made["apiKey"])
    daemon = await connect(renewed["relayUrl"], renewed["presenceToken"])
    sessions = [(await call(server.url, "relay.createSession", token, {"daemonId": made["id"]}))[1] for _ in range(3)]
    client = await connect(sessions[0]["relayUrl"], sessions[0]["token"])
    sid = session_id(sessions[0]["token"])

    with closing(other_process(tmp_path)) as other:
        await asyncio.to_thread(other.execute, "BEGIN EXCLUSIVE")
        for number in range(20):
            await client.send(encode_frame(FrameType.DATA, sid, bytes([number]) * 64))
            assert await receive_data(daemon) == bytes([number]) * 64
            await daemon.send(encode_frame(FrameType.DATA, sid, bytes([number]) * 32))
            assert await receive_data(client) == bytes([number]) * 32
        assert (await call(server.url, "daemon.renewToken", made["apiKey"]))[0] == 500
        assert (await call(server.url, "relay.createSession", token, {"daemonId": made["id"]}))[0] == 500
        # A session id that cannot be spent is not spent, so its token is good afterwards.
        assert await refused(connect, sessions[1]["relayUrl"], sessions[1]["token"]) == 503
        async with http.get(server.url + "/.well-known/jwks.json") as response:
            assert response.status == 200
        async with http.get(server.private_url + "/healthz") as response:
            assert response.status == 200
        await asyncio.to_thread(other.execute, "ROLLBACK")

    assert (await call(server.url, "daemon.renewToken", made["apiKey"]))[0] == 200
    second = await connect(sessions[1]["relayUrl"], sessions[1]["token"])
    assert not client.closed
    assert not second.closed
    async with http.get(server.private_url + "/metrics") as response:
        text = await response.text()
    assert 'sideband_relay_upgrades_refused_total{reason="store_unavailable"} 1.0' in text
    assert 'sideband_control_answers_total{procedure="daemon.renewToken",status="500"} 1.0' in text


async def test_readiness_tells_that_the_store_does_not_answer(serve: Any, http: Any, tmp_path: Path) -> None:
    server = await serve()
    async with http.get(server.private_url + "/readyz") as response:
        assert response.status == 200
    with closing(other_process(tmp_path)) as other:
        await asyncio.to_thread(other.execute, "ALTER TABLE alembic_version RENAME TO mislaid")
        async with http.get(server.private_url + "/readyz") as response:
            assert response.status == 503
            assert (await response.json())["parts"] == {"store": False, "relay": True}
        await asyncio.to_thread(other.execute, "ALTER TABLE mislaid RENAME TO alembic_version")
    async with http.get(server.private_url + "/readyz") as response:
        assert response.status == 200


def session_id(token: str) -> int:
    import base64
    import json

    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return int.from_bytes(base64.urlsafe_b64decode(claims["sid"] + "="), "big")
