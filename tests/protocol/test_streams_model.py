"""Whatever is cut, and whenever: every byte arrives once and in order, and nothing is left behind."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sideband.protocol.streams.events import StreamDelivered, StreamFailed, StreamOpened
from sideband.protocol.streams.limits import StreamLimits
from sideband.protocol.streams.stream import ByteStream
from tests.support.stream_network import StreamEnd, StreamNetwork

LIMITS = StreamLimits(
    window=3000,
    session_window=8000,
    max_session_window=20_000,
    max_window=12_000,
    stream_bytes=15_000,
    session_bytes=40_000,
    ahead_bytes=4000,
    chunk_bytes=1500,
    streams=40,
    unaccepted=3,
)


class World:
    """An application on both sides that opens streams, answers each, and notes what it reads."""

    def __init__(self, seed: int) -> None:
        self.network = StreamNetwork(limits=LIMITS, seed=seed)
        self.random = random.Random(seed)
        self.paused = False
        self.to_send: dict[ByteStream, bytes] = {}
        self.sent: dict[tuple[str, bool], bytes] = {}
        self.got: dict[tuple[str, bool], bytearray] = {}
        self.all: list[ByteStream] = []
        self.delivered = 0

    def ends(self) -> tuple[StreamEnd, StreamEnd]:
        return self.network.client, self.network.daemon

    def open(self, end: StreamEnd) -> None:
        if sum(not stream.closed for stream in self.all) < 16 and len(self.all) < 60:
            stream = end.streams.open(f"{len(self.all)}", digest=self.random.random() < 0.5)
            self.begin(stream)

    def begin(self, stream: ByteStream) -> None:
        self.all.append(stream)
        content = self.random.randbytes(self.random.choice((0, 1, 700, 5000, 30_000)))
        self.to_send[stream] = content
        self.sent[stream.name, stream.ours] = content
        self.got[stream.name, stream.ours] = bytearray()

    def work(self, end: StreamEnd, patience: float) -> None:
        """Accept, write and read a little, or all there is when nothing hurries."""
        end.events += end.streams.poll()
        events, end.events = end.events, []
        for event in events:
            if isinstance(event, StreamOpened):
                self.begin(event.stream)
            elif isinstance(event, StreamDelivered):
                self.delivered += 1
            assert not isinstance(event, StreamFailed), event
        for stream in [stream for stream in self.all if self.end_of(stream) is end and not stream.closed]:
            if not stream.ours and not stream.accepted and self.random.random() < patience:
                stream.accept()
            rest = self.to_send[stream]
            if rest and self.random.random() < patience:
                taken = stream.write(rest[: self.random.randint(1, 6000)])
                self.to_send[stream] = rest = rest[taken:]
            if not rest and self.random.random() < patience:
                stream.end()
            while self.random.random() < patience and (chunk := stream.read(self.random.choice((None, 1, 999)))):
                self.got[stream.name, stream.ours] += chunk
            assert stream.readable <= LIMITS.max_window
        # Those that a new session takes up count on top of what was written in it before.
        assert end.streams.held_bytes <= 2 * LIMITS.session_bytes

    def end_of(self, stream: ByteStream) -> StreamEnd:
        return next(end for end in self.ends() if end.kept is stream._kept)

    def step(self, action: int) -> None:
        if any(end.lost for end in self.ends()):
            self.network.renew()
            self.paused = False
        end = self.ends()[action % 2]
        kind = action // 2 % 16
        if kind < 4:
            end.write(self.random.choice((1, 2000, 100_000)))
        elif kind < 8:
            end.read(self.random.choice((1, 3, 100)))
        elif kind < 11:
            self.work(end, 0.5)
        elif kind < 13:
            self.open(end)
        elif kind == 13:
            self.network.clock.now += self.random.random()
        elif kind == 14:
            if self.paused:
                self.network.resume()
            else:
                self.network.cut()
            self.paused = not self.paused
        elif self.random.random() < 0.5:
            self.network.renew()
            self.paused = False

    def finish(self) -> None:
        if self.paused:
            self.network.resume()
        for _ in range(3000):
            if any(end.lost for end in self.ends()):
                self.network.renew()
            self.network.settle()
            for end in self.ends():
                self.work(end, 1.0)
            if all(stream.closed for stream in self.all) and not any(end.streams.live for end in self.ends()):
                return
        raise AssertionError([(s, s._outgoing.pending, s.readable, s.at_end) for s in self.all if not s.closed])

    def check(self) -> None:
        for (name, ours), content in self.sent.items():
            assert self.got.get((name, not ours), b"") == content, (name, ours)
        for end in self.ends():
            assert end.failures == []
            assert end.streams.held_bytes == end.streams.unread_bytes == 0
            assert len(end.kept) == 0
            assert not end.streams._schedule
            assert end.streams._credit.granted == 0
            assert end.streams._admission.unaccepted == 0
        assert self.network.budget.held == self.network.unread_budget.held == 0


@given(seed=st.integers(0, 2**32), steps=st.lists(st.integers(0, 31), max_size=200))
@settings(max_examples=60, deadline=None)
def test_every_byte_arrives_once_whatever_is_cut(seed: int, steps: list[Any]) -> None:
    world = World(seed)
    for step in steps:
        world.step(step)
    world.finish()
    world.check()


@pytest.mark.parametrize("seed", range(12))
def test_long_walks(seed: int) -> None:
    world = World(seed)
    for _ in range(1500):
        world.step(world.random.randrange(32))
    assert len(world.all) > 10
    world.finish()
    world.check()
