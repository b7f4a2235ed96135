"""What is refused before the upgrade, with its status, and what is not."""

import asyncio
from typing import Any

import aiohttp
import pytest

from sideband.errors import SbrpErrorCode as Code
from sideband.errors import StoreError, TransportError
from sideband.relay.sids import MemorySpentSids, SqliteSpentSids

UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: relay.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{extra}\r\n"
)


async def refused(running, token: str, **headers: str) -> TransportError:
    with pytest.raises(TransportError) as caught:
        await running.connect(token, **headers)
    assert token not in str(caught.value)
    return caught.value


async def get(running, path: str = "/", **headers: str) -> tuple[int, Any, dict[str, str]]:
    url = running.url.replace("ws://", "http://").rstrip("/") + path
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        return response.status, await response.json(), dict(response.headers)


async def test_a_bad_token_is_401_and_says_why_without_the_token(running) -> None:
    token = running.issuer.client(aud="elsewhere")
    assert (await refused(running, token)).http_status == 401
    status, body, headers = await get(running, UPGRADE="x")
    assert status == 400
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
    status, body, headers = await get(running, Authorization=f"Bearer {token}", **upgrade)
    assert (status, body["error"]["code"]) == (401, "wrong_audience")
    assert token not in str(body)
    assert headers["WWW-Authenticate"] == "Bearer"
    assert headers["Connection"].lower() == "close"
    status, body, _ = await get(running, "/?token=" + token, Authorization=f"Bearer {token}", **upgrade)
    assert (status, body["error"]["code"]) == (401, "token_twice")
    status, body, _ = await get(running, **upgrade)
    assert (status, body["error"]["code"]) == (401, "missing_token")
    assert running.relay.stats.refused == {"wrong_audience": 2, "bad_upgrade": 1, "token_twice": 1, "missing_token": 1}


async def test_no_websocket_is_426(running) -> None:
    status, body, headers = await get(running)
    assert (status, body["error"]["code"], headers["Upgrade"]) == (426, "no_upgrade", "websocket")


async def test_scope_and_region_are_403(start_relay) -> None:
    running = await start_relay(region="eu")
    assert (await refused(running, running.issuer.client(scp=[]))).http_status == 403
    assert (await refused(running, running.issuer.client(region="us"))).http_status == 403
    await running.daemon(region="eu")


async def test_a_token_in_the_query(running) -> None:
    running.url += "?token=" + running.issuer.daemon()
    async with aiohttp.ClientSession() as session, session.ws_connect(running.url):
        await running.until(lambda: running.relay.is_online("d_1"))


async def test_a_session_id_is_used_once(running, control) -> None:
    daemon = await running.daemon()
    token = running.issuer.client(sid=9)
    client = await running.connect(token)
    assert (await refused(running, token)).http_status == 409
    await client.close()
    assert await control(daemon) == (Code.SESSION_ENDED, 9)
    assert (await refused(running, token)).http_status == 409
    assert (await refused(running, running.issuer.client(sid=9))).http_status == 409


async def test_a_session_id_in_use_is_refused_even_when_it_was_forgotten(running, clock) -> None:
    await running.daemon()
    await running.client(sid=9)
    clock.now += 10_000
    assert (await refused(running, running.issuer.client(sid=9))).http_status == 409


async def test_daemon_offline_spends_the_session_id_and_a_refusal_does_not(start_relay, control) -> None:
    running = await start_relay(max_connections=1)
    token = running.issuer.client(sid=9)
    daemon = await running.daemon("d_other")
    assert (await refused(running, token)).http_status == 503
    await daemon.close()
    await running.until(lambda: not running.relay.connections)
    client = await running.connect(token)
    assert await control(client) == (Code.DAEMON_OFFLINE, 9)
    await client.close()
    await running.until(lambda: not running.relay.connections)
    assert (await refused(running, token)).http_status == 409


async def test_exactly_one_of_many_upgrades_with_one_session_id(running) -> None:
    await running.daemon()
    token = running.issuer.client(sid=9)
    outcomes = await asyncio.gather(*(running.connect(token) for _ in range(20)), return_exceptions=True)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, TransportError)]
    assert len(refusals) == 19
    assert {error.http_status for error in refusals} == {409}


