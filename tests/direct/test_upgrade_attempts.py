"""Attempts that the other side brings about, several at once, and messages that are none: sessions with all of it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest

from sideband.direct import DirectPolicy
from sideband.direct.messages import MAX_ATTEMPTS, MAX_MESSAGE_BYTES, Offer, encode
from sideband.direct.upgrade import Phase, Upgrade
from sideband.errors import ConfigError
from tests.support.upgrade_network import Network, check, close

CLIENT, DAEMON = 0, 1


async def greeted(*policies: DirectPolicy) -> Network:
    network = Network(*policies)
    await network.greet()
    await network.settle()
    return network


async def go_on(network: Network, rounds: int = 12) -> None:
    """Let everything arrive, channels be found, and something be sent meanwhile."""
    for _ in range(rounds):
        await network.take(("connect", 0, 0))
        for side in (CLIENT, DAEMON):
            network.ends[side].send(1)
            await network.take(("relay", side, 20))
            await network.take(("direct", side, 20))


def moved(network: Network) -> bool:
    return [end.upgrade.state.phase for end in network.ends] == [Phase.DIRECT, Phase.DIRECT]


async def test_a_daemon_asks_and_the_client_begins() -> None:
    network = await greeted()
    await network.take(("invite", DAEMON, 0))
    await go_on(network)
    assert moved(network)
    assert [len(end.sources) for end in network.ends] == [1, 1]
    check(network)
    await close(network)


@pytest.mark.parametrize("first", ["invite", "begin"])
async def test_an_invitation_that_crosses_an_offer_makes_one_attempt(first: str) -> None:
    network = await greeted()
    for step in (first, "invite", "begin", "begin"):
        getattr(network.daemon.upgrade if step == "invite" else network.client.upgrade, step)()
    await go_on(network)
    assert moved(network)
    assert [len(end.sources) for end in network.ends] == [1, 1]
    check(network)
    await close(network)


async def test_an_invitation_while_an_attempt_is_gathered_waits_for_no_second_one() -> None:
    network = await greeted()
    gathered, asked = asyncio.Event(), asyncio.Event()
    make = network.client._source

    def slow(attempt: bytes, on_ready: Any) -> Any:
        source = make(attempt, on_ready)
        gather = source.gather

        async def later(remote: Offer | None = None) -> Offer:
            asked.set()
            await gathered.wait()
            offer: Offer = await gather(remote)
            return offer

        source.gather = later
        return source

    network.client.upgrade._make_channels = slow
    network.client.upgrade.begin()
    await asked.wait()
    await network.take(("invite", DAEMON, 0))
    await go_on(network, 3)
    gathered.set()
    await go_on(network)
    assert moved(network)
    assert len(network.client.sources) == 1
    check(network)
    await close(network)


async def test_an_offer_that_is_given_up_while_it_is_answered_does_not_answer_the_next_one() -> None:
    network = await greeted()
    gathered = asyncio.Event()
    make = network.daemon._source
    keys = iter((b"1" * 32, b"2" * 32))

    def slow(attempt: bytes, on_ready: Any) -> Any:
        source = make(attempt, on_ready)
        key = next(keys)

        async def later(remote: Offer | None = None) -> Offer:
            if key == b"1" * 32:
                await gathered.wait()
            return Offer(key)

        source.gather = later
        return source

    network.daemon.upgrade._make_channels = slow
    said: list[bytes] = []
    network.daemon.upgrade._say = said.append
    one, two = b"1" * 16, b"2" * 16
    fields = {"key": bytes(32), "c": []}
    network.daemon.upgrade.received(encode("offer", one, fields))
    await network.settle()
    network.daemon.upgrade.received(encode("stop", one))
    gathered.set()
    network.daemon.upgrade.received(encode("offer", two, fields))
    await network.settle()
    answers = [msgpack.unpackb(message) for message in said]
    assert [(answer["t"], answer["id"], answer["key"]) for answer in answers] == [("answer", two, b"2" * 32)]
    await close(network)


@pytest.mark.parametrize("most", [1, 3, MAX_ATTEMPTS])
def test_the_other_side_brings_about_so_many_attempts(most: int) -> None:
    daemon = Upgrade(client=False, invitations=most)
    client = Upgrade(client=True, invitations=most)
    for number in range(most + 3):
        attempt = bytes([number]) * 16
        actions = daemon.message(encode("offer", attempt, {"key": bytes(32)}), 0)
        assert len(actions) == 1
        assert (daemon.phase is Phase.TRYING) is (number < most)
        daemon.message(encode("stop", attempt), 0)
        assert daemon.phase is Phase.IDLE
        assert bool(client.message(encode("ask", attempt), 0)) is (number < most)
    # What this side begins by itself is its own business.
    assert client.start(bytes(16), Offer(bytes(32)))


def test_at_least_one_attempt_is_taken() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        DirectPolicy(max_attempts=0)


async def test_the_limit_is_the_policy_s() -> None:
    network = await greeted(DirectPolicy(), DirectPolicy(max_attempts=1))
    for _ in range(3):
        network.client.upgrade.begin()
        await network.settle()
        for side in (CLIENT, DAEMON):
            await network.take(("relay", side, 20))
        await network.take(("expire", CLIENT, 0))
        for side in (CLIENT, DAEMON):
            await network.take(("relay", side, 20))
    assert len(network.daemon.sources) == 1
    await go_on(network)
    check(network)
    await close(network)


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "unheard"])
@pytest.mark.parametrize("side", [CLIENT, DAEMON], ids=["client", "daemon"])
async def test_an_attempt_that_leads_nowhere_ends_in_time(side: int, heard: bool) -> None:
    network = await greeted(DirectPolicy(timeout=4.0), DirectPolicy(timeout=4.0))
    network.client.upgrade.begin()
    await network.settle()
    if heard:
        await network.take(("relay", CLIENT, 20))
    end = network.ends[side]
    begun = side == CLIENT or heard
    assert (end.upgrade.state.phase is not Phase.IDLE) is begun
    # The daemon waits a little longer, so that the client is the one that gives up.
    patience = 4.0 if side == CLIENT else 6.0
    await network.clock.advance(patience - 0.1)
    assert (end.upgrade.state.phase is not Phase.IDLE) is begun
    await network.clock.advance(0.2)
    assert end.upgrade.state.phase is Phase.IDLE
    await go_on(network)
    assert not moved(network)
    check(network)
    await close(network)


async def test_a_move_that_is_not_done_in_time_goes_back() -> None:
    network = await greeted(DirectPolicy(timeout=4.0), DirectPolicy(timeout=4.0))
    network.client.upgrade.begin()
    await network.settle()
    for _ in range(200):
        if network.client.upgrade.state.phase is not Phase.SWITCHING:
            for step in (("connect", 0, 0), ("relay", DAEMON, 1), ("relay", CLIENT, 1)):
                await network.take(step)
    await network.clock.advance(3.9)
    assert network.client.upgrade.state.phase is Phase.SWITCHING
    await network.clock.advance(0.2)
    assert [end.upgrade.state.phase for end in network.ends][CLIENT] is Phase.IDLE
    await go_on(network)
    assert not moved(network)
    check(network)
    await close(network)


NONE_OF_THEM = [
    b"",
    b"\xc1",
    bytes(64),
    msgpack.packb([]),
    msgpack.packb({"v": 2, "t": "offer", "id": bytes(16)}),
    msgpack.packb({"v": 1, "t": "offer"}),
    msgpack.packb({"v": 1, "t": 1, "id": bytes(16)}),
    encode("offer", bytes(15), {"key": bytes(32)}),
    encode("offer", bytes(16), {"key": "text"}),
    encode("later", bytes(16)),
    encode("use", bytes(16), {"pair": [1]}),
    encode("back", bytes(16), {"n": 2**63}),
    encode("ask", bytes(16)) + b"\x00",
    b"\x80" * (MAX_MESSAGE_BYTES + 1),
]


@pytest.mark.parametrize("side", [CLIENT, DAEMON])
@pytest.mark.parametrize("moment", range(0, 16, 3))
async def test_messages_that_are_none_disturb_neither_session_nor_attempt(side: int, moment: int) -> None:
    network = await greeted()
    network.client.upgrade.begin()
    await network.settle()
    for at in range(40):
        await network.take(("connect", 0, 0))
        if at == moment:
            for data in NONE_OF_THEM:
                network.ends[side].upgrade._say(data)
        for each in (CLIENT, DAEMON):
            network.ends[each].send(1)
            await network.take(("relay", each, 1 + len(NONE_OF_THEM)))
            await network.take(("direct", each, 1 + len(NONE_OF_THEM)))
    assert moved(network)
    check(network)
    await close(network)


async def test_a_message_of_the_largest_size_is_read_and_one_more_byte_is_not() -> None:
    filled = encode("offer", bytes(16), {"key": bytes(32), "x": bytes(MAX_MESSAGE_BYTES - 100)})
    pad = bytes(MAX_MESSAGE_BYTES - 100 + MAX_MESSAGE_BYTES - len(filled))
    largest = encode("offer", bytes(16), {"key": bytes(32), "x": pad})
    assert len(largest) == MAX_MESSAGE_BYTES
    assert len(Upgrade(client=False).message(largest, 0)) == 1
    longer = encode("offer", bytes(16), {"key": bytes(32), "x": pad + b"\x00"})
    assert not Upgrade(client=False).message(longer, 0)
