"""Two connections over a model network that is cut at any moment, checked for exactly-once, in-order delivery."""

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sideband.protocol.connection import SbpConnection
from sideband.protocol.events import (
    AppReceived,
    CallsLost,
    ErrorReceived,
    Event,
    EventsLost,
    NotificationReceived,
    ProtocolFailed,
    RequestReceived,
    ResultReceived,
    ResumeFailed,
)
from sideband.protocol.fragments import FragmentBudget
from sideband.protocol.handshake import HandshakePayload
from sideband.protocol.limits import SbpLimits

PAYLOAD = 16 * 1024 + 200
SMALL = SbpLimits(
    max_frame=128 * 1024,
    unfinished_bytes=128 * 1024,
    window_frames=8,
    window_bytes=40 * 1024,
    ack_frames=3,
    ack_bytes=24 * 1024,
)


@dataclass
class Side:
    connection: SbpConnection
    wire: deque[bytes] = field(default_factory=deque)
    sent_events: list[int] = field(default_factory=list)
    got_events: list[int] = field(default_factory=list)
    sent_calls: dict[bytes, int] = field(default_factory=dict)
    got_requests: list[int] = field(default_factory=list)
    answers: dict[bytes, Any] = field(default_factory=dict)
    open_requests: list[tuple[bytes, int]] = field(default_factory=list)
    cancelled: set[bytes] = field(default_factory=set)
    lost: list[Event] = field(default_factory=list)


class Network:
    def __init__(self, seed: int, caps: tuple[str, ...] = ("resume/1", "frag/1", "bin/1")) -> None:
        self.now = 0.0
        self.serial = 0
        self.paused = False
        self.budget = FragmentBudget()
        source = random.Random(seed)
        self.sides = [
            Side(
                SbpConnection(
                    local=HandshakePayload(name, caps),
                    opener=name == "client",
                    max_frame_payload=PAYLOAD,
                    resumable=True,
                    clock=lambda: self.now,
                    random=source.randbytes,
                    fragment_budget=self.budget,
                    limits=SMALL,
                )
            )
            for name in ("client", "daemon")
        ]
        for side in self.sides:
            side.connection.start()
        self.run_dry()

    def other(self, side: Side) -> Side:
        return self.sides[side is self.sides[0]]

    def send(self, side: Side, what: str, size: int) -> None:
        self.serial += 1
        value = [self.serial, "x" * size]
        if what == "event":
            side.connection.send_notification("n", value)
            side.sent_events.append(self.serial)
        elif what == "app":
            side.connection.send_app("app/x", b"%d:" % self.serial + b"x" * size)
            side.sent_events.append(self.serial)
        elif what == "call":
            cid = side.connection.send_request("m", value)
            assert cid not in side.sent_calls
            side.sent_calls[cid] = self.serial
        elif side.open_requests:
            cid, number = side.open_requests.pop(0)
            side.connection.send_result(cid, [number, b"y" * size])

    def cancel(self, side: Side, which: int) -> None:
        over = side.cancelled.union(side.answers, *(event.cids for event in side.lost if isinstance(event, CallsLost)))
        waiting = [cid for cid in side.sent_calls if cid not in over]
        if waiting:
            cid = waiting[which % len(waiting)]
            side.connection.send_cancel(cid)
            side.cancelled.add(cid)

    def write(self, side: Side, room: int) -> None:
        frames = side.connection.take(room)
        assert all(len(frame) <= PAYLOAD for frame in frames)
        assert sum(map(len, frames[:-1])) <= room + 4096  # control is not held back
        assert side.connection.retained_bytes <= SMALL.window_bytes + SMALL.max_frame
        side.wire.extend(frames)

    def deliver(self, side: Side, count: int) -> None:
        other = self.other(side)
        while side.wire and count:
            count -= 1
            for event in other.connection.receive(side.wire.popleft()):
                self.handle(other, event)

    def handle(self, side: Side, event: Event) -> None:
        match event:
            case NotificationReceived(_, data):
                side.got_events.append(data[0])
            case AppReceived(_, data):
                side.got_events.append(int(data.partition(b":")[0]))
            case RequestReceived(cid, _, params):
                side.got_requests.append(params[0])
                side.open_requests.append((cid, params[0]))
            case ResultReceived(cid, value):
                assert cid not in side.answers
                side.answers[cid] = value[0]
            case ProtocolFailed() | ErrorReceived() | ResumeFailed():
                raise AssertionError(event)
            case CallsLost() | EventsLost():
                side.lost.append(event)

    def cut(self) -> None:
        if not self.paused:
            self.paused = True
            for side in self.sides:
                side.wire.clear()
                side.connection.pause()

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            for side in reversed(self.sides):
                for event in side.connection.resumed():
                    self.handle(side, event)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for side in self.sides:
            at = side.connection.next_deadline()
            if at is not None and at <= self.now:
                for event in side.connection.on_deadline(self.now):
                    self.handle(side, event)

    def run_dry(self) -> None:
        for _ in range(10_000):
            for side in self.sides:
                self.write(side, 1 << 16)
                self.deliver(side, 1 << 16)
            if not any(side.connection.wants_write for side in self.sides):
                at = min((t for side in self.sides if (t := side.connection.next_deadline()) is not None), default=None)
                if at is None:
                    return
                self.pass_time(max(0.0, at - self.now))
        raise AssertionError("the two sides never come to rest")