async def test_used_session_ids_are_remembered_over_a_restart(start_relay, tmp_path, clock) -> None:
    async with await SqliteSpentSids.open(tmp_path / "sids.db", clock=clock.unix) as sids:
        first = await start_relay(sids=sids)
        await first.daemon()
        token = first.issuer.client(sid=2**64 - 1)
        await first.connect(token)
    async with await SqliteSpentSids.open(tmp_path / "sids.db", clock=clock.unix) as sids:
        second = await start_relay(sids=sids, issuer=first.issuer)
        assert (await refused(second, token)).http_status == 409


async def test_a_store_that_does_not_answer_is_503(start_relay) -> None:
    class Away(MemorySpentSids):
        async def spend(self, session_id: int, forget_at: float) -> bool:
            raise StoreError("locked")

    running = await start_relay(sids=Away())
    await running.daemon()
    assert (await refused(running, running.issuer.client())).http_status == 503


async def test_sessions_per_daemon_by_the_default(start_relay) -> None:
    running = await start_relay(max_sessions_per_daemon=2)
    await running.daemon()
    one, _two = await running.client(), await running.client()
    token = running.issuer.client()
    error = await refused(running, token)
    assert (error.http_status, error.retry_after) == (429, 5)
    await one.close()
    await running.until(lambda: len(running.relay.snapshot().sessions) == 1)
    await running.connect(token)


async def test_sessions_per_daemon_by_its_token_and_by_the_clients(running) -> None:
    await running.daemon(lim={"concurrent_sessions": 2})
    await running.client()
    assert (await refused(running, running.issuer.client(lim={"concurrent_sessions": 1}))).http_status == 429
    await running.client()
    assert (await refused(running, running.issuer.client())).http_status == 429


