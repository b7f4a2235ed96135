"""Quick Connect codes: consumed first, once, for a time, with few attempts (docs/protocol/relay.md)."""

import re
from datetime import datetime
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from joserfc import jwt
from joserfc.jwk import KeySet

from sideband.control.plane import ControlPlane
from sideband.control.procedures import Call
from sideband.control.procedures.quick_connect import redeem_code
from sideband.control.signing import EdDSARegistry
from sideband.control.store.audit import list_audit
from sideband.control.store.live import set_online
from sideband.control.wire import ProcedureError


async def bring_online(plane: ControlPlane, daemon_id: str) -> None:
    async with plane.database.write() as connection:
        await set_online(connection, "r_test", daemon_id, plane.now(), plane.now() + 10_000_000)


async def test_create_gives_a_code_a_url_and_its_end(api: Any, home: Any, clock: Any) -> None:
    data = await api.ok("quickConnect.create", None, home.api_key)
    assert set(data) == {"code", "url", "expiresAt"}
    assert re.fullmatch(r"[a-hjkmnp-z]{4}-[a-hjkmnp-z]{4}-[a-hjkmnp-z]{4}", data["code"])
    assert data["url"] == f"https://sideband.example/connect#qc={data['code']}"
    assert data["expiresAt"].endswith("Z")
    assert datetime.fromisoformat(data["expiresAt"]).timestamp() == clock() + 300


@pytest.mark.parametrize(
    ("ttl", "status"), [(59, 400), (60, 200), (3600, 200), (3601, 400), ("60", 400), (60.5, 400), (60.0, 200)]
)
async def test_a_code_lives_a_minute_to_an_hour(api: Any, home: Any, ttl: Any, status: int) -> None:
    assert (await api.call("quickConnect.create", {"ttlSeconds": ttl}, home.api_key))[0] == status


async def test_redeem_opens_one_session(api: Any, plane: ControlPlane, home: Any) -> None:
    await bring_online(plane, home.daemon)
    code = (await api.ok("quickConnect.create", None, home.api_key))["code"]
    data = await api.ok("quickConnect.redeem", {"code": code})
    assert set(data) == {"relayUrl", "token", "daemonId", "identity"}
    assert data["daemonId"] == home.daemon
    keys = KeySet.import_key_set(plane.keys.jwks())
    token = jwt.decode(data["token"], keys, registry=EdDSARegistry()).claims
    identity = jwt.decode(data["identity"], keys, registry=EdDSARegistry()).claims
    assert (token["sub"], token["did"], token["scp"]) == ("quick-connect", home.daemon, ["session:create"])
    assert (identity["sub"], identity["aud"], identity["sid"]) == ("quick-connect", home.daemon, token["sid"])
    assert await api.refused("quickConnect.redeem", {"code": code}) == (404, "NOT_FOUND")


@pytest.mark.parametrize("write", [str.upper, lambda code: code.replace("-", ""), lambda code: f"  {code} ", str])
async def test_hyphens_and_case_do_not_matter(api: Any, plane: ControlPlane, home: Any, write: Any) -> None:
    await bring_online(plane, home.daemon)
    code = (await api.ok("quickConnect.create", None, home.api_key))["code"]
    await api.ok("quickConnect.redeem", {"code": write(code)})


async def test_the_code_alone_is_an_input_too(api: Any, plane: ControlPlane, home: Any) -> None:
    await bring_online(plane, home.daemon)
    code = (await api.ok("quickConnect.create", None, home.api_key))["code"]
    await api.ok("quickConnect.redeem", code)


async def test_an_offline_daemon_burns_the_code(api: Any, plane: ControlPlane, home: Any) -> None:
    code = (await api.ok("quickConnect.create", None, home.api_key))["code"]
    assert await api.refused("quickConnect.redeem", {"code": code}) == (409, "CONFLICT")
    await bring_online(plane, home.daemon)
    assert await api.refused("quickConnect.redeem", {"code": code}) == (404, "NOT_FOUND")
    async with plane.database.read() as connection:
        [record] = await list_audit(connection, limit=1)
    assert (record.action, record.outcome, record.actor) == ("quickConnect.redeem", "burned", "quick-connect")


async def test_a_disabled_daemon_burns_the_code(api: Any, plane: ControlPlane, home: Any, admin: Any) -> None:
    await bring_online(plane, home.daemon)
    code = (await api.ok("quickConnect.create", None, home.api_key))["code"]
    await admin().set_daemon_disabled(home.daemon, True)
    assert await api.refused("quickConnect.redeem", {"code": code}) == (409, "CONFLICT")
    await admin().set_daemon_disabled(home.daemon, False)
    assert await api.refused("quickConnect.redeem", {"code": code}) == (404, "NOT_FOUND")


async def test_a_code_ends_at_its_time(api: Any, plane: ControlPlane, home: Any, clock: Any) -> None:
    await bring_online(plane, home.daemon)
    codes = [(await api.ok("quickConnect.create", {"ttlSeconds": 60}, home.api_key))["code"] for _ in range(2)]
    clock.advance(59.999)
    await api.ok("quickConnect.redeem", {"code": codes[0]})
    clock.advance(0.001)
    assert await api.refused("quickConnect.redeem", {"code": codes[1]}) == (404, "NOT_FOUND")


