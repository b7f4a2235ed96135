"""Two ends of a session with byte streams, and a network between them that can be cut."""

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from sideband.protocol.connection import DEFAULT_CAPS, SbpConnection
from sideband.protocol.events import (
    Event,
    HandshakeReceived,
    ProtocolFailed,
    ResumeCompleted,
    ResumeFailed,
    StreamReceived,
)
from sideband.protocol.fragments import FragmentBudget
from sideband.protocol.handshake import STREAM_1, HandshakePayload
from sideband.protocol.streams.engine import Streams
from sideband.protocol.streams.events import StreamEvent
from sideband.protocol.streams.kept import KeptStreams
from sideband.protocol.streams.limits import DEFAULT_STREAM_LIMITS, StreamBudget, StreamLimits
from sideband.protocol.streams.stream import ByteStream

MAX_PAYLOAD = 65_508


class StreamEnd:
    """One side: its connection, its streams, and what is under way to it."""

    def __init__(self, name: str, network: "StreamNetwork") -> None:
        self.name = name
        self.network = network
        self.kept = KeptStreams(network.limits, network.budget, network.random.randbytes, network.unread_budget)
        self.inbox: deque[bytes] = deque()
        self.events: list[StreamEvent] = []
        self.failures: list[Event] = []
        self.woken = 0
        self.begin()

    @property
    def other(self) -> "StreamEnd":
        return self.network.daemon if self is self.network.client else self.network.client

    def begin(self) -> None:
        """A new session."""
        network = self.network
        self.connection = SbpConnection(
            local=HandshakePayload(self.name, (*DEFAULT_CAPS, STREAM_1)),
            opener=self.name == "client",
            max_frame_payload=network.max_payload,
            clock=network.clock,
            random=network.random.randbytes,
            fragment_budget=FragmentBudget(),
            resumable=True,
        )
        self.streams = Streams(
            opener=self.name == "client",
            max_frame_payload=network.max_payload,
            kept=self.kept,
            limits=network.limits,
            budget=network.budget,
            unread_budget=network.unread_budget,
            clock=network.clock,
            random=network.random.randbytes,
            wake=self.wake,
        )
        self.lost = False
        self.connection.start()

    def wake(self) -> None:
        self.woken += 1

    def write(self, room: int = 1 << 17) -> bool:
        """Send what there is, at most so many bytes, in the order that a driver keeps. False when there was nothing."""
        streams, connection = self.streams, self.connection
        ready = connection.remote is not None
        for message in streams.take_control() if ready else ():
            connection.send_stream_control(message)
        out: list[Any] = list(connection.take(room))
        if ready and not connection.wants_write:
            out += streams.take(room)
        frames = [frame if isinstance(frame, bytes) else b"".join(frame) for frame in out]
        assert all(len(frame) <= self.network.max_payload for frame in frames)
        self.other.inbox.extend(frames)
        return bool(frames)

    def read(self, count: int = 1 << 30) -> bool:
        """Take in at most so many frames. False when there was none."""
        taken = 0
        while self.inbox and taken < count:
            frame = self.inbox.popleft()
            taken += 1
            if self.connection.remote is None or not self.streams.receive_frame(frame):
                for event in self.connection.receive(frame):
                    self._heard(event)
        self.events += self.streams.poll()
        return taken > 0

    def _heard(self, event: Event) -> None:
        if type(event) is StreamReceived:
            self.streams.receive(event.data)
        elif type(event) is HandshakeReceived:
            self.streams.revive()
        elif type(event) is ResumeCompleted:
            self.streams.resumed()
        elif type(event) is ResumeFailed:
            self.lost = True
        elif type(event) is ProtocolFailed:
            self.failures.append(event)


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class StreamNetwork:
    """Both ends. The connection underneath has resume/1, as over a relay."""

    limits: StreamLimits = DEFAULT_STREAM_LIMITS
    max_payload: int = MAX_PAYLOAD
    seed: int = 0
    clock: Clock = field(default_factory=Clock)
    budget: StreamBudget = field(default_factory=StreamBudget)
    unread_budget: StreamBudget = field(default_factory=StreamBudget)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.client = StreamEnd("client", self)
        self.daemon = StreamEnd("daemon", self)
        self.settle()

    def settle(self) -> None:
        """Carry everything both ways until nothing is left."""
        ends = (self.client, self.daemon)
        while any([end.write() for end in ends] + [end.read() for end in ends]):
            pass

    def cut(self) -> None:
        """What is under way is lost; both sides notice."""
        for end in (self.client, self.daemon):
            end.inbox.clear()
            end.connection.pause()
            end.streams.pause()

    def resume(self) -> None:
        """The session is back, on the daemon first."""
        for end in (self.daemon, self.client):
            for event in end.connection.resumed():
                end._heard(event)

    def renew(self) -> None:
        """The session is lost; a new one begins."""
        ends = (self.client, self.daemon)
        for end in ends:
            end.inbox.clear()
            end.streams.detach()
            end.events += end.streams.poll()
        for end in ends:
            end.begin()

    def opened(self, name: str = "s", **options: Any) -> tuple[ByteStream, ByteStream]:
        """A stream from the client, accepted by the daemon: the client's and the daemon's end of it."""
        ours = self.client.streams.open(name, **options)
        self.settle()
        theirs = self.daemon.streams.live[-1]
        theirs.accept()
        self.settle()
        return ours, theirs


def read_all(stream: ByteStream) -> bytes:
    """Everything that can be read now."""
    parts = []
    while (chunk := stream.read()) is not None:
        parts.append(bytes(chunk))
    return b"".join(parts)
