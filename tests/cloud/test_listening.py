"""`listen`: a daemon that comes to its relay, stays there, and comes back."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sideband import cloud
from sideband.errors import CloudApiError, ConfigError, PeerError, SbrpError, TransportError
from sideband.identity import FileIdentity, generate_identity_key_pair
from sideband.peer import Peer, PeerOptions, RetryPolicy
from tests.cloud.conftest import Daemon, Platform, greet, told
from tests.support.faulty_front import Answer, cut, refuses, returns, says
from tests.support.manual_clock import ManualClock
from tests.support.relay_harness import CuttingProxy, until

QUICK = RetryPolicy(mode="on-error", initial=0.02, max=0.05)


def timed(**retry: Any) -> tuple[ManualClock, PeerOptions]:
    clock = ManualClock()
    return clock, PeerOptions(clock=clock, retry=RetryPolicy(mode="on-error", jitter=0.0, **retry))


async def slept(clock: ManualClock, times: int) -> float:
    await until(lambda: len(clock.slept) >= times)
    return clock.slept[times - 1]


async def test_a_daemon_and_its_client(platform: Platform, daemon: Daemon, identity: FileIdentity) -> None:
    server = await platform.listen(daemon, identity_key_pair=identity, name="the attic", daemon_id=daemon.id)
    assert server.daemon_id == daemon.id
    assert server.fingerprint == identity.fingerprint
    assert server.online
    assert server.relay_url == platform.endpoints.relay_url
    assert server.api_url == platform.front.url
    assert platform.front.asked == ["daemon.register", "daemon.renewToken"]
    async with platform.connect(daemon) as peer:
        assert peer.fingerprint == server.fingerprint
        assert [one.identity.subject for one in server.connections if one.identity] == [await peer.rpc.call("whoami")]
    (listed,) = await cloud.ControlPlane(platform.front.url).list_accessible(platform.token)
    assert (listed.id, listed.name, listed.online) == (daemon.id, "the attic", True)
    assert listed.fingerprint == identity.fingerprint
    assert daemon.api_key not in repr(server)


@pytest.mark.parametrize("procedure", ["daemon.register", "daemon.renewToken"])
@pytest.mark.parametrize(
    "answer",
    [says(503), refuses(500), refuses(429), cut, says(200, "<html>")],
    ids=["503", "500", "429", "cut", "portal"],
)
async def test_what_may_pass_is_waited_for(platform: Platform, daemon: Daemon, procedure: str, answer: Answer) -> None:
    clock, options = timed()
    told_of: list[BaseException] = []
    platform.front.fail(procedure, answer, answer)
    starting = asyncio.create_task(platform.listen(daemon, options=options, on_offline=told_of.append))
    assert await slept(clock, 1) == 1.0
    await clock.advance(1.0)
    assert await slept(clock, 2) == 2.0
    assert not starting.done()
    await clock.advance(2.0)
    assert (await starting).online
    assert len(told_of) == 2
    assert platform.front.count(procedure) == 3


async def test_the_back_off_doubles_up_to_thirty_seconds(platform: Platform, daemon: Daemon) -> None:
    clock, options = timed()
    platform.front.away = True
    starting = asyncio.create_task(platform.listen(daemon, options=options))
    for n in range(1, 9):
        await clock.advance(await slept(clock, n))
    assert clock.slept[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


async def test_the_back_off_varies(platform: Platform, daemon: Daemon) -> None:
    clock = ManualClock()
    numbers = iter([0.0, 0.75, 1.0])
    platform.front.fail("daemon.register", says(503), says(503), says(503))
    options = PeerOptions(clock=clock, random=lambda: next(numbers, 0.5))
    starting = asyncio.create_task(platform.listen(daemon, options=options))
    for n in range(1, 4):
        await clock.advance(await slept(clock, n))
    await starting
    assert clock.slept == [pytest.approx(0.8), pytest.approx(2.2), pytest.approx(4.8)]


@pytest.mark.parametrize("procedure", ["daemon.register", "daemon.renewToken"])
@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_is_raised(platform: Platform, daemon: Daemon, procedure: str, status: int) -> None:
    platform.front.fail(procedure, refuses(status, "ANY_CODE", f"no: {daemon.api_key}"))
    with pytest.raises(CloudApiError) as caught:
        await platform.listen(daemon)
    assert caught.value.status == status
    assert daemon.api_key not in told(caught.value)


async def test_retry_after_is_obeyed(platform: Platform, daemon: Daemon) -> None:
    clock, options = timed()
    platform.front.fail("daemon.register", refuses(429, retry_after="20"))
    platform.front.fail("daemon.renewToken", refuses(503, retry_after="25"))
    starting = asyncio.create_task(platform.listen(daemon, options=options))
    assert await slept(clock, 1) == 20.0
    await clock.advance(20.0)
    assert await slept(clock, 2) == 25.0
    await clock.advance(25.0)
    await starting


@pytest.mark.parametrize("procedure", ["daemon.register", "daemon.renewToken"])
async def test_the_last_try_is_wrapped(platform: Platform, daemon: Daemon, procedure: str) -> None:
    platform.front.fail(procedure, *[says(503)] * 3)
    retry = RetryPolicy(mode="on-error", initial=0.01, max_attempts=2)
    with pytest.raises(PeerError, match="gave up") as caught:
        await platform.listen(daemon, retry=retry)
    assert caught.value.code == "not_connected"
    assert isinstance(caught.value.__cause__, CloudApiError)
    assert platform.front.count(procedure) == 3


async def test_the_key_of_another_daemon(platform: Platform, daemon: Daemon) -> None:
    other = await platform.new_daemon("cellar")
    with pytest.raises(CloudApiError, match="another daemon") as caught:
        await platform.listen(daemon, daemon_id=other.id)
    assert caught.value.status == 400
    assert platform.front.asked == ["daemon.register"]


async def test_another_identity_key_is_a_conflict(platform: Platform, daemon: Daemon) -> None:
    await (await platform.listen(daemon)).close()
    with pytest.raises(CloudApiError, match="another identity key") as caught:
        await platform.listen(daemon, identity_key_pair=generate_identity_key_pair())
    assert caught.value.status == 409


@pytest.mark.parametrize("token", ["a.b.c", "...", "no-token", "e30.W10.x", "e30.bm90IGpzb24.x"])
async def test_a_token_that_cannot_be_read(platform: Platform, daemon: Daemon, token: str) -> None:
    answer = returns({"daemonId": daemon.id, "relayUrl": "ws://x/", "presenceToken": token})
    platform.front.fail("daemon.register", answer, answer)
    with pytest.raises(PeerError, match="presence token cannot be read"):
        await platform.listen(daemon, retry=RetryPolicy(mode="on-error", initial=0.01, max_attempts=1))


async def test_a_cancelled_start_leaves_nothing(platform: Platform, daemon: Daemon) -> None:
    before = _own_tasks()
    for procedure in ("daemon.register", "daemon.renewToken"):
        platform.front.fail(procedure, *[says(503)] * 50)
        starting = asyncio.create_task(platform.listen(daemon, retry=QUICK))
        await until(lambda procedure=procedure: platform.front.count(procedure) > 2)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await until(lambda: _own_tasks() <= before)
        platform.front._due.clear()


def _own_tasks() -> set[asyncio.Task[object]]:
    """All tasks but those of the front, which keeps connections for a while."""
    return {task for task in asyncio.all_tasks() if "RequestHandler" not in repr(task.get_coro())}


# The relay connection


async def test_a_fresh_token_before_every_relay_connection(platform: Platform, daemon: Daemon) -> None:
    async with CuttingProxy(int(platform.endpoints.relay_url.split(":")[2].split("/")[0])) as network:
        ups: list[bool] = []
        server = await platform.listen(
            daemon, relay_urls=[network.url + "relay"], retry=QUICK, on_online=lambda: ups.append(True)
        )
        assert server.relay_url == network.url + "relay"
        async with platform.connect(daemon) as peer:
            for n in range(2, 5):
                network.cut()
                await until(lambda n=n: len(ups) == n)
                assert platform.front.count("daemon.renewToken") == n
                assert await peer.rpc.call("greet", "Ada") == "Hello Ada"
        assert platform.front.count("daemon.register") == 1


async def test_a_standing_connection_needs_no_control_plane(platform: Platform, daemon: Daemon) -> None:
    await platform.listen(daemon)
    async with platform.connect(daemon) as peer:
        platform.front.away = True
        asked = len(platform.front.asked)
        assert await peer.rpc.call("greet", "Ada") == "Hello Ada"
        assert len(platform.front.asked) == asked


async def test_several_relays_are_tried_in_order(platform: Platform, daemon: Daemon) -> None:
    right = platform.endpoints.relay_url
    port = int(right.split(":")[2].split("/")[0])
    async with CuttingProxy(port) as first, CuttingProxy(port) as second:
        first.refusing = True
        server = await platform.listen(daemon, relay_urls=[first.url + "relay", second.url + "relay"], retry=QUICK)
        assert server.relay_url == second.url + "relay"
        first.refusing = False
        second.cut()
        # The one that stood is no better than the first, which is there again.
        await until(lambda: server.online and server.relay_url == first.url + "relay")


async def test_a_connection_that_stood_starts_the_back_off_anew(platform: Platform, daemon: Daemon) -> None:
    clock, options = timed()
    async with CuttingProxy(int(platform.endpoints.relay_url.split(":")[2].split("/")[0])) as network:
        platform.front.fail("daemon.renewToken", says(503))
        starting = asyncio.create_task(platform.listen(daemon, relay_urls=[network.url + "relay"], options=options))
        await clock.advance(await slept(clock, 1))
        server = await starting
        await clock.advance(4.9)
        network.cut()
        assert await slept(clock, 2) == 2.0
        await clock.advance(2.0)
        await until(lambda: server.online)
        await clock.advance(5.1)
        network.cut()
        assert await slept(clock, 3) == 1.0
        assert clock.slept == [1.0, 2.0, 1.0]


async def test_ten_malformed_frames_in_a_row_make_a_new_connection(platform: Platform, daemon: Daemon) -> None:
    connections = 0
    enough = asyncio.Event()

    async def relay(request: web.Request) -> web.WebSocketResponse:
        nonlocal connections
        connections += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if connections == 2:
            enough.set()
        for _ in range(10 if connections == 1 else 9):
            await socket.send_bytes(b"\xff" * 13)
        async for message in socket:
            assert message.type is not aiohttp.WSMsgType.ERROR
        return socket

    app = web.Application()
    app.router.add_get("/", relay)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    errors: list[BaseException] = []
    try:
        server = await platform.listen(
            daemon,
            relay_urls=[f"ws://127.0.0.1:{runner.addresses[0][1]}/"],
            retry=QUICK,
            on_offline=errors.append,
        )
        await enough.wait()
        await until(lambda: server.online)
        assert connections == 2
        assert len(errors) == 1
        assert isinstance(errors[0], SbrpError)
        await server.close()
    finally:
        await runner.cleanup()


async def test_a_revoked_key_ends_the_daemon(platform: Platform, daemon: Daemon) -> None:
    async with CuttingProxy(int(platform.endpoints.relay_url.split(":")[2].split("/")[0])) as network:
        server = await platform.listen(daemon, relay_urls=[network.url + "relay"], retry=QUICK)
        await platform.revoke(daemon)
        network.cut()
        with pytest.raises(CloudApiError) as caught:
            await server.wait_closed()
        assert caught.value.status == 401
        assert daemon.api_key not in told(caught.value)


async def test_another_process_with_the_same_key_ends_this_one(
    platform: Platform, daemon: Daemon, identity: FileIdentity
) -> None:
    first = await platform.listen(daemon, identity_key_pair=identity)
    second = await platform.listen(daemon, identity_key_pair=identity)
    with pytest.raises(TransportError, match="another process") as caught:
        await first.wait_closed()
    assert caught.value.close_code == 4001
    assert second.online


async def test_a_restart_of_the_servers_costs_no_session(platform: Platform, daemon: Daemon) -> None:
    server = await platform.listen(daemon, retry=QUICK)
    retry = RetryPolicy(mode="on-error", initial=0.02, max=0.05)
    peer = platform.connect(daemon, retry=retry)
    async with peer:
        await platform.stop()
        await until(lambda: not server.online and not peer.ready)
        waiting = asyncio.create_task(peer.rpc.call("greet", "Ada"))
        await platform.start()
        assert await waiting == "Hello Ada"
        assert server.online


# Who may connect


async def test_without_a_word_of_the_control_plane_nobody_gets_in(platform: Platform, daemon: Daemon) -> None:
    server = await platform.listen(daemon)
    session = await cloud.ControlPlane(platform.front.url).create_session(platform.token, daemon.id)
    platform.front.fail("relay.createSession", returns({"relayUrl": session.relay_url, "token": session.token}))
    with pytest.raises(PeerError):
        await platform.connect(daemon).when_ready()
    assert server.connections == ()


async def test_a_policy_decides(platform: Platform, daemon: Daemon) -> None:
    server = await platform.listen(daemon, authorize=lambda who: who is not None and who.subject == "quick-connect")
    with pytest.raises(PeerError):
        await platform.connect(daemon).when_ready()
    code = (await server.create_quick_connect(60)).code
    async with platform.connect(quick_connect_code=code) as peer:
        assert await peer.rpc.call("whoami") == "quick-connect"


async def test_a_callback_that_raises_ends_nothing(platform: Platform, daemon: Daemon) -> None:
    reported: list[BaseException] = []

    def fail(*_: object) -> None:
        raise LookupError("from the application")

    platform.front.fail("daemon.renewToken", says(503))
    server = await platform.listen(
        daemon, on_online=fail, on_offline=fail, retry=QUICK, on_unhandled_error=reported.append
    )
    assert server.online
    assert [type(error) for error in reported] == [LookupError, LookupError]


async def test_codes(platform: Platform, daemon: Daemon) -> None:
    server = await platform.listen(daemon)
    code = await server.create_quick_connect()
    assert code.url == f"{platform.endpoints.url}/connect#qc={code.code}"
    with pytest.raises(CloudApiError) as caught:
        await server.create_quick_connect(5)
    assert caught.value.status == 400


async def test_no_secret_is_logged(platform: Platform, daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    platform.front.fail("daemon.register", refuses(503, message=daemon.api_key))
    platform.front.fail("relay.createSession", refuses(503, message=platform.token))
    server = await platform.listen(daemon, retry=QUICK)
    async with platform.connect(daemon, retry=QUICK):
        pass
    code = (await server.create_quick_connect()).code
    async with platform.connect(quick_connect_code=code):
        pass
    for secret in (daemon.api_key, platform.token, code, "eyJ"):
        assert secret not in caplog.text
        assert not [record for record in caplog.records if secret in repr(vars(record))]


@pytest.mark.parametrize(
    "arguments",
    [
        {"api_key": ""},
        {"api_key": "two words"},
        {"api_key": "k", "api_url": "http://control.example"},
        {"api_key": "k", "options": PeerOptions(), "retry": RetryPolicy()},
    ],
)
async def test_arguments_that_make_no_sense(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        await cloud.listen(identity_key_pair=generate_identity_key_pair(), on_connection=greet, **arguments)


async def test_two_daemons_and_five_clients(platform: Platform) -> None:
    daemons = [await platform.new_daemon("attic"), await platform.new_daemon("cellar")]

    def serving(where: str) -> Any:
        def on_connection(peer: Peer) -> None:
            peer.rpc.handle("where", lambda: where)

        return on_connection

    servers = [await platform.listen(one, serving(one.id)) for one in daemons]
    clients = [(daemons[n % 2], platform.connect(daemons[n % 2])) for n in range(5)]
    async with asyncio.TaskGroup() as tasks:
        for _, peer in clients:
            tasks.create_task(peer.when_ready())
    answers = await asyncio.gather(*(peer.rpc.call("where") for _, peer in clients for _ in range(20)))
    assert answers == [daemon.id for daemon, _ in clients for _ in range(20)]
    assert [len(server.connections) for server in servers] == [3, 2]
    await servers[0].close()
    assert await clients[1][1].rpc.call("where") == daemons[1].id
