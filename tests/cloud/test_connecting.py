"""`connect`, through every row of the table in docs/guide/cloud.md, to a real control plane and relay."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sideband import cloud
from sideband.errors import CloudApiError, ConfigError, IdentityRefusedError, PeerError, SbrpError, TransportError
from sideband.identity import MemoryIdentityKeyStore, generate_identity_key_pair
from sideband.identity.rotation import make_statement
from sideband.peer import ConnectionPolicy, Peer, PeerOptions, RetryPolicy
from tests.cloud.conftest import Daemon, Platform, told
from tests.support.faulty_front import Answer, cut, do_and_cut, refuses, returns, says
from tests.support.manual_clock import ManualClock
from tests.support.relay_harness import until
from tests.support.token_issuer import Issuer

PORTAL = says(200, "<html>log in</html>")
TRANSIENT: dict[str, Answer] = {
    "429": refuses(429, "TOO_MANY_REQUESTS"),
    "500": refuses(500, "INTERNAL_SERVER_ERROR"),
    "502 page": says(502, "<html>bad gateway</html>"),
    "503": says(503),
    "cut": cut,
    "portal": PORTAL,
    "redirect": says(302, location="http://portal.example/"),
}
FATAL: dict[str, Answer] = {
    "400": refuses(400, "BAD_REQUEST"),
    "401": refuses(401, "UNAUTHORIZED"),
    "401 page": says(401, "<html>who are you</html>"),
    "403": refuses(403, "FORBIDDEN"),
    "404": refuses(404, "NOT_FOUND"),
    "405": says(405),
    "moved": says(308, location="https://new.example/"),
}


class Timed:
    """A client whose retries wait for a clock that the test moves."""

    def __init__(self, **retry: Any) -> None:
        self.clock = ManualClock()
        self.options = PeerOptions(
            connection=ConnectionPolicy(on_disconnect="pause"),
            retry=RetryPolicy(mode="on-error", jitter=0.0, **retry),
            clock=self.clock,
        )

    async def waits(self, times: int) -> float:
        """Wait until it sleeps for the nth time; return for how long."""
        await until(lambda: len(self.clock.slept) >= times)
        return self.clock.slept[times - 1]

    async def until_ready(self, peer: Peer) -> None:
        """Let time go on whenever the peer waits."""
        ready = asyncio.create_task(peer.when_ready())
        unseen = iter(range(1, 100))
        times = next(unseen)
        while not ready.done():
            if len(self.clock.slept) >= times:
                await self.clock.advance(self.clock.slept[times - 1])
                times = next(unseen)
            await asyncio.sleep(0.001)
        await ready


@pytest.mark.parametrize("answer", TRANSIENT.values(), ids=list(TRANSIENT))
async def test_a_transient_failure_is_retried_with_back_off(platform: Platform, daemon: Daemon, answer: Answer) -> None:
    await platform.listen(daemon)
    timed = Timed()
    platform.front.fail("relay.createSession", answer, answer, answer)
    peer = platform.connect(daemon, options=timed.options)
    await timed.until_ready(peer)
    assert timed.clock.slept == [1.0, 2.0, 4.0]
    assert platform.front.count("relay.createSession") == 4
    assert await peer.rpc.call("greet", "Ada") == "Hello Ada"


@pytest.mark.parametrize("answer", FATAL.values(), ids=list(FATAL))
async def test_a_fatal_refusal_surfaces_itself(platform: Platform, daemon: Daemon, answer: Answer) -> None:
    platform.front.fail("relay.createSession", answer)
    peer = platform.connect(daemon)
    with pytest.raises(CloudApiError) as caught:
        await peer.when_ready()
    assert peer.closed
    assert platform.front.count("relay.createSession") == 1
    assert platform.token not in told(caught.value)


async def test_a_conflict_is_retried_for_an_account(platform: Platform, daemon: Daemon) -> None:
    await platform.listen(daemon)
    timed = Timed()
    platform.front.fail("relay.createSession", refuses(409, "CONFLICT"))
    peer = platform.connect(daemon, options=timed.options)
    await timed.until_ready(peer)
    assert timed.clock.slept == [1.0]


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_obeyed(platform: Platform, daemon: Daemon, status: int) -> None:
    await platform.listen(daemon)
    timed = Timed()
    platform.front.fail("relay.createSession", refuses(status, retry_after="45"))
    peer = platform.connect(daemon, options=timed.options)
    assert await timed.waits(1) == 45.0
    await timed.clock.advance(44.9)
    assert platform.front.count("relay.createSession") == 1
    await timed.clock.advance(0.2)
    await peer.when_ready()


async def test_the_last_try_is_wrapped(platform: Platform, daemon: Daemon) -> None:
    timed = Timed(max_attempts=2)
    platform.front.fail("relay.createSession", says(503), says(503), refuses(503, message="still busy"))
    peer = platform.connect(daemon, options=timed.options)
    with pytest.raises(PeerError, match="still busy") as caught:
        await timed.until_ready(peer)
    assert caught.value.code == "peer_closed"
    assert isinstance(caught.value.__cause__, CloudApiError)
    assert caught.value.__cause__.status == 503


async def test_a_daemon_that_is_offline_is_waited_for(platform: Platform, daemon: Daemon) -> None:
    timed = Timed()
    peer = platform.connect(daemon, options=timed.options)
    await timed.waits(1)
    assert isinstance(peer.error, SbrpError)
    # It has never been there: the relay cannot tell it from one that is not known until it has.
    assert peer.error.code in ("daemon_offline", "daemon_not_found")


async def test_a_fresh_session_and_token_for_every_attempt(platform: Platform, daemon: Daemon) -> None:
    await platform.listen(daemon)
    calls = 0

    async def get_access_token() -> str:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return platform.token

    timed = Timed()
    platform.front.fail("relay.createSession", says(503))
    peer = platform.connect(daemon, get_access_token=get_access_token, options=timed.options)
    await timed.until_ready(peer)
    assert calls == 2
    assert await peer.rpc.call("whoami") is not None


@pytest.mark.parametrize("returned", ["", None, "two words", 7])
async def test_a_token_function_that_returns_none(platform: Platform, daemon: Daemon, returned: Any) -> None:
    peer = platform.connect(daemon, get_access_token=lambda: returned)
    with pytest.raises(ConfigError, match="get_access_token"):
        await peer.when_ready()
    assert platform.front.asked == []


async def test_what_the_token_function_raises_is_raised(platform: Platform, daemon: Daemon) -> None:
    def get_access_token() -> str:
        raise LookupError("not logged in")

    peer = platform.connect(daemon, get_access_token=get_access_token)
    with pytest.raises(LookupError, match="not logged in"):
        await peer.when_ready()


async def test_a_revoked_token_ends_the_peer_at_the_next_attempt(platform: Platform, daemon: Daemon) -> None:
    server = await platform.listen(daemon)
    tokens = [platform.token, "sbnd_usr_" + "x" * 43]
    timed = Timed()
    peer = platform.connect(daemon, get_access_token=lambda: tokens.pop(0), options=timed.options)
    await peer.when_ready()
    await server.close()
    await timed.waits(1)
    cycle = peer.reconnecting
    assert cycle is not None
    await timed.clock.advance(1.0)
    result = await cycle
    assert isinstance(result.error, CloudApiError)
    assert result.error.status == 401
    assert peer.closed


async def test_a_stranger_is_refused(platform: Platform, daemon: Daemon) -> None:
    token = await platform.new_user()
    with pytest.raises(CloudApiError) as caught:
        await platform.connect(daemon, get_access_token=lambda: token).when_ready()
    assert caught.value.status == 403
    with pytest.raises(CloudApiError) as caught:
        await platform.connect(Daemon("d_" + "0" * 22, "", "")).when_ready()
    assert caught.value.status == 404


async def test_a_relay_token_that_grew_old_is_replaced_once(platform: Platform, daemon: Daemon) -> None:
    await platform.listen(daemon)
    timed = Timed()
    old = returns({"relayUrl": platform.endpoints.relay_url, "token": Issuer().client(daemon.id), "identity": "a.b.c"})
    platform.front.fail("relay.createSession", old)
    peer = platform.connect(daemon, options=timed.options)
    await timed.until_ready(peer)
    assert timed.clock.slept == [1.0]
    await peer.disconnect()
    platform.front.fail("relay.createSession", old, old)
    timed = Timed()
    peer = platform.connect(daemon, options=timed.options)
    with pytest.raises(TransportError) as caught:
        await timed.until_ready(peer)
    assert caught.value.http_status == 401


# Quick Connect


async def test_a_code_opens_one_session(platform: Platform, daemon: Daemon) -> None:
    server = await platform.listen(daemon)
    code = (await server.create_quick_connect()).code
    peer = platform.connect(quick_connect_code=f" {code.upper().replace('-', ' ')} ")
    async with peer:
        assert await peer.rpc.call("whoami") == "quick-connect"
    with pytest.raises(PeerError) as closed:
        await peer.connect()
    assert closed.value.code == "invalid_state"
    with pytest.raises(CloudApiError) as caught:
        await platform.connect(quick_connect_code=code).when_ready()
    assert caught.value.status == 404
    assert code not in told(caught.value)


async def test_a_session_of_a_code_that_is_lost_closes_the_peer_for_good(platform: Platform, daemon: Daemon) -> None:
    server = await platform.listen(daemon)
    code = (await server.create_quick_connect()).code
    peer = platform.connect(quick_connect_code=code)
    await peer.when_ready()
    await server.close()  # its reason, shutdown, would let any other client try again
    await until(lambda: peer.closed)
    assert platform.front.count("quickConnect.redeem") == 1
    with pytest.raises(PeerError):
        await peer.rpc.call("greet", "Ada")


@pytest.mark.parametrize("answer", TRANSIENT.values(), ids=list(TRANSIENT))
async def test_a_redeem_that_did_not_burn_the_code_is_tried_again(
    platform: Platform, daemon: Daemon, answer: Answer
) -> None:
    server = await platform.listen(daemon)
    code = (await server.create_quick_connect()).code
    timed = Timed()
    platform.front.fail("quickConnect.redeem", answer)
    peer = platform.connect(quick_connect_code=code, options=timed.options)
    await timed.until_ready(peer)
    assert timed.clock.slept == [1.0]
    assert await peer.rpc.call("greet", "Eve") == "Hello Eve"


@pytest.mark.parametrize("answer", [*FATAL.values(), refuses(409, "CONFLICT")], ids=[*FATAL, "409"])
async def test_a_fatal_refusal_of_a_code(platform: Platform, answer: Answer) -> None:
    platform.front.fail("quickConnect.redeem", answer)
    peer = platform.connect(quick_connect_code="abcd-efgh-jkmn")
    with pytest.raises(CloudApiError):
        await peer.when_ready()
    assert peer.closed
    assert platform.front.count("quickConnect.redeem") == 1


async def test_a_code_whose_daemon_is_offline_is_burned(platform: Platform, daemon: Daemon) -> None:
    server = await platform.listen(daemon)
    code = (await server.create_quick_connect()).code
    await server.close()
    with pytest.raises(CloudApiError, match="used up") as caught:
        await platform.connect(quick_connect_code=code).when_ready()
    assert caught.value.status == 409


@pytest.mark.parametrize("answer", [do_and_cut], ids=["cut after it was done"])
async def test_a_404_after_a_cut_says_that_the_code_may_have_been_used_up(
    platform: Platform, daemon: Daemon, answer: Answer
) -> None:
    server = await platform.listen(daemon)
    code = (await server.create_quick_connect()).code
    timed = Timed()
    platform.front.fail("quickConnect.redeem", answer)
    peer = platform.connect(quick_connect_code=code, options=timed.options)
    with pytest.raises(CloudApiError, match="may have used it up") as caught:
        await timed.until_ready(peer)
    assert caught.value.status == 404
    assert code not in told(caught.value)


async def test_a_404_after_a_refusal_says_no_such_thing(platform: Platform) -> None:
    timed = Timed()
    platform.front.fail("quickConnect.redeem", refuses(429, "TOO_MANY_REQUESTS"))
    peer = platform.connect(quick_connect_code="abcd-efgh-jkmn", options=timed.options)
    with pytest.raises(CloudApiError) as caught:
        await timed.until_ready(peer)
    assert caught.value.status == 404
    assert "may have" not in str(caught.value)


async def test_a_failure_after_the_code_was_used_is_not_retried(platform: Platform, daemon: Daemon) -> None:
    server = await platform.listen(daemon)
    code = (await server.create_quick_connect()).code
    platform.pins = MemoryIdentityKeyStore()
    await platform.pins.set(daemon.id, bytes(generate_identity_key_pair().public_key))
    with pytest.raises(IdentityRefusedError):
        await platform.connect(quick_connect_code=code).when_ready()


# Trust


async def test_another_key_is_refused_by_default(platform: Platform, daemon: Daemon) -> None:
    await platform.pins.set(daemon.id, bytes(generate_identity_key_pair().public_key))
    await platform.listen(daemon)
    peer = platform.connect(daemon)
    with pytest.raises(IdentityRefusedError):
        await peer.when_ready()
    assert peer.closed


async def test_a_rotation_is_followed(platform: Platform, daemon: Daemon) -> None:
    old, new = generate_identity_key_pair(), generate_identity_key_pair()
    server = await platform.listen(daemon, identity_key_pair=old)
    async with platform.connect(daemon):
        pass
    await server.close()
    statement = make_statement(daemon.id, old, bytes(new.public_key), 1_790_000_000)
    server = await platform.listen(daemon, identity_key_pair=new, rotate=statement)
    changes: list[tuple[str, str]] = []
    peer = platform.connect(daemon)
    peer.on("identity_changed", lambda *fingerprints: changes.append(fingerprints))
    async with peer:
        assert peer.fingerprint == server.fingerprint
    assert len(changes) == 1
    assert await platform.pins.get(daemon.id) == bytes(new.public_key)


async def test_the_user_is_asked_where_the_policy_says_so(platform: Platform, daemon: Daemon) -> None:
    server = await platform.listen(daemon)
    asked: list[str] = []

    def first(fingerprint: str) -> bool:
        asked.append(fingerprint)
        return True

    peer = platform.connect(
        daemon, trust_policy="prompt", on_first_connection=first, on_identity_mismatch=lambda *_: False
    )
    async with peer:
        assert asked == [server.fingerprint]


async def test_pins_are_kept_in_the_home_folder(
    platform: Platform, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDEBAND_HOME", str(platform.folder / "home"))
    await platform.listen(daemon)
    async with platform.connect(daemon, identity_key_store=None):
        pass
    assert len(list((platform.folder / "home" / "pins").iterdir())) == 1


# Arguments


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"daemon_id": "d_1"},
        {"get_access_token": lambda: "t"},
        {"quick_connect_code": "abcd-efgh-jkmn", "daemon_id": "d_1"},
        {"quick_connect_code": "abcd-efgh-jkmn", "get_access_token": lambda: "t"},
        {"quick_connect_code": "abcd-efgh"},
        {"quick_connect_code": ""},
        {"quick_connect_code": "abcd-efgh-jk1n"},
        {"quick_connect_code": "d_0123456789012345678901"},
        {"daemon_id": "", "get_access_token": lambda: "t"},
        {"daemon_id": "d_1", "get_access_token": lambda: "t", "api_url": "http://control.example"},
        {"daemon_id": "d_1", "get_access_token": lambda: "t", "trust_policy": "prompt"},
        {"daemon_id": "d_1", "get_access_token": lambda: "t", "options": PeerOptions(), "retry": RetryPolicy()},
    ],
)
async def test_arguments_that_make_no_sense(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        cloud.connect(**arguments)


async def test_nothing_is_left_of_a_client_that_is_given_up(platform: Platform, daemon: Daemon) -> None:
    before = asyncio.all_tasks()
    platform.front.away = True
    peer = platform.connect(daemon)
    await until(lambda: platform.front.asked)
    await peer.disconnect()
    await until(lambda: asyncio.all_tasks() <= before)
    assert isinstance(peer.error, TransportError | None)
