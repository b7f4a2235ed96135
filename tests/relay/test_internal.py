"""The internal interface between real processes' worth of HTTP: a control plane's side written out, a real relay."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sideband.errors import ConfigError, TransportError
from sideband.errors import SbrpErrorCode as Code
from sideband.relay.internal import KICK_PATH, REPORT_PATH, InternalReporter, kick_routes
from sideband.relay.kicks import REMEMBER_SECONDS, CarriedOut

SECRET = "s" * 32


class Control:
    """Takes reports and answers what a test sets."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.answer: Any = {"v": 1}
        self.status = 200
        self.authorization: list[str] = []
        self.url = ""
        self.taken = asyncio.Condition()

    async def report(self, request: web.Request) -> web.Response:
        self.authorization.append(request.headers["Authorization"])
        told = await request.json()
        async with self.taken:
            self.reports.append(told)
            self.taken.notify_all()
        return web.json_response(self.answer, status=self.status)

    async def told_online(self, *daemon_ids: str) -> int:
        """Wait for a report with exactly these daemons; return how many there were until then."""

        def said() -> bool:
            return bool(self.reports) and [daemon["id"] for daemon in self.reports[-1]["daemons"]] == list(daemon_ids)

        async with self.taken:
            await self.taken.wait_for(said)
        return len(self.reports)


@pytest.fixture
async def control_plane() -> AsyncIterator[Control]:
    plane = Control()
    app = web.Application()
    app.router.add_post(REPORT_PATH, plane.report)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    plane.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield plane
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_report_is_the_whole_picture(start_relay, control_plane, http) -> None:
    running = await start_relay(region="eu")
    await running.daemon("d_1")
    await running.client("d_1", sid=1)
    reporter = InternalReporter(running.relay, http, control_plane.url + "/", SECRET, kick_url="http://relay/kick")
    assert await reporter.report()
    assert await reporter.report(final=True)
    first, last = control_plane.reports
    assert control_plane.authorization == [f"Bearer {SECRET}"] * 2
    now = running.clock.unix()
    assert first == {
        "v": 1,
        "relay": first["relay"],
        "region": "eu",
        "seq": 1,
        "final": False,
        "kickUrl": "http://relay/kick",
        "daemons": [{"id": "d_1", "since": now}],
        "sessions": [
            {
                "sid": "AAAAAAAAAAE",
                "daemonId": "d_1",
                "userId": "u_1",
                "state": "paired",
                "since": now,
                "framesUp": 0,
                "bytesUp": 0,
                "framesDown": 0,
                "bytesDown": 0,
            }
        ],
        "done": [],
    }
    assert first["relay"].startswith("r_")
    assert (last["seq"], last["final"], last["relay"]) == (2, True, first["relay"])


async def test_a_daemon_that_comes_or_goes_is_reported_without_waiting(running, control_plane, http) -> None:
    reporter = InternalReporter(
        running.relay, http, control_plane.url, SECRET, report_seconds=3600, least_report_seconds=0
    )
    reporting = asyncio.create_task(reporter.run())
    await control_plane.told_online()
    first = await running.daemon("d_1")
    await control_plane.told_online("d_1")
    await running.daemon("d_2")
    await control_plane.told_online("d_1", "d_2")
    await first.close()
    await control_plane.told_online("d_2")
    reporting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reporting


async def test_daemons_that_come_and_go_share_a_report(running, control_plane, http) -> None:
    reporter = InternalReporter(
        running.relay, http, control_plane.url, SECRET, report_seconds=3600, least_report_seconds=3600
    )
    reporting = asyncio.create_task(reporter.run())
    await control_plane.told_online()
    for number in range(5):
        await running.daemon(f"d_{number}")
    await running.until(lambda: len(running.relay.snapshot().daemons) == 5)
    assert len(control_plane.reports) == 1
    assert running.relay.presence_changed.is_set()
    reporting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reporting


async def test_kicks_of_an_answer_are_carried_out_once_and_reported_as_done(
    running, control_plane, http, control
) -> None:
    await running.daemon()
    client = await running.client(sid=1)
    reporter = InternalReporter(running.relay, http, control_plane.url, SECRET)
    control_plane.answer = {"v": 1, "kicks": [{"id": "k1", "kind": "session", "sid": "AAAAAAAAAAE", "later": 1}]}
    assert await reporter.report()
    assert await control(client) == (Code.SESSION_EXPIRED, 1)
    assert await reporter.report()
    control_plane.answer = {"v": 1}
    assert await reporter.report()
    assert await reporter.report()
    assert [report["done"] for report in control_plane.reports] == [[], ["k1"], ["k1"], []]


async def test_a_control_plane_started_anew_kicks_nobody_twice(
    running, control_plane, http, kick_url, clock, control
) -> None:
    await running.daemon()
    order = {"v": 1, "id": "k1", "kind": "daemon", "daemonId": "d_1"}
    assert await kick(http, kick_url, order) == (200, {"v": 1, "closed": 1})
    await running.until(lambda: not running.relay.is_online("d_1"))
    daemon = await running.daemon()
    control_plane.answer = {"v": 1, "kicks": [order]}
    reporter = InternalReporter(running.relay, http, control_plane.url, SECRET)
    assert await reporter.report()
    assert await reporter.report()
    assert await kick(http, kick_url, order) == (200, {"v": 1, "closed": 0})
    assert [report["done"] for report in control_plane.reports] == [[], ["k1"]]
    await running.settle(daemon)
    assert running.relay.is_online("d_1")


