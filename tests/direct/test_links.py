"""Links of records: pings by the clock, ends that are told, places of handshakes by the clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sideband import direct
from sideband._native import NoiseKeyPair
from sideband.direct.link import DirectLink
from sideband.direct.negotiator import HALF_OPEN_SECONDS, MAX_HALF_OPEN, DirectNegotiator
from sideband.errors import ConfigError, ConnectionClosed, SbdpError, TransportError
from sideband.identity import IdentityTrust, MemoryIdentityKeyStore
from sideband.transport.memory import memory_pair
from tests.support.manual_clock import ManualClock, settle

ONE, TWO = NoiseKeyPair.generate(), NoiseKeyPair.generate()


def negotiators(clock: ManualClock, **more: Any) -> tuple[DirectNegotiator, DirectNegotiator]:
    return (
        direct.sbdp_negotiator("one", ONE, initiator=True, remote_key=TWO.public_key, clock=clock, **more),
        direct.sbdp_negotiator("two", TWO, initiator=False, remote_key=ONE.public_key, clock=clock, **more),
    )


async def links(clock: ManualClock, **more: Any) -> tuple[DirectLink, DirectLink]:
    near, far = memory_pair(max_message_bytes=2 << 20)
    one, two = negotiators(clock, **more)
    first, second = await asyncio.gather(one.negotiate(near), two.negotiate(far))
    assert isinstance(first, DirectLink)
    assert isinstance(second, DirectLink)
    return first, second


async def test_silence_is_ended_by_a_ping_after_25_seconds_and_by_giving_up_after_half_as_much_again() -> None:
    clock = ManualClock()
    one, two = await links(clock)
    reading = [asyncio.create_task(link.receive()) for link in (one, two)]
    await settle()
    before = one.session.sent
    await clock.advance(24.9)
    assert one.session.sent == before == (0, 0)
    await clock.advance(0.1)
    # One asked and the other answered; the question alone told it that somebody is there.
    assert one.session.sent == two.session.sent == (0, 1)
    await clock.advance(25.0)
    assert one.session.sent == two.session.sent == (0, 2)

    # The other side is gone without a word: its reader and its timer with it.
    reading[1].cancel()
    await asyncio.gather(reading[1], return_exceptions=True)
    await two._stop()
    await clock.advance(37.4)
    assert not reading[0].done()
    await clock.advance(0.2)
    with pytest.raises(TransportError, match=r"silent for 3[78] s") as silent:
        await reading[0]
    assert silent.value.kind == "timeout"
    for link in (one, two):
        await link.close()


async def test_a_ping_tells_the_round_trip_and_fails_when_the_link_ends() -> None:
    clock = ManualClock()
    one, two = await links(clock, heartbeat_seconds=None)
    reading = [asyncio.create_task(link.receive()) for link in (one, two)]
    assert await one.ping() == 0.0
    assert await two.ping() == 0.0
    reading[1].cancel()
    asking = asyncio.create_task(one.ping())
    await settle()
    await clock.advance(3.0)
    assert not asking.done()
    reading[1] = asyncio.create_task(two.receive())
    assert await asking == 3.0
    reading[1].cancel()
    asking = asyncio.create_task(one.ping())
    await settle()
    await one.close()
    with pytest.raises(TransportError):
        await asking
    await two.close()
    await asyncio.gather(*reading, return_exceptions=True)


async def test_who_asks_faster_than_it_can_be_told_gets_one_answer() -> None:
    one, two = await links(ManualClock(), heartbeat_seconds=None)
    pings = [message for number in range(1000) for message in one.session.seal_control(1, number.to_bytes(2, "big"))]
    await one.connection.send_many(pings)
    reading = asyncio.create_task(two.receive())
    await settle()
    assert two.session.sent[1] < 1000
    assert one.session.open_messages(await one.connection.receive_many())[-1] == (2, (999).to_bytes(2, "big"))
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    for link in (one, two):
        await link.close()


@pytest.mark.parametrize("reason", ["", "enough", "ü" * 61 + "x", "ü" * 62, "x" * 500])
async def test_a_close_is_told_with_at_most_123_bytes_of_reason(reason: str) -> None:
    one, two = await links(ManualClock(), heartbeat_seconds=None)
    await one.send([b"last"])
    await one.close(0, reason)
    assert list(await two.receive()) == [b"last"]
    for _ in range(2):
        with pytest.raises(ConnectionClosed) as closed:
            await two.receive()
    told = str(closed.value)
    kept = reason.encode()[:123].decode(errors="ignore")
    assert kept in told
    assert kept + "x" not in told
    await two.close()
    with pytest.raises(SbdpError, match="session_cleared"):
        two.session.seal_messages([b"after the end"])


async def test_a_handshake_has_ten_seconds_by_the_clock() -> None:
    assert (MAX_HALF_OPEN, HALF_OPEN_SECONDS) == (64, 10.0)
    clock = ManualClock()
    near, far = memory_pair(max_message_bytes=4097)
    _, listening = negotiators(clock)
    waiting = asyncio.create_task(listening.negotiate(far))
    await settle()
    await clock.advance(9.9)
    assert not waiting.done()
    assert listening.half_open == 1
    await clock.advance(0.1)
    with pytest.raises(SbdpError, match=r"handshake_timeout: .* within 10 s"):
        await waiting
    assert listening.half_open == 0
    for connection in (near, far):
        await connection.close()


@pytest.mark.parametrize("places", [1, 2, 64])
async def test_one_more_than_the_places_drops_the_oldest_and_only_that(places: int) -> None:
    clock = ManualClock()
    _, listening = negotiators(clock, max_half_open=places)
    pairs = [memory_pair(max_message_bytes=4097) for _ in range(places + 1)]
    waiting = [asyncio.create_task(listening.negotiate(far)) for _, far in pairs[:-1]]
    await settle()
    assert not any(each.done() for each in waiting)
    waiting.append(asyncio.create_task(listening.negotiate(pairs[-1][1])))
    await settle()
    assert [each.done() for each in waiting] == [True] + [False] * places
    with pytest.raises(SbdpError, match="overloaded"):
        await waiting[0]
    for each in waiting[1:]:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for near, far in pairs:
        await near.close()
        await far.close()


@pytest.mark.parametrize("wrong", [{"max_half_open": 0}, {"half_open_seconds": 0.0}, {"half_open_seconds": -1.0}])
def test_limits_that_let_nobody_in_are_refused(wrong: dict[str, Any]) -> None:
    trust = IdentityTrust(MemoryIdentityKeyStore(), "accept-new")
    with pytest.raises(ConfigError):
        direct.sbdp_negotiator("two", TWO, initiator=False, trust=trust, **wrong)
