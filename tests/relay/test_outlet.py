"""The outgoing queue against a transport that takes as much as a test lets it."""

import asyncio
from typing import Any

import pytest

from sideband.relay.outlet import Outlet, binary_frame, close_frame, ping_frame, pong_frame


class FakeTransport(asyncio.Transport):
    """Takes `room` bytes at once; more waits in its buffer, as a socket's transport does."""

    def __init__(self) -> None:
        super().__init__()
        self.room = 1 << 30
        self.sent = bytearray()
        self.buffer = bytearray()
        self.writes = 0
        self.outlet: Outlet | None = None
        self.paused = False
        self.high = self.low = 0
        self.closing = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high, self.low = high or 0, low or 0

    def write(self, data: Any) -> None:
        self.writes += 1
        self.buffer += data
        self.drain(self.room)
        if len(self.buffer) > self.high and not self.paused:
            self.paused = True
            assert self.outlet is not None
            self.outlet.pause()

    def drain(self, room: int) -> None:
        taken = min(room, len(self.buffer))
        self.room = room - taken
        self.sent += self.buffer[:taken]
        del self.buffer[:taken]
        if self.paused and len(self.buffer) <= self.low:
            self.paused = False
            assert self.outlet is not None
            self.outlet.resume()

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def is_closing(self) -> bool:
        return self.closing


class Stage:
    def __init__(self, *, window: int = 100, bound: int = 1000, resume: int = 500, hard: int = 2000) -> None:
        self.transport = FakeTransport()
        self.overflows = 0
        self.bounds: list[bool] = []
        self.outlet = Outlet(
            self.transport,
            window_bytes=window,
            bound_bytes=bound,
            resume_bytes=resume,
            hard_limit_bytes=hard,
            on_overflow=self.overflow,
            on_bound=self.bounds.append,
        )
        self.transport.outlet = self.outlet

    def overflow(self) -> None:
        self.overflows += 1

    def stall(self) -> None:
        self.transport.room = 0


async def turn() -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
async def test_frames_are_wrapped_in_websocket_headers(size: int) -> None:
    stage = Stage(window=1 << 20, bound=1 << 20, resume=1 << 20, hard=1 << 20)
    frame = bytes(size)
    stage.outlet.put(frame)
    await turn()
    if size < 126:
        header = bytes((0x82, size))
    elif size < 65_536:
        header = bytes((0x82, 126)) + size.to_bytes(2, "big")
    else:
        header = bytes((0x82, 127)) + size.to_bytes(8, "big")
    assert stage.transport.sent == header + frame == binary_frame(frame)


async def test_many_frames_leave_in_one_write() -> None:
    stage = Stage()
    for n in range(20):
        stage.outlet.put(bytes([n]))
    assert stage.transport.writes == 0
    await turn()
    assert stage.transport.writes == 1
    assert bytes(stage.transport.sent[2::3]) == bytes(range(20))
    assert stage.outlet.queued_bytes == 0
    assert stage.outlet.high_water_bytes == 60


async def test_urgent_overtakes_what_the_transport_has_not_taken() -> None:
    stage = Stage(window=50)
    stage.stall()
    stage.outlet.put(b"a" * 60)
    await turn()
    stage.outlet.put(b"b" * 60)
    stage.outlet.put_first(b"first")
    stage.outlet.put_wire_first(ping_frame())
    await turn()
    assert not stage.transport.sent
    stage.transport.drain(1 << 20)
    order = [binary_frame(b"a" * 60), binary_frame(b"first"), ping_frame(), binary_frame(b"b" * 60)]
    assert stage.transport.sent == b"".join(order)


async def test_the_bound_and_its_resume_mark() -> None:
    stage = Stage(bound=1000, resume=500)
    stage.stall()
    for _ in range(10):
        stage.outlet.put(bytes(98))
    await turn()
    assert not stage.outlet.over_bound
    stage.outlet.put(b"")
    assert (stage.outlet.over_bound, stage.bounds) == (True, [True])
    stage.transport.drain(400)
    assert stage.outlet.over_bound
    stage.transport.drain(300)
    assert (stage.outlet.over_bound, stage.bounds) == (False, [True, False])


async def test_the_hard_limit_at_its_edge() -> None:
    stage = Stage(hard=2000)
    stage.stall()
    for _ in range(20):
        stage.outlet.put(bytes(98))
    await turn()
    assert stage.overflows == 0
    assert stage.outlet.queued_bytes == 2000
    stage.outlet.put(b"")
    stage.outlet.put_first(b"")
    assert stage.overflows == 2
    assert stage.outlet.queued_bytes == 2000


async def test_seal_sends_what_the_transport_takes_and_then_the_last_words() -> None:
    stage = Stage()
    stage.outlet.put(b"in time")
    stage.outlet.seal(close_frame(1000))
    stage.outlet.put(b"too late")
    stage.outlet.put_first(b"too late")
    await turn()
    assert stage.transport.sent == binary_frame(b"in time") + b"\x88\x02\x03\xe8"


async def test_seal_drops_the_queue_of_one_that_does_not_take_it() -> None:
    stage = Stage(window=50)
    stage.stall()
    stage.outlet.put(b"a" * 60)
    await turn()
    stage.outlet.put(b"b" * 1000)
    assert stage.outlet.over_bound
    stage.outlet.seal(close_frame(1013, "backpressure"))
    assert stage.bounds == [True, False]
    stage.transport.drain(1 << 20)
    assert stage.transport.sent == binary_frame(b"a" * 60) + close_frame(1013, "backpressure")


async def test_a_closing_transport_gets_nothing_and_the_queue_is_let_go() -> None:
    stage = Stage()
    stage.transport.closing = True
    stage.outlet.put(bytes(1500))
    await turn()
    assert stage.transport.writes == 0
    assert stage.outlet.queued_bytes == 0
    assert stage.bounds == [True, False]
    stage.outlet.seal(b"last")
    assert stage.transport.writes == 0


def test_control_frames() -> None:
    assert ping_frame() == b"\x89\x00"
    assert pong_frame(b"abc") == b"\x8a\x03abc"
    assert close_frame(4001, "replaced") == b"\x88\x0a\x0f\xa1replaced"
    assert len(close_frame(1000, "x" * 500)) == 2 + 125
