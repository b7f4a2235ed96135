"""The move of a session under random cuts: no message is lost, doubled or reordered while a way leads on.

Real sessions, peers and the real upgrade; only the relay and the channels between them are made of queues, so that each
message, each cut and each moment at which somebody notices it is a step that hypothesis chooses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sideband.direct import DirectPolicy
from sideband.direct.channels import Channel
from sideband.direct.messages import Offer
from sideband.direct.moving import SessionUpgrade
from sideband.direct.upgrade import Phase
from sideband.errors import PeerError, TransportError
from sideband.peer import Peer, PeerOptions
from sideband.peer.link import LinkInfo, LinkSignal
from sideband.peer.session import Session
from sideband.protocol.connection import SbpConnection
from tests.support.manual_clock import ManualClock, settle

LINK = LinkInfo(max_frame_payload=65_508, resumable=True, path="relay")
BATCH = 256 * 1024


async def turns() -> None:
    """Let each task here do what it can: none has more than a few awaits between two steps."""
    for _ in range(10):
        await asyncio.sleep(0)


class Wire:
    """One end of a channel made of queues."""

    def __init__(self) -> None:
        self.other: Wire = self
        self.sent: deque[list[bytes]] = deque()
        self.arrived: asyncio.Queue[list[bytes] | None] = asyncio.Queue()
        self.dead = False

    async def send(self, frames: Sequence[Any]) -> None:
        if self.dead:
            raise TransportError("abnormal_close", "cut")
        self.sent.append([frame if isinstance(frame, bytes) else b"".join(frame) for frame in frames])

    async def receive(self) -> list[bytes]:
        frames = await self.arrived.get()
        if frames is None:
            raise TransportError("abnormal_close", "cut")
        return frames

    async def close(self) -> None:
        self.die()
        self.other.sent, kept = deque(), self.sent
        for frames in kept:
            self.other.arrived.put_nowait(frames)
        self.other.arrived.put_nowait(None)

    async def drop(self) -> None:
        self.die()
        self.other.arrived.put_nowait(None)

    def die(self) -> None:
        if not self.dead:
            self.dead = True
            self.arrived.put_nowait(None)


class Source:
    """Finds channels when the test says so."""

    def __init__(self, end: End, on_ready: Callable[[Channel], None]) -> None:
        self.end = end
        self.on_ready = on_ready
        self.reached = False
        self.channels: dict[bytes, Channel] = {}

    async def gather(self, remote: Offer | None = None) -> Offer:
        return Offer(bytes(32))

    def reach(self, remote: Offer) -> None:
        self.reached = True

    def keep(self, channel: bytes) -> None:
        for other in [key for key in self.channels if key != channel]:
            self.channels.pop(other).link.die()  # type: ignore[attr-defined]

    async def close(self) -> None:
        for channel in self.channels.values():
            await channel.link.drop()
        self.channels.clear()


class End:
    def __init__(self, clock: ManualClock, *, client: bool) -> None:
        self.client = client
        self.got: list[bytes] = []
        self.sent: list[bytes] = []
        self.relay: deque[bytes] = deque()
        self.sources: list[Source] = []
        connection = SbpConnection(
            local=PeerOptions(upgrade=lambda *_: None).handshake(),
            opener=client,
            max_frame_payload=LINK.max_frame_payload,
            clock=clock.time,
            resumable=True,
        )
        options = PeerOptions(clock=clock)
        self.peer = Peer(options)
        self.session = Session(connection, clock, lambda: None, self._greeted, lambda _: None)
        self.clock = clock
        connection.start()

    def _greeted(self, remote: Any) -> None:
        self.peer.session_opened(self.session, LINK, remote)
        self.peer.on_message("app/x", self.got.append)
        self.session.bind(self.peer)
        self.upgrade = SessionUpgrade(self.session, DirectPolicy(), self.clock, self._source, lambda path: None)
        self.session.upgrade = self.upgrade

    def _source(self, attempt: bytes, on_ready: Callable[[Channel], None]) -> Any:
        self.sources.append(Source(self, on_ready))
        return self.sources[-1]

    @property
    def source(self) -> Source | None:
        return self.sources[-1] if self.sources and self.upgrade._source is self.sources[-1] else None

    def send(self, size: int) -> None:
        data = len(self.sent).to_bytes(4, "big") + bytes(size)
        if self.peer.ready and not self.session.connection.closed:
            self.peer.send("app/x", data)
            self.sent.append(data)


class Network:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.client, self.daemon = End(self.clock, client=True), End(self.clock, client=False)
        self.ends = (self.client, self.daemon)
        self.paused = False
        self.relay_over = False
        self.channels = 0
        self.excused = False
        self.written = bytearray()
        self.taken = bytearray()
        self.stream: Any = None

    async def open(self) -> None:
        """Let both sides greet each other, and open a stream from the client to the daemon."""
        for _ in range(3):
            self.deliver(0, 10)
            self.deliver(1, 10)

        async def take(stream: Any) -> None:
            with contextlib.suppress(PeerError):
                async for chunk in stream:
                    self.taken += chunk

        self.daemon.peer.stream_handler("take", take)
        opening = asyncio.create_task(self.client.peer.open_stream("take"))
        while not opening.done():
            await settle()
            self.deliver(0, 10)
            self.deliver(1, 10)
        self.stream = opening.result()

    async def write(self, size: int) -> None:
        if len(self.written) + size > 200_000 or self.client.session.ended.done():
            return  # beyond the window it would wait for steps that may not come
        data = bytes(number % 251 for number in range(len(self.written), len(self.written) + size))
        self.written += data
        await self.stream.write(data)

    def flush(self, side: int) -> None:
        end = self.ends[side]
        if self.relay_over or self.paused:
            return
        while frames := end.session.take(BATCH):
            end.relay.extend(frame if isinstance(frame, bytes) else b"".join(frame) for frame in frames)

    def deliver(self, side: int, most: int) -> None:
        """Bring frames that this side sent by the relay to the other."""
        self.flush(side)
        self.arrive(side, most)

    def arrive(self, side: int, most: int) -> None:
        """Bring only what has left this side already."""
        end, other = self.ends[side], self.ends[1 - side]
        for _ in range(most):
            if end.relay and not self.relay_over:
                other.session.receive([end.relay.popleft()])

    def direct(self, side: int, most: int) -> None:
        for wire in self.wires(side):
            for _ in range(most):
                if wire.sent and not wire.other.dead:
                    wire.other.arrived.put_nowait(wire.sent.popleft())

    def wires(self, side: int) -> list[Wire]:
        return [
            channel.link  # type: ignore[misc]
            for source in self.ends[side].sources
            for channel in source.channels.values()
        ]

    def connect(self, *, late: bool = False) -> None:
        one, two = (end.source for end in self.ends)
        if one is None or two is None or not one.reached or not two.reached:
            return
        near, far = Wire(), Wire()
        near.other, far.other = far, near
        self.channels += 1
        key = self.channels.to_bytes(16, "big")
        # The client's first: what it says may come by the relay before the daemon sees the channel.
        channels = [Channel(key, "tcp", wire) for wire in (near, far)]  # type: ignore[arg-type]
        one.channels[key] = channels[0]
        one.on_ready(channels[0])
        if late:
            self.deliver(0, 10)
        if two is self.daemon.source:
            two.channels[key] = channels[1]
            two.on_ready(channels[1])
        else:
            far.die()
            near.die()

    def kill(self, *, both: bool, side: int) -> None:
        """Cut the channels: what is under way is lost, and one side or both notice."""
        if self.wires(side) and self.client.session.moved.done():
            self.excused = True  # the relay is closed, and nothing else leads on
        for wire in self.wires(side):
            wire.sent.clear()
            wire.other.sent.clear()
            wire.die()
            if both:
                wire.other.die()

    def pause(self) -> None:
        if self.paused or self.relay_over:
            return
        self.paused = True
        for end in self.ends:
            end.relay.clear()
            end.session.signal(LinkSignal.PAUSED)

    def resume(self) -> None:
        if not self.paused or self.relay_over:
            return
        self.paused = False
        for end in self.ends:
            end.session.signal(LinkSignal.RESUMED)

    def watch(self) -> None:
        """What the pump and the server do: leave the relay once moved, and end both sides with it."""
        client = self.client.session
        if not self.relay_over and (client.moved.done() or client.ended.done()):
            self.relay_over = True
            if not self.daemon.upgrade.relay_ended():
                self.daemon.session.fail(PeerError("not_connected", "the client left"))
        if not self.relay_over and self.daemon.session.ended.done():
            self.relay_over = True
            if not client.moved.done():
                client.fail(PeerError("not_connected", "the daemon left"))

    async def settle(self) -> None:
        await turns()
        self.watch()
        await turns()

    async def heal(self) -> None:
        self.resume()
        for round_ in range(200):
            for side in (0, 1):
                for wire in self.wires(side):
                    if wire.dead:
                        wire.other.die()
                self.deliver(side, 1000)
                self.direct(side, 1000)
            await self.settle()
            if all(end.session.ended.done() for end in self.ends):
                break
            if self.taken == self.written and [end.got for end in self.ends] == [self.daemon.sent, self.client.sent]:
                break
            if round_ % 10 == 9:
                await self.clock.advance(1.0)
        for end in self.ends:
            if end.session.ended.done():
                await end.upgrade.finish()
        await self.settle()


SIDE = st.integers(0, 1)
SEND = st.tuples(st.just("send"), SIDE, st.sampled_from([1, 1, 1, 70_000]))
WRITE = st.tuples(st.just("write"), st.just(0), st.integers(1, 3000))
RELAY = st.tuples(st.just("relay"), SIDE, st.integers(1, 4))
DIRECT = st.tuples(st.just("direct"), SIDE, st.integers(1, 3))
CONNECT = st.sampled_from([("connect", 0, 0), ("connect", 1, 0)])
FAULTS = st.one_of(
    st.tuples(st.just("kill"), SIDE, st.integers(0, 1)),
    st.tuples(st.just("expire"), SIDE, st.just(0)),
    st.sampled_from([("pause", 0, 0), ("begin", 0, 0)]),
)
# What moves things on is drawn far more often than what disturbs it, or no attempt would ever get anywhere.
ADVANCE = st.tuples(st.just("advance"), st.integers(0, 3), st.integers(0, 3))
CALM = [SEND, WRITE, RELAY, DIRECT, ADVANCE, ADVANCE, ADVANCE, ADVANCE, CONNECT, st.just(("resume", 0, 0))]
STEPS = st.one_of(*CALM)


@st.composite
def scripts(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    steps = draw(st.lists(STEPS, min_size=15, max_size=40))
    for _ in range(draw(st.integers(0, 2))):
        steps.insert(draw(st.integers(0, len(steps))), draw(FAULTS))
    return steps


async def run(steps: list[tuple[str, int, int]], *, offered: bool = False) -> Network:
    network = Network()
    await network.open()
    network.client.upgrade.begin()
    await network.settle()
    if offered:
        for side in (0, 1):
            network.deliver(side, 10)
            await network.settle()
        network.connect()
        await network.settle()
    for step, side, amount in steps:
        match step:
            case "send":
                network.ends[side].send(amount)
            case "relay":
                network.deliver(side, amount)
            case "direct":
                network.direct(side, amount)
            case "advance":
                for at, most in enumerate((side, amount)):
                    network.deliver(at, most * 3)
                    network.direct(at, most * 3)
            case "connect":
                network.connect(late=bool(side))
            case "kill":
                network.kill(both=bool(amount), side=side)
            case "pause":
                network.pause()
            case "resume":
                network.resume()
            case "begin":
                network.client.upgrade.begin()
            case "write":
                await network.write(amount)
            case "expire":
                network.ends[side].upgrade._expired()
        await network.settle()
    await network.heal()
    return network


async def close(network: Network) -> None:
    for end in network.ends:
        end.session.fail(PeerError("not_connected", "the test is over"))
        await end.upgrade.finish()
        await end.peer.disconnect()


def check(network: Network) -> None:
    alive = not any(end.session.ended.done() for end in network.ends)
    assert alive or network.excused, [end.session.error for end in network.ends]
    for sender, receiver in (network.ends, network.ends[::-1]):
        # Only what was under way when the last way was lost may be missing.
        assert receiver.got == (sender.sent if alive else sender.sent[: len(receiver.got)])
    assert network.taken == (network.written if alive else network.written[: len(network.taken)])


@settings(max_examples=80, deadline=None)
@given(offered=st.booleans(), steps=scripts())
def test_nothing_is_lost_doubled_or_reordered(offered: bool, steps: list[tuple[str, int, int]]) -> None:
    async def body() -> None:
        network = await run(steps, offered=offered)
        try:
            check(network)
        finally:
            await close(network)

    asyncio.run(body())


ORDERLY = [("relay", 0, 4), ("relay", 1, 4), ("connect", 0, 0), ("relay", 0, 4), ("relay", 1, 4), ("relay", 0, 4)]


async def moving(cut_after: int, cut: tuple[str, int, int]) -> Network:
    steps: list[tuple[str, int, int]] = []
    walk = [*ORDERLY, ("direct", 1, 3), ("direct", 0, 3), ("relay", 1, 4), ("direct", 1, 3), ("direct", 0, 3)]
    for at, step in enumerate(walk):
        steps += [("send", 0, 1), ("write", 0, 5000), ("send", 1, 1), step]
        if at == cut_after:
            steps.append(cut)
    return await run(steps)


async def test_an_attempt_that_nothing_disturbs_moves_both_sides() -> None:
    network = await moving(-1, ("begin", 0, 0))
    assert [end.upgrade.state.phase for end in network.ends] == [Phase.DIRECT, Phase.DIRECT]
    assert network.relay_over
    check(network)
    await close(network)


async def test_a_cut_at_each_step_leaves_the_session_whole_on_one_way_or_the_other() -> None:
    cuts = [("kill", side, both) for side in (0, 1) for both in (0, 1)]
    cuts += [("pause", 0, 0), ("expire", 0, 0), ("expire", 1, 0)]
    for cut in cuts:
        for at in range(11):
            network = await moving(at, cut)
            check(network)
            if not network.excused:
                on_direct = [end.upgrade.state.phase is Phase.DIRECT for end in network.ends]
                assert on_direct in ([True, True], [False, False]), (cut, at, on_direct)
            await close(network)


async def test_what_was_under_way_when_a_side_went_back_counts_once() -> None:
    for going_back in (0, 1):
        network = Network()
        await network.open()
        network.client.upgrade.begin()
        await network.settle()
        for side in (0, 1):
            network.deliver(side, 10)
            await network.settle()
        network.connect()
        await network.settle()
        network.deliver(0, 10)  # the choice
        await network.settle()
        if going_back == 0:
            network.deliver(1, 1)  # the confirmation, without the switch behind it
            await network.settle()
        for _ in range(4):
            await network.write(3000)
            for end in network.ends:
                end.send(1)
            for side in (0, 1):
                network.flush(side)
        end = network.ends[going_back]
        end.upgrade._expired()
        await network.settle()
        had = len(end.got), len(network.taken)
        network.arrive(1 - going_back, 100)
        await network.settle()
        # It was sent before the other side knew, and is repeated: only what comes after its `back` counts.
        assert (len(end.got), len(network.taken)) == had
        await network.heal()
        check(network)
        await close(network)
