"""The move of a session under random cuts: no message is lost, doubled or reordered while a way leads on."""

from __future__ import annotations

import asyncio
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sideband.direct.upgrade import Phase
from tests.support.upgrade_network import Network, Step, begun, check, close, run

WALKS = int(os.environ.get("SIDEBAND_UPGRADE_WALKS", "100"))
"""Random walks; a long run takes thousands."""

SIDE = st.integers(0, 1)
SEND = st.tuples(st.just("send"), SIDE, st.sampled_from([1, 1, 1, 70_000]))
WRITE = st.tuples(st.just("write"), SIDE, st.integers(1, 3000))
RELAY = st.tuples(st.just("relay"), SIDE, st.integers(1, 4))
DIRECT = st.tuples(st.just("direct"), SIDE, st.integers(1, 3))
CONNECT = st.sampled_from([("connect", 0, 0), ("connect", 1, 0)])
FAULTS = st.one_of(
    st.tuples(st.just("kill"), SIDE, st.integers(0, 1)),
    st.tuples(st.just("expire"), SIDE, st.just(0)),
    st.sampled_from([("pause", 0, 0), ("begin", 0, 0), ("invite", 1, 0)]),
)
# What moves things on is drawn far more often than what disturbs it, or no attempt would ever get anywhere.
ADVANCE = st.tuples(st.just("advance"), st.integers(0, 3), st.integers(0, 3))
CALM = [SEND, WRITE, RELAY, DIRECT, ADVANCE, ADVANCE, ADVANCE, ADVANCE, CONNECT, st.just(("resume", 0, 0))]
STEPS = st.one_of(*CALM)


@st.composite
def scripts(draw: st.DrawFn) -> list[Step]:
    steps = draw(st.lists(STEPS, min_size=15, max_size=40))
    for _ in range(draw(st.integers(0, 2))):
        steps.insert(draw(st.integers(0, len(steps))), draw(FAULTS))
    return steps


@settings(max_examples=80, deadline=None)
@given(offered=st.booleans(), steps=scripts())
def test_nothing_is_lost_doubled_or_reordered(offered: bool, steps: list[Step]) -> None:
    async def body() -> None:
        network = await run(steps, offered=offered)
        try:
            check(network)
        finally:
            await close(network)

    asyncio.run(body())


def walk(seed: int) -> list[Step]:
    """Steps of one frame each, so that a cut may come between any two, with a fault or two at random."""
    chance = random.Random(seed)
    # Frames pile up on the side that is slower, and are still under way when the other one notices a cut.
    pace = [chance.choice((1, 1, 2, 5, 12)), chance.choice((1, 1, 2, 5, 12))]
    busy = chance.random() * 0.6
    steps: list[Step] = []
    for _ in range(chance.randint(20, 60)):
        for side in (0, 1):
            if chance.random() < busy:
                steps.append(("send", side, chance.choice((1, 1, 70_000, 140_000))))
            if chance.random() < busy:
                steps.append(("write", side, chance.randint(1, 20_000)))
            if chance.randint(1, pace[side]) == 1:
                steps.append(("relay", side, chance.choice((1, 1, 1, 4))))
            if chance.randint(1, pace[1 - side]) == 1:
                steps.append(("direct", side, chance.choice((1, 1, 3))))
        steps.append(("connect", int(chance.random() < 0.5), 0))
        if chance.random() < 0.1:
            steps.append(("resume", 0, 0))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        fault = chance.choice(("kill", "kill", "kill", "kill", "expire", "expire", "pause", "begin"))
        steps.insert(chance.randint(0, len(steps)), (fault, chance.randint(0, 1), int(chance.random() < 0.3)))
    return steps


def test_random_walks_frame_by_frame() -> None:
    async def body(seed: int) -> Phase:
        network = await run(walk(seed), offered=seed % 3 > 0)
        try:
            check(network)
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            await close(network)
        return network.client.upgrade.state.phase

    ends = {asyncio.run(body(seed)) for seed in range(WALKS)}
    assert ends >= {Phase.IDLE, Phase.DIRECT}


ORDERLY = [("relay", 0, 4), ("relay", 1, 4), ("connect", 0, 0), ("relay", 0, 4), ("relay", 1, 4), ("relay", 0, 4)]


async def moving(cut_after: int, cut: Step) -> Network:
    steps: list[Step] = []
    walked = [*ORDERLY, ("direct", 1, 3), ("direct", 0, 3), ("relay", 1, 4), ("direct", 1, 3), ("direct", 0, 3)]
    walked += [("direct", 1, 3), ("direct", 0, 3), ("direct", 1, 3)]
    for at, step in enumerate(walked):
        steps += [("send", 0, 1), ("write", 0, 5000), ("send", 1, 1), ("write", 1, 5000), step]
        if at == cut_after:
            steps.append(cut)
    return await run(steps)