@pytest.mark.parametrize("code", ["", "abcd", "abcd-efgh-jkm", "abcd-efgh-jkmnp", "abcd-efgh-jkm1", "\u00e9" * 12])
async def test_what_is_no_code_is_400(api: Any, code: str) -> None:
    assert await api.refused("quickConnect.redeem", {"code": code}) == (400, "BAD_REQUEST")


async def test_a_code_with_letters_that_none_has_is_unknown(api: Any) -> None:
    assert await api.refused("quickConnect.redeem", {"code": "abcd-efgh-ijkl"}) == (404, "NOT_FOUND")


async def test_a_daemon_has_few_open_codes(api: Any, plane: ControlPlane, home: Any, clock: Any) -> None:
    for _ in range(plane.config.quick_connect_live_codes):
        await api.ok("quickConnect.create", {"ttlSeconds": 60}, home.api_key)
    assert await api.refused("quickConnect.create", None, home.api_key) == (429, "TOO_MANY_REQUESTS")
    clock.advance(60)
    await api.ok("quickConnect.create", None, home.api_key)


async def test_of_50_clients_at_once_one_redeems(api: Any, plane: ControlPlane, home: Any, gather_all: Any) -> None:
    await bring_online(plane, home.daemon)
    code = (await api.ok("quickConnect.create", None, home.api_key))["code"]

    async def redeem(number: int) -> int:
        headers = {"X-Test-Address": f"198.51.100.{number}"}
        async with api.client.post("/api/trpc/quickConnect.redeem", json={"json": code}, headers=headers) as response:
            return response.status

    statuses = await gather_all(*(redeem(number) for number in range(50)))
    assert sorted(statuses) == [200] + [404] * 49


async def test_the_eleventh_attempt_in_a_minute_waits(api: Any, plane: ControlPlane, home: Any, clock: Any) -> None:
    await bring_online(plane, home.daemon)
    for _ in range(10):
        assert await api.refused("quickConnect.redeem", {"code": "aaaa-bbbb-cccc"}) == (404, "NOT_FOUND")
    code = (await api.ok("quickConnect.create", None, home.api_key))["code"]
    assert await api.refused("quickConnect.redeem", {"code": code}) == (429, "TOO_MANY_REQUESTS")
    headers = {"X-Test-Address": api.address}
    async with api.client.post("/api/trpc/quickConnect.redeem", json={"json": code}, headers=headers) as response:
        assert response.headers["Retry-After"] == "6"
    clock.advance(6)
    await api.ok("quickConnect.redeem", {"code": code})


class Guesser:
    """Redeems wrong codes by calling the procedure itself, as 10,000 requests would."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._request = make_mocked_request("POST", "/api/trpc/quickConnect.redeem")

    async def guess(self, address: str, code: str = "aaaa-bbbb-cccc") -> str:
        try:
            await redeem_code(Call(self._plane, self._request, address), {"code": code})
        except ProcedureError as error:
            return error.code
        return "ok"


async def test_10_000_wrong_codes_from_one_address(api: Any, plane: ControlPlane, home: Any) -> None:
    await bring_online(plane, home.daemon)
    code = (await api.ok("quickConnect.create", None, home.api_key))["code"]
    guesser = Guesser(plane)
    answers = [await guesser.guess("203.0.113.9") for _ in range(10_000)]
    assert answers == ["NOT_FOUND"] * 10 + ["TOO_MANY_REQUESTS"] * 9_990
    assert await guesser.guess("203.0.113.9", code) == "TOO_MANY_REQUESTS"
    assert await guesser.guess("203.0.113.10", code) == "ok"


async def test_10_000_wrong_codes_from_many_addresses(api: Any, plane: ControlPlane, home: Any) -> None:
    await bring_online(plane, home.daemon)
    code = (await api.ok("quickConnect.create", None, home.api_key))["code"]
    guesser = Guesser(plane)
    answers = {await guesser.guess(f"2001:db8:{n >> 8:x}:{n & 255:x}::1") for n in range(10_000)}
    assert answers == {"NOT_FOUND"}
    assert len(plane.redeem_attempts) == 10_000
    assert await guesser.guess("192.0.2.77", code) == "ok"
    async with plane.database.read() as connection:
        assert [r.action for r in await list_audit(connection, limit=2)] == [
            "quickConnect.redeem",
            "quickConnect.create",
        ]


@pytest.mark.parametrize("anonymous", ["/connect", "/connect?x=1"])
async def test_the_page_at_connect_keeps_the_code_in_the_browser(api: Any, anonymous: str) -> None:
    async with api.client.get(anonymous) as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["Referrer-Policy"] == "no-referrer"
        page = await response.text()
    assert "sideband connect" in page
    assert "http" not in page.replace("https://", "http").partition("<body>")[0]
