"""Two sides of an upgrade, and between them a relay and channels made of queues.

Sessions, peers and the upgrade are the real ones; each message, each cut and each moment at which somebody notices it
is a step that a test chooses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from sideband.direct import DirectPolicy
from sideband.direct.channels import Channel
from sideband.direct.messages import Offer
from sideband.direct.moving import SessionUpgrade
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


__all__ = ["End", "Network", "Step", "begun", "check", "close", "run", "turns"]

Step = tuple[str, int, int]
"""What happens, at which side, how much of it."""


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
    def __init__(self, clock: ManualClock, policy: DirectPolicy, *, client: bool) -> None:
        self.policy = policy
        self.client = client
        self.got: list[bytes] = []
        self.sent: list[bytes] = []
        self.relay: deque[bytes] = deque()
        self.sources: list[Source] = []
        self.paths: list[str] = []
        self.written, self.taken = bytearray(), bytearray()
        self.stream: Any = None
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
        self.upgrade = SessionUpgrade(self.session, self.policy, self.clock, self._source, self.paths.append)
        if self.policy.mode == "require":
            self.session.connection.hold()
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
    """Both sides, and the ways between them.

    Args:
        policies: of the client and of the daemon.
    """

    def __init__(self, *policies: DirectPolicy) -> None:
        self.clock = ManualClock()
        one, two = policies or (DirectPolicy(), DirectPolicy())
        self.client, self.daemon = End(self.clock, one, client=True), End(self.clock, two, client=False)
        self.ends = (self.client, self.daemon)
        self.paused = False
        self.relay_over = False
        self.channels = 0
        self.excused = False
        self.over = asyncio.Event()
        self.reader: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Let both sides greet each other, and open a stream whose two directions both sides write to."""
        await self.greet()
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def take(stream: Any, end: End) -> None:
            with contextlib.suppress(PeerError):
                async for chunk in stream:
                    end.taken += chunk

        async def serve(stream: Any) -> None:
            opened.set_result(stream)
            await take(stream, self.daemon)
            await self.over.wait()

        self.daemon.peer.stream_handler("take", serve)
        opening = asyncio.create_task(self.client.peer.open_stream("take"))
        while not (opening.done() and opened.done()):
            await settle()
            self.deliver(0, 10)
            self.deliver(1, 10)
        self.client.stream, self.daemon.stream = opening.result(), opened.result()
        self.reader = asyncio.create_task(take(self.client.stream, self.client))

    async def greet(self) -> None:
        """Let both sides greet each other."""
        for _ in range(3):
            self.deliver(0, 10)
            self.deliver(1, 10)

    async def write(self, side: int, size: int) -> None:
        end = self.ends[side]
        if len(end.written) + size > 200_000 or end.session.ended.done() or end.stream is None:
            return  # beyond the window it would wait for steps that may not come
        data = bytes(number % 251 for number in range(len(end.written), len(end.written) + size))
        end.written += data
        await end.stream.write(data)

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

    async def take(self, step: Step) -> None:
        """Let something happen, and what follows from it."""
        kind, side, amount = step
        match kind:
            case "send":
                self.ends[side].send(amount)
            case "write":
                await self.write(side, amount)
            case "relay":
                self.deliver(side, amount)
            case "direct":
                self.direct(side, amount)
            case "advance":
                for at, most in enumerate((side, amount)):
                    self.deliver(at, most * 3)
                    self.direct(at, most * 3)
            case "connect":
                self.connect(late=bool(side))
            case "kill":
                self.kill(both=bool(amount), side=side)
            case "pause":
                self.pause()
            case "resume":
                self.resume()
            case "begin":
                self.client.upgrade.begin()
            case "invite":
                self.daemon.upgrade.invite()
            case "expire":
                self.ends[side].upgrade._expired()
        await self.settle()

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

    @property
    def whole(self) -> bool:
        """Whether each side has all that the other one sent."""
        one, two = self.ends
        return (one.got, two.got, one.taken, two.taken) == (two.sent, one.sent, two.written, one.written)

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
            if self.whole:
                break
            if round_ % 10 == 9:
                await self.clock.advance(1.0)
        for end in self.ends:
            if end.session.ended.done():
                await end.upgrade.finish()
        await self.settle()


async def begun() -> Network:
    """Return two sides that have greeted each other, and whose client has begun an attempt."""
    network = Network()
    await network.open()
    network.client.upgrade.begin()
    await network.settle()
    return network


async def run(steps: Sequence[Step], *, offered: bool = False) -> Network:
    """Take the steps, heal what can be healed, and return what came of it."""
    network = await begun()
    if offered:
        for side in (0, 1):
            network.deliver(side, 10)
            await network.settle()
        network.connect()
        await network.settle()
    for step in steps:
        await network.take(step)
    await network.heal()
    return network


async def close(network: Network) -> None:
    network.over.set()
    for end in network.ends:
        end.session.fail(PeerError("not_connected", "the test is over"))
        await end.upgrade.finish()
        await end.peer.disconnect()
    if network.reader is not None:
        await network.reader


def check(network: Network) -> None:
    """Nothing is lost, doubled or reordered, unless the last way that led on was cut."""
    alive = not any(end.session.ended.done() for end in network.ends)
    assert alive or network.excused, [end.session.error for end in network.ends]
    for sender, receiver in (network.ends, network.ends[::-1]):
        # Only what was under way when the last way was lost may be missing.
        assert receiver.got == (sender.sent if alive else sender.sent[: len(receiver.got)])
        assert receiver.taken == (sender.written if alive else sender.written[: len(receiver.taken)])