async def test_sessions_per_daemon_hold_for_upgrades_at_the_same_time(start_relay) -> None:
    class Slow(MemorySpentSids):
        async def spend(self, session_id: int, forget_at: float) -> bool:
            await asyncio.sleep(0)
            return await super().spend(session_id, forget_at)

    running = await start_relay(max_sessions_per_daemon=3, sids=Slow())
    await running.daemon()
    outcomes = await asyncio.gather(
        *(running.connect(running.issuer.client()) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(outcome, TransportError) for outcome in outcomes) == 7
    assert not running.relay.upgrading


async def test_connections_in_all_are_503_and_per_address_429(start_relay) -> None:
    running = await start_relay(max_connections=2, max_connections_per_address=1, loopback_listener=False)
    daemon = await running.daemon()
    assert (await refused(running, running.issuer.daemon("d_2"))).http_status == 429
    await daemon.close()
    await running.until(lambda: not running.relay.connections)
    await running.daemon("d_2")


async def test_upgrades_per_address(start_relay, clock) -> None:
    running = await start_relay(upgrades_per_second=0.5, upgrade_burst=3, loopback_listener=False)
    for n in range(3):
        await running.daemon(f"d_{n}")
    error = await refused(running, running.issuer.daemon())
    assert (error.http_status, error.retry_after) == (429, 2)
    clock.advance(2)
    await running.daemon()
    assert running.relay.stats.refused == {"too_many_upgrades": 1}


async def test_ipv6_addresses_count_by_64_behind_a_trusted_proxy(start_relay) -> None:
    running = await start_relay(upgrade_burst=1, trusted_proxies=["127.0.0.0/8"])
    await running.connect(running.issuer.daemon("d_1"), **{"X-Forwarded-For": "2001:db8::1"})
    error = await refused(running, running.issuer.daemon("d_2"), **{"X-Forwarded-For": "2001:db8::ffff:2"})
    assert error.http_status == 429
    await running.connect(running.issuer.daemon("d_2"), **{"X-Forwarded-For": "2001:db8:0:1::1"})
    assert len(running.relay.addresses) == 2


async def test_a_forwarded_address_of_a_stranger_is_ignored(start_relay) -> None:
    running = await start_relay(upgrade_burst=1, trusted_proxies=["10.0.0.0/8"])
    await running.connect(running.issuer.daemon("d_1"), **{"X-Forwarded-For": "192.0.2.1"})
    error = await refused(running, running.issuer.daemon("d_2"), **{"X-Forwarded-For": "192.0.2.2"})
    assert error.http_status == 429


@pytest.mark.parametrize(
    ("loopback", "allowed", "origin", "fine"),
    [
        (True, None, "http://localhost:3000", True),
        (True, None, "http://127.0.0.1", True),
        (True, None, "http://[::1]:8080", True),
        (True, None, "https://evil.example", False),
        (True, None, "http://localhost.evil.example", False),
        (True, None, "null", False),
        (True, None, "", False),
        (False, None, "https://anything.example", True),
        (False, ["https://app.example"], "https://app.example", True),
        (False, ["https://app.example"], "https://app.example.evil.example", False),
        (False, ["https://app.example"], "http://app.example", False),
        (True, ["*"], "https://evil.example", True),
        (False, [], "https://app.example", False),
    ],
)
async def test_origins(start_relay, loopback: bool, allowed, origin: str, fine: bool) -> None:
    running = await start_relay(loopback_listener=loopback, allowed_origins=allowed)
    if fine:
        await running.connect(running.issuer.daemon(), Origin=origin)
    else:
        assert (await refused(running, running.issuer.daemon(), Origin=origin)).http_status == 403


async def raw(running, request: str | bytes) -> bytes:
    """Send bytes and return all that comes back until the relay hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(request.encode() if isinstance(request, str) else request)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_two_host_headers_are_400(running) -> None:
    request = UPGRADE.format(path="/", extra="Host: other.example\r\n")
    assert status_of(await raw(running, request)) == 400


async def test_no_host_header_is_400(running) -> None:
    request = UPGRADE.format(path="/", extra="").replace("Host: relay.example\r\n", "")
    assert status_of(await raw(running, request)) == 400


@pytest.mark.parametrize("extra", ["X-Big: " + "x" * 20_000 + "\r\n", "".join(f"X-{n}: y\r\n" for n in range(2000))])
async def test_oversize_headers_are_400(running, extra: str) -> None:
    request = UPGRADE.format(path="/", extra=extra)
    assert status_of(await raw(running, request)) == 400
    await running.daemon()


async def test_a_request_that_is_refused_unread_leaves_nothing_of_it_in_the_logs(running, caplog) -> None:
    token = running.issuer.daemon()
    for request in (
        UPGRADE.format(path=f"/?token={token}{'x' * 9000}", extra=""),
        UPGRADE.format(path="/", extra=f"Authorization: Bearer {token}{'x' * 9000}\r\n"),
        UPGRADE.format(path="/", extra=f"Authorization: Bearer\x00{token}\r\n"),
    ):
        assert status_of(await raw(running, request)) == 400
    assert len(caplog.records) == 3
    assert token[:20] not in caplog.text


async def test_a_token_too_long_is_401_or_400_and_never_500(running) -> None:
    extra = f"Authorization: Bearer {'x' * 4097}\r\n"
    assert (await raw(running, UPGRADE.format(path="/", extra=extra))).startswith(b"HTTP/1.1 401")
    assert (await raw(running, UPGRADE.format(path="/?token=" + "x" * 4097, extra=""))).startswith(b"HTTP/1.1 401")


async def test_a_second_authorization_header_is_401(running) -> None:
    token = running.issuer.daemon()
    extra = f"Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"
    answer = await raw(running, UPGRADE.format(path="/", extra=extra))
    assert answer.startswith(b"HTTP/1.1 401")
    assert token.encode() not in answer


async def test_a_request_piped_behind_a_refused_upgrade_is_not_answered(running) -> None:
    request = UPGRADE.format(path="/", extra="") + "GET /relay HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await raw(running, request)
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.startswith(b"HTTP/1.1 401")


async def test_slow_headers_are_cut(start_relay) -> None:
    running = await start_relay(upgrade_timeout_seconds=0.05)
    assert await raw(running, "GET / HTTP/1.1\r\nHost: relay.example\r\n") == b""


async def test_a_key_source_that_hangs_is_503(start_relay) -> None:
    class Hanging:
        async def key(self, kid: str) -> None:
            await asyncio.Event().wait()

    running = await start_relay(upgrade_timeout_seconds=0.05, keys=Hanging())
    assert (await refused(running, running.issuer.daemon())).http_status == 503


async def test_someone_who_leaves_during_the_upgrade_is_no_fault_of_the_relay(start_relay, caplog) -> None:
    spending, gone = asyncio.Event(), asyncio.Event()

    class Slow:
        async def spend(self, session_id: int, forget_at: float) -> bool:
            spending.set()
            await gone.wait()
            return True

    running = await start_relay(sids=Slow())
    _reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    token = running.issuer.client()
    writer.write(UPGRADE.format(path="/", extra=f"Authorization: Bearer {token}\r\n").encode())
    await spending.wait()
    writer.transport.abort()
    (handler,) = running.runner.server.connections
    await running.until(lambda: handler.transport is None)
    gone.set()
    await running.until(lambda: running.relay.stats.refused == {"left": 1})
    await running.until(lambda: not running.relay.upgrading.total())
    assert not running.relay.connections
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