def test_kicks_are_forgotten_when_nobody_gives_them_any_more() -> None:
    now = 0.0
    kicks = CarriedOut(lambda: now)
    assert [kicks.is_new("k1"), kicks.is_new("k2"), kicks.is_new("k1")] == [True, True, False]
    now = REMEMBER_SECONDS - 0.1
    assert not kicks.is_new("k1")
    now = REMEMBER_SECONDS
    assert kicks.is_new("k3")
    assert len(kicks) == 1


async def test_revoked_keys_are_refused_until_the_list_says_otherwise(running, control_plane, http) -> None:
    reporter = InternalReporter(running.relay, http, control_plane.url, SECRET)
    control_plane.answer = {"v": 1, "revokedKeys": ["key-1"]}
    await reporter.report()
    with pytest.raises(TransportError) as caught:
        await running.connect(running.issuer.daemon(akd="key-1"))
    assert caught.value.http_status == 401
    control_plane.answer = {"v": 1}
    await reporter.report()
    await running.daemon(akd="key-1")


@pytest.mark.parametrize(
    ("answer", "status"),
    [({"v": 1}, 500), ({"v": 2}, 200), ([], 200), ({"v": 1, "kicks": [{"kind": "all"}]}, 200), ({"v": 1}, 302)],
)
async def test_a_control_plane_that_answers_nonsense_costs_nothing(
    running, control_plane, http, caplog, answer: Any, status: int
) -> None:
    daemon = await running.daemon()
    reporter = InternalReporter(running.relay, http, control_plane.url, SECRET)
    control_plane.answer, control_plane.status = answer, status
    assert not await reporter.report()
    assert not await reporter.report()
    assert caplog.messages.count("control_plane_unreachable") == 1
    assert SECRET not in caplog.text
    control_plane.answer, control_plane.status = {"v": 1}, 200
    assert await reporter.report()
    await running.settle(daemon)


async def test_a_control_plane_that_is_away(running, http) -> None:
    reporter = InternalReporter(running.relay, http, "http://127.0.0.1:1", SECRET)
    assert not await reporter.report()


@pytest.fixture
async def kick_url(running) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes(kick_routes(running.relay, SECRET))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}{KICK_PATH}"
    await runner.cleanup()


async def kick(http, url: str, body: Any, secret: str | None = SECRET) -> tuple[int, Any]:
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    async with http.post(url, json=body, headers=headers) as response:
        return response.status, await response.json()


async def test_kick_a_session(running, control, http, kick_url) -> None:
    daemon = await running.daemon()
    client = await running.client(sid=1)
    body = {"v": 1, "id": "k1", "kind": "session", "sid": "AAAAAAAAAAE"}
    assert await kick(http, kick_url, body) == (200, {"v": 1, "closed": 1})
    assert await control(client) == (Code.SESSION_EXPIRED, 1)
    assert await control(daemon) == (Code.SESSION_ENDED, 1)
    assert await kick(http, kick_url, body) == (200, {"v": 1, "closed": 0})


async def test_kick_a_daemon(running, control, http, kick_url) -> None:
    daemon = await running.daemon(akd="key-1")
    body = {"v": 1, "id": "k2", "kind": "daemon", "daemonId": "d_1", "keyId": "key-1"}
    assert await kick(http, kick_url, body) == (200, {"v": 1, "closed": 1})
    with pytest.raises(TransportError) as caught:
        await daemon.receive()
    assert caught.value.close_code == 4003
    assert "key-1" in running.relay.revoked


@pytest.mark.parametrize("secret", [None, "", "s" * 31, "s" * 33, "é" * 32])
async def test_the_secret_is_needed(running, http, kick_url, secret: str | None) -> None:
    daemon = await running.daemon()
    status, body = await kick(http, kick_url, {"v": 1, "id": "k", "kind": "daemon", "daemonId": "d_1"}, secret)
    assert (status, body["error"]["data"]["code"]) == (401, "UNAUTHORIZED")
    await running.settle(daemon)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"v": 2, "id": "k", "kind": "daemon", "daemonId": "d_1"},
        {"v": 1, "kind": "daemon", "daemonId": "d_1"},
        {"v": 1, "id": "k", "kind": "all"},
        {"v": 1, "id": "k", "kind": "session", "sid": "AAAA"},
        {"v": 1, "id": "k", "kind": "session", "sid": "AAAAAAAAAAA"},
        {"v": 1, "id": "k", "kind": "daemon", "daemonId": ""},
        {"v": 1, "id": "k", "kind": "daemon", "daemonId": "d" * 5000},
    ],
)
async def test_what_is_no_kick_is_400(http, kick_url, body: Any) -> None:
    status, answer = await kick(http, kick_url, body)
    assert (status, answer["error"]["data"]["code"]) == (400, "BAD_REQUEST")


def test_a_short_secret_is_refused(running) -> None:
    with pytest.raises(ConfigError, match="31 characters"):
        kick_routes(running.relay, "s" * 31)
