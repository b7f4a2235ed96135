"""Health, readiness, metrics and admin HTTP."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

ADMIN_LISTS = ("accounts", "users", "tokens", "daemons", "keys", "sessions", "audit", "signing-keys")


def auth(data_dir: Path) -> dict[str, str]:
    return {"Authorization": f"Bearer {(data_dir / 'admin.token').read_text().strip()}"}


async def test_health_and_readiness_are_open(serve: Any, http: Any) -> None:
    server = await serve()
    async with http.get(server.private_url + "/healthz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")
    async with http.get(server.private_url + "/readyz") as response:
        assert response.status == 200
        assert await response.json() == {"ready": True, "parts": {"store": True, "relay": True}}


async def test_metrics_name_nobody(serve: Any, administration: Any, call: Any, connect: Any, http: Any) -> None:
    server = await serve()
    await administration().create_account("home")
    made = await administration().create_daemon("home", name="secretive")
    _, renewed = await call(server.url, "daemon.renewToken", made["apiKey"])
    await call(server.url, "no.such.procedure", made["apiKey"])
    await connect(renewed["relayUrl"], renewed["presenceToken"])
    async with http.get(server.private_url + "/metrics") as response:
        assert response.status == 200
        text = await response.text()
    assert all(word not in text for word in (made["id"], made["apiKey"], "secretive", "no.such"))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    connections = {sample.labels["role"]: sample.value for sample in families["sideband_relay_connections"].samples}
    assert connections == {"client": 0, "daemon": 1}
    answers = {
        (sample.labels["procedure"], sample.labels["status"]): sample.value
        for sample in families["sideband_control_answers"].samples
    }
    assert answers == {("daemon.renewToken", "200"): 1, ("unknown", "404"): 1}
    for name in (
        "sideband_relay_sessions",
        "sideband_relay_frames",
        "sideband_relay_bytes",
        "sideband_relay_control_sent",
        "sideband_relay_upgrades_refused",
        "sideband_relay_queue_high_water_bytes",
        "sideband_relay_event_loop_lag_seconds",
        "sideband_control_signing_keys",
        "process_resident_memory_bytes",
    ):
        assert name in families, name


@pytest.mark.parametrize("path", ADMIN_LISTS)
async def test_admin_needs_its_token(serve: Any, http: Any, tmp_path: Path, path: str) -> None:
    server = await serve()
    url = f"{server.private_url}/admin/v1/{path}"
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic x"},
        {"Authorization": "Bearer \u00e9"},
    ):
        async with http.get(url, headers=headers) as response:
            assert response.status == 401
            assert (await response.json())["error"]["code"] == "UNAUTHORIZED"
    async with http.get(url, headers=auth(tmp_path / "data")) as response:
        assert response.status == 200
        assert set(await response.json()) == {"items"}


async def test_bytes_that_are_no_text_are_a_wrong_token(serve: Any) -> None:
    server = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.private_url.rpartition(":")[2]))
    writer.write(b"GET /admin/v1/accounts HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xff\xfe\r\n")
    writer.write(b"Connection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_an_admin_s_action_counts_although_the_keys_cannot_be_read_then(
    serve: Any, http: Any, tmp_path: Path
) -> None:
    server = await serve()
    with closing(sqlite3.connect(tmp_path / "data" / "sideband.db", check_same_thread=False)) as other:
        await asyncio.to_thread(other.execute, "ALTER TABLE signing_keys RENAME TO mislaid")
        async with http.post(
            server.private_url + "/admin/v1/accounts", json={"name": "home"}, headers=auth(tmp_path / "data")
        ) as response:
            assert response.status == 200
            assert (await response.json())["name"] == "home"
        await asyncio.to_thread(other.execute, "ALTER TABLE mislaid RENAME TO signing_keys")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9464", 200),
        ("localhost", 200),
        ("[::1]:1", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ],
)
async def test_admin_needs_a_host_of_its_own(serve: Any, http: Any, tmp_path: Path, host: str, status: int) -> None:
    server = await serve()
    headers = {**auth(tmp_path / "data"), "Host": host}
    async with http.get(server.private_url + "/admin/v1/accounts", headers=headers) as response:
        assert response.status == status


async def test_more_hosts_can_be_allowed(serve: Any, http: Any, tmp_path: Path) -> None:
    server = await serve(private={"allowed_hosts": ["relay-admin.internal"]})
    headers = {**auth(tmp_path / "data"), "Host": "relay-admin.internal:9464"}
    async with http.get(server.private_url + "/admin/v1/accounts", headers=headers) as response:
        assert response.status == 200


async def test_the_admin_token_is_its_owner_s_only(serve: Any, tmp_path: Path) -> None:
    await serve()
    assert (tmp_path / "data" / "admin.token").stat().st_mode & 0o777 == 0o600


async def test_all_of_administration_over_http(serve: Any, http: Any, tmp_path: Path) -> None:
    server = await serve(first_account=False)
    headers = auth(tmp_path / "data")

    async def post(path: str, body: Any = None, status: int = 200) -> Any:
        async with http.post(f"{server.private_url}/admin/v1/{path}", json=body, headers=headers) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def items(path: str) -> list[dict[str, Any]]:
        async with http.get(f"{server.private_url}/admin/v1/{path}", headers=headers) as response:
            assert response.status == 200
            return (await response.json())["items"]

    account = await post("accounts", {"name": "home"})
    user = await post("users", {"name": "me", "accounts": []})
    await post(f"accounts/{account['id']}/add-user", {"user": "me"})
    token = await post("users/me/tokens", {"ttlSeconds": 3600})
    assert token["token"].startswith("sbnd_usr_")
    daemon = await post("daemons", {"account": "home", "name": "nas"})
    assert daemon["apiKey"].startswith("sbnd_dak_")
    second = await post("daemons/nas/keys")
    await post(f"keys/{second['id']}/revoke")
    rotated = await post("daemons/nas/rotate-keys")
    assert rotated["revoked"] == [daemon["keyId"]]
    for path in (f"daemons/{daemon['id']}", f"users/{user['id']}", f"accounts/{account['id']}"):
        assert (await post(f"{path}/disable"))["changed"] is True
        assert (await post(f"{path}/disable"))["changed"] is False
        assert (await post(f"{path}/enable"))["changed"] is True
    await post("daemons/nas/kick")
    await post(f"tokens/{token['id']}/revoke")
    await post(f"accounts/{account['id']}/remove-user", {"user": "me"})
    await post("signing-keys/rotate", {"immediately": True})

    assert [row["users"] for row in await items("accounts")] == [[]]
    assert [row["name"] for row in await items("users")] == ["me"]
    assert [(row["name"], row["account"], row["online"]) for row in await items("daemons")] == [("nas", "home", False)]
    assert [row["revoked_at"] is None for row in await items("keys")] == [False, False, True]
    assert [row["revoked_at"] is None for row in await items("tokens")] == [False]
    assert len(await items("signing-keys")) == 1
    audit = await items("audit?limit=1000")
    assert {row["actor"] for row in audit} == {"http:admin"}
    assert {row["address"] for row in audit} == {"127.0.0.1"}
    assert len(audit) == 23
    for secret in (token["token"], daemon["apiKey"], second["apiKey"], rotated["apiKey"]):
        for path in ADMIN_LISTS:
            assert secret not in str(await items(path))

    await post("accounts", {"name": "home"}, 400)
    await post("accounts", {"name": " x"}, 400)
    await post("accounts", {"name": "x", "nmae": "y"}, 400)
    await post("accounts", [], 400)
    await post("users", {"name": "u", "oidcIssuer": "https://x"}, 400)
    await post("users", {"name": "u", "accounts": ["nowhere"]}, 404)
    await post("daemons/nowhere/kick", None, 404)
    await post("sessions/AAAAAAAAAAE/kick", None, 404)
    assert [row["name"] for row in await items("users")] == ["me"], "a failed action leaves nothing behind"


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "before=x", "before=" + "9" * 30])
async def test_audit_with_bad_queries(serve: Any, http: Any, tmp_path: Path, query: str) -> None:
    server = await serve()
    async with http.get(f"{server.private_url}/admin/v1/audit?{query}", headers=auth(tmp_path / "data")) as response:
        assert response.status == 400


async def test_the_private_port_can_be_left_out(serve: Any) -> None:
    server = await serve(private={"enabled": False})
    assert server.endpoints.private_url is None