async def test_an_attempt_that_nothing_disturbs_moves_both_sides() -> None:
    network = await moving(-1, ("begin", 0, 0))
    assert [end.upgrade.state.phase for end in network.ends] == [Phase.DIRECT, Phase.DIRECT]
    assert [end.paths for end in network.ends] == [["direct:tcp"], ["direct:tcp"]]
    assert network.relay_over
    check(network)
    await close(network)


async def test_a_cut_at_each_step_leaves_the_session_whole_on_one_way_or_the_other() -> None:
    cuts = [("kill", side, both) for side in (0, 1) for both in (0, 1)]
    cuts += [("pause", 0, 0), ("expire", 0, 0), ("expire", 1, 0)]
    for cut in cuts:
        for at in range(14):
            network = await moving(at, cut)
            check(network)
            if not network.excused:
                on_direct = [end.upgrade.state.phase is Phase.DIRECT for end in network.ends]
                assert on_direct in ([True, True], [False, False]), (cut, at, on_direct)
            await close(network)


async def until_switching(network: Network, side: int, *, busy: bool = False) -> None:
    """Connect, and bring no more frames than it takes for this side to send its `switch`.

    A busy other side has sent more by the relay meanwhile, behind the last of its frames that has come.
    """
    for _ in range(200):
        for at in (1 - side, side):
            if network.ends[side].upgrade.state.phase is not Phase.SWITCHING:
                await network.take(("connect", 0, 0))
                if busy:
                    network.ends[1 - side].send(1)
                    await network.write(1 - side, 3_000)
                await network.take(("relay", at, 1))
    assert network.ends[side].upgrade.state.phase is Phase.SWITCHING


@pytest.mark.parametrize("large", [1, 140_000], ids=["small", "large"])
@pytest.mark.parametrize("side", [0, 1], ids=["client", "daemon"])
@pytest.mark.parametrize("arrived", range(6))
async def test_frames_on_the_relay_when_a_side_goes_back_count_once(side: int, arrived: int, large: int) -> None:
    network = await begun()
    await until_switching(network, side, busy=True)
    network.ends[1 - side].send(large)
    await network.write(1 - side, 20_000)
    network.flush(1 - side)
    for _ in range(arrived):
        await network.take(("relay", 1 - side, 1))
    await network.take(("kill", side, 0))
    assert network.ends[side].upgrade.state.phase is Phase.IDLE
    end = network.ends[side]
    got, taken = len(end.got), len(end.taken)
    for _ in range(len(network.ends[1 - side].relay)):
        await network.take(("relay", 1 - side, 1))
        # The other side does not know yet: all of this is repeated, and none of it counts.
        assert (len(end.got), len(end.taken)) == (got, taken)
    await network.heal()
    check(network)
    await close(network)


@pytest.mark.parametrize("side", [0, 1], ids=["client", "daemon"])
async def test_the_relay_is_open_until_both_switches_have_come(side: int) -> None:
    network = await begun()
    await until_switching(network, 0)
    await until_switching(network, 1)
    for end in network.ends:
        end.send(70_000)
    for _ in range(20):  # only one direction of the relay moves: what the other side said is still under way
        await network.take(("relay", side, 1))
        await network.take(("direct", side, 1))
        assert not network.relay_over
        assert not network.client.session.moved.done()
    for _ in range(10):
        await network.take(("advance", 3, 3))
    assert network.relay_over
    await network.heal()
    check(network)
    await close(network)


@pytest.mark.parametrize("fault", ["expire", "pause"])
@pytest.mark.parametrize("side", [0, 1], ids=["client", "daemon"])
async def test_what_a_channel_brought_before_it_was_given_up_does_not_count(side: int, fault: str) -> None:
    network = await begun()
    await until_switching(network, 0)
    await until_switching(network, 1)
    end = network.ends[side]
    network.flush(1 - side)
    await network.settle()
    await network.take(("write", 1 - side, 5_000))
    await network.take(("send", 1 - side, 1))
    assert any(wire.sent for wire in network.wires(1 - side))
    # It comes by the channel before the `switch` comes by the relay, and waits for that.
    await network.take(("direct", 1 - side, 10))
    got, taken = len(end.got), len(end.taken)
    await network.take((fault, side, 0))
    assert end.upgrade.state.phase is Phase.IDLE
    await network.settle()
    assert (len(end.got), len(end.taken)) == (got, taken)
    await network.heal()
    check(network)
    await close(network)
