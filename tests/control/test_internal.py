"""The control plane's side of the internal interface (docs/protocol/internal.md)."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sideband.control.internal import InternalInterface
from sideband.control.plane import ControlPlane
from sideband.control.store import directory
from sideband.control.store.live import online_daemons
from sideband.errors import ConfigError

SECRET = "an internal secret of more than 32 characters"


class Relays:
    """Reports as relays do; `kicked` is what the control plane sent to the one that takes kicks."""

    def __init__(self, client: TestClient[Any, Any], interface: InternalInterface, kick_url: str) -> None:
        self.client = client
        self.interface = interface
        self.kick_url = kick_url
        self.kicked: list[dict[str, Any]] = []
        self.kick_status = 200

    async def post(self, body: Any, secret: str = SECRET) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {secret}"}
        async with self.client.post("/internal/v1/relay/report", json=body, headers=headers) as response:
            return response.status, await response.json()

    async def report(self, seq: int, relay: str = "r_1", **told: Any) -> dict[str, Any]:
        body = {"v": 1, "relay": relay, "seq": seq, "daemons": [], "sessions": [], "done": [], **told}
        status, answer = await self.post(body)
        assert status == 200, answer
        return dict(answer)

    async def take_kick(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {SECRET}"
        self.kicked.append(await request.json())
        return web.json_response({"v": 1, "closed": 1}, status=self.kick_status)


@pytest.fixture
async def relays(plane: ControlPlane) -> AsyncIterator[Relays]:
    async with aiohttp.ClientSession() as session:
        interface = InternalInterface(plane, SECRET, session)
        app = web.Application(client_max_size=65_536)
        app.add_routes(interface.routes())
        async with TestClient(TestServer(app)) as client:
            found = Relays(client, interface, "")
            other = web.Application()
            other.router.add_post("/kick", found.take_kick)
            async with TestServer(other) as kick_server:
                found.kick_url = str(kick_server.make_url("/kick"))
                yield found


async def online(plane: ControlPlane, *daemon_ids: str) -> set[str]:
    async with plane.database.read() as connection:
        return await online_daemons(connection, daemon_ids, plane.now())


SESSION = {"sid": "AAAAAAAAAAE", "daemonId": "d_a", "userId": "u_1", "state": "paired", "since": 1.5}


async def test_a_report_is_presence_for_30_seconds(relays: Relays, plane: ControlPlane, clock: Any) -> None:
    answer = await relays.report(1, daemons=[{"id": "d_a", "since": 1.0}], sessions=[SESSION])
    assert answer == {"v": 1, "revokedKeys": [], "kicks": []}
    clock.advance(29)
    assert await online(plane, "d_a", "d_b") == {"d_a"}
    async with plane.database.read() as connection:
        [session] = await directory.list_sessions(connection, plane.now())
    assert (session["sid"], session["since"], session["subject"]) == ("AAAAAAAAAAE", 1500, "u_1")
    clock.advance(1)
    assert await online(plane, "d_a") == set()


async def test_an_older_report_is_ignored(relays: Relays, plane: ControlPlane) -> None:
    await relays.report(2, daemons=[{"id": "d_a", "since": 1}])
    await relays.report(1, daemons=[])
    await relays.report(2, daemons=[])
    assert await online(plane, "d_a") == {"d_a"}
    await relays.report(3, daemons=[])
    assert await online(plane, "d_a") == set()


async def test_the_last_report_ends_presence(relays: Relays, plane: ControlPlane) -> None:
    await relays.report(1, daemons=[{"id": "d_a", "since": 1}], sessions=[SESSION])
    await relays.report(2, daemons=[{"id": "d_a", "since": 1}], sessions=[SESSION], final=True)
    assert await online(plane, "d_a") == set()


async def test_orders_are_in_every_answer_until_they_are_done(relays: Relays, home: Any, admin: Any) -> None:
    await admin().revoke_key(home.key_id)
    await relays.report(1, sessions=[SESSION])
    await admin().kick_session("AAAAAAAAAAE")
    answer = await relays.report(2)
    assert answer["revokedKeys"] == [home.key_id]
    first, second = answer["kicks"]
    assert first == {"id": first["id"], "kind": "daemon", "daemonId": home.daemon, "keyId": home.key_id}
    assert second == {"id": second["id"], "kind": "session", "sid": "AAAAAAAAAAE"}
    assert (await relays.report(3, done=[first["id"]]))["kicks"] == [second]
    assert (await relays.report(4, done=[second["id"]]))["kicks"] == []
    assert (await relays.report(1, relay="r_2"))["kicks"] == [first, second]


async def test_a_new_relay_gets_no_orders_from_before_its_start(
    relays: Relays, home: Any, admin: Any, clock: Any
) -> None:
    await relays.report(1)
    await admin().kick_daemon(home.daemon)
    clock.advance(10.5)
    assert (await relays.report(1, relay="r_new", kickUrl=relays.kick_url))["kicks"] == []
    await relays.interface.push_orders()
    assert relays.kicked == []
    assert (await relays.report(2, relay="r_new", kickUrl=relays.kick_url))["kicks"] == []
    # One that was there keeps getting it, also from a control plane that has not heard of it before.
    assert len((await relays.report(2))["kicks"]) == 1
    assert len((await relays.report(5, relay="r_older"))["kicks"]) == 1


async def test_orders_end(relays: Relays, home: Any, admin: Any, clock: Any) -> None:
    await admin().revoke_key(home.key_id)
    clock.advance(601)
    answer = await relays.report(1)
    assert (answer["kicks"], answer["revokedKeys"]) == ([], [home.key_id])
    clock.advance(3600)
    assert (await relays.report(2))["revokedKeys"] == []


async def test_disabled_daemons_keys_are_listed_while_they_are(relays: Relays, home: Any, admin: Any) -> None:
    await admin().set_daemon_disabled(home.daemon, True)
    assert (await relays.report(1))["revokedKeys"] == [home.key_id]
    await admin().set_daemon_disabled(home.daemon, False)
    assert (await relays.report(2))["revokedKeys"] == []


async def test_orders_are_sent_at_once_where_that_is_possible(relays: Relays, home: Any, admin: Any) -> None:
    await relays.report(1, kickUrl=relays.kick_url)
    await relays.report(1, relay="r_unreachable", kickUrl="http://127.0.0.1:1/kick")
    await relays.report(1, relay="r_alone")
    await admin().kick_daemon(home.daemon)
    await relays.interface.push_orders()
    [kick] = relays.kicked
    assert kick == {"v": 1, "id": kick["id"], "kind": "daemon", "daemonId": home.daemon}
    await relays.interface.push_orders()
    assert len(relays.kicked) == 1
    assert (await relays.report(2, kickUrl=relays.kick_url))["kicks"] == []
    assert len((await relays.report(2, relay="r_unreachable"))["kicks"]) == 1


async def test_an_order_that_was_refused_stays_in_the_answers(relays: Relays, home: Any, admin: Any) -> None:
    relays.kick_status = 500
    await relays.report(1, kickUrl=relays.kick_url)
    await admin().kick_daemon(home.daemon)
    await relays.interface.push_orders()
    assert len((await relays.report(2, kickUrl=relays.kick_url))["kicks"]) == 1


async def test_relays_that_lapsed_are_not_called(relays: Relays, home: Any, admin: Any, clock: Any) -> None:
    await relays.report(1, kickUrl=relays.kick_url)
    clock.advance(31)
    await admin().kick_daemon(home.daemon)
    await relays.interface.push_orders()
    assert relays.kicked == []


@pytest.mark.parametrize("presented", ["", "wrong", SECRET + "x", SECRET[:-1], "\u00e9"])
async def test_the_secret_is_needed(relays: Relays, presented: str) -> None:
    status, body = await relays.post({}, presented)
    assert status == 401
    assert body["error"]["data"] == {"code": "UNAUTHORIZED", "httpStatus": 401}


GOOD = {"v": 1, "relay": "r_1", "seq": 1, "daemons": [], "sessions": [], "done": []}


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"relay": ""},
        {"relay": "x" * 65},
        {"relay": "a b"},
        {"seq": 0},
        {"daemons": [{"id": ""}]},
        {"daemons": [{"id": "a\u0000", "since": 1}]},
        {"daemons": [{"id": "d_a", "since": float("1e400")}]},
        {"sessions": [{**SESSION, "sid": "short"}]},
        {"sessions": [{**SESSION, "state": "asleep"}]},
        {"sessions": [{**SESSION, "bytesUp": 2**63}]},
        {"sessions": [{**SESSION, "bytesUp": -1}]},
        {"kickUrl": "x" * 3000},
    ],
    ids=str,
)
async def test_reports_that_are_refused(relays: Relays, change: dict[str, Any]) -> None:
    status, body = await relays.post({**GOOD, **change})
    assert status == 400
    assert body["error"]["data"]["code"] == "BAD_REQUEST"


async def test_members_that_are_not_known_are_passed_over(relays: Relays) -> None:
    assert (await relays.post({**GOOD, "later": 1}))[0] == 200


async def test_a_report_has_its_limit(relays: Relays) -> None:
    assert (await relays.post({**GOOD, "padding": "x" * 65_536}))[0] == 400


async def test_a_short_secret_is_refused(plane: ControlPlane) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigError, match="32"):
            InternalInterface(plane, "x" * 31, session)