SIDE = st.integers(0, 1)
SIZE = st.sampled_from([0, 10, 300, 9_000, 17_000, 40_000, 70_000, 120_000])
STEP = st.one_of(
    st.tuples(st.just("send"), SIDE, st.sampled_from(["event", "app", "call", "answer"]), SIZE),
    st.tuples(st.just("write"), SIDE, st.sampled_from([1, 1_000, 20_000, 1 << 16]), st.none()),
    st.tuples(st.just("deliver"), SIDE, st.integers(1, 6), st.none()),
    st.tuples(st.just("cancel"), SIDE, st.integers(0, 3), st.none()),
    st.tuples(st.just("cut"), SIDE, st.none(), st.none()),
    st.tuples(st.just("resume"), SIDE, st.none(), st.none()),
    st.tuples(st.just("time"), SIDE, st.sampled_from([0.1, 1.0]), st.none()),
)


def act(network: Network, step: tuple[str, int, Any, Any]) -> None:
    what, index, detail, size = step
    side = network.sides[index]
    if what == "send":
        network.send(side, detail, size)
    elif what == "write":
        network.write(side, detail)
    elif what == "deliver":
        network.deliver(side, detail)
    elif what == "cancel":
        network.cancel(side, detail)
    elif what == "cut":
        network.cut()
    elif what == "resume":
        network.resume()
    else:
        network.pass_time(detail)


def finish(network: Network) -> None:
    network.resume()
    network.run_dry()
    while any(side.open_requests for side in network.sides):
        for side in network.sides:
            network.send(side, "answer", 5)
        network.run_dry()


def check_nothing_lost(network: Network) -> None:
    for side in network.sides:
        other = network.other(side)
        assert other.got_events == side.sent_events
        wanted = {cid: number for cid, number in side.sent_calls.items() if cid not in side.cancelled}
        assert len(set(other.got_requests)) == len(other.got_requests)
        assert set(wanted.values()) <= set(other.got_requests) <= set(side.sent_calls.values())
        assert side.answers == wanted
        assert side.lost == []
        assert side.connection.buffered_bytes == 0
        assert side.connection.retained_bytes == 0
    assert network.budget.held == 0


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 9), steps=st.lists(STEP, max_size=60))
def test_every_covered_message_arrives_exactly_once_whatever_is_cut(seed: int, steps: list[Any]) -> None:
    network = Network(seed)
    for step in steps:
        act(network, step)
    finish(network)
    check_nothing_lost(network)


@pytest.mark.parametrize("seed", range(40))
def test_long_walks_with_much_in_pieces(seed: int) -> None:
    """Long enough for frames to be begun, cut, taken up and crowded out many times over."""
    network = Network(seed)
    choose = random.Random(seed)
    for _ in range(400):
        side = choose.randrange(2)
        match choose.choices(["send", "write", "deliver", "cut", "resume", "time", "cancel"], [12, 16, 16, 2, 6, 2, 1])[
            0
        ]:
            case "send" if network.sides[side].connection.buffered_bytes < 600_000:
                what = choose.choice(["event", "app", "call", "call", "answer", "answer"])
                step = ("send", side, what, choose.choice([5, 300, 17_000, 40_000, 70_000, 120_000]))
            case "write":
                step = ("write", side, choose.choice([1, 17_000, 40_000]), None)
            case "deliver":
                step = ("deliver", side, choose.randint(1, 4), None)
            case "cut":
                step = ("cut", side, None, None)
            case "cancel":
                step = ("cancel", side, choose.randrange(4), None)
            case "time":
                step = ("time", side, choose.choice([0.3, 1.0]), None)
            case _:
                step = ("resume", side, None, None)
        act(network, step)
    finish(network)
    check_nothing_lost(network)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 9), steps=st.lists(STEP, max_size=60))
def test_without_resume_nothing_arrives_twice_and_no_call_hangs(seed: int, steps: list[Any]) -> None:
    network = Network(seed, caps=("frag/1", "bin/1"))
    for step in steps:
        act(network, step)
    finish(network)
    for side in network.sides:
        other = network.other(side)
        assert len(set(other.got_events)) == len(other.got_events)
        assert other.got_events == [n for n in side.sent_events if n in set(other.got_events)]
        assert len(set(other.got_requests)) == len(other.got_requests)
        failed = {cid for event in side.lost if isinstance(event, CallsLost) for cid in event.cids}
        assert failed | set(side.answers) == set(side.sent_calls) - side.cancelled
        assert not failed & set(side.answers)
        assert side.connection.buffered_bytes == 0
    assert network.budget.held == 0
