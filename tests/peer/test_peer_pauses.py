"""What a pause does to a session beyond the policies: extensions missing, time running out, odd news."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sideband._native import sbp_decode
from sideband.errors import PeerError, RpcPeerError
from sideband.peer import ConnectionPolicy, EventPolicy, Peer, RetryPolicy, create_peer
from sideband.peer.link import LinkSignal
from sideband.protocol.connection import DEFAULT_CAPS, SbpConnection
from sideband.protocol.handshake import HandshakePayload
from sideband.protocol.limits import SbpLimits
from tests.support.manual_clock import settle
from tests.support.memory_world import MemoryWorld
from tests.support.relay_harness import until

PAUSE = ConnectionPolicy(on_disconnect="pause")
RETRY = RetryPolicy(mode="on-error", jitter=0)


async def test_without_resume_calls_under_way_fail_at_the_resume_and_new_ones_work(memory: MemoryWorld) -> None:
    release = asyncio.Event()

    def on_connection(peer: Peer) -> None:
        peer.rpc.handle("wait", release.wait)
        peer.rpc.handle("echo", lambda value: value)

    await memory.listen(on_connection, options=memory.options(capabilities=()))
    async with memory.client(connection=PAUSE) as peer:
        assert "resume/1" not in peer.capabilities
        call = asyncio.create_task(peer.rpc.call("wait"))
        await settle()
        await memory.pause()
        assert not call.done()
        await memory.resume()
        with pytest.raises(PeerError) as caught:
            await call
        assert caught.value.code == "not_connected"
        assert await peer.rpc.call("echo", 1) == 1


async def test_a_peer_that_lists_nothing_sees_plain_sbp(memory: MemoryWorld) -> None:
    got: list[Any] = []

    def on_connection(peer: Peer) -> None:
        peer.rpc.handle("echo", lambda value: value)
        peer.rpc.handle("bytes", lambda: b"x")
        peer.events.on("n", got.append)

    await memory.listen(on_connection)
    async with memory.client(capabilities=()) as peer:
        assert peer.capabilities == frozenset()
        assert await peer.rpc.call("echo", {"a": 1}) == {"a": 1}
        peer.events.emit("n", "x")
        with pytest.raises(RpcPeerError) as caught:
            await peer.rpc.call("bytes")
        assert caught.value.rpc_code == 2000
        await until(lambda: got == ["x"])


async def test_a_resume_that_the_other_side_does_not_confirm_ends_in_a_new_session(memory: MemoryWorld) -> None:
    await memory.listen(lambda peer: peer.rpc.handle("echo", lambda value: value))
    peer = memory.client(connection=PAUSE, retry=RETRY)
    await peer.connect()
    await memory.pause()
    memory.near.links[-1].tell(LinkSignal.RESUMED)
    await settle()
    call = asyncio.create_task(peer.rpc.try_call("echo", 1))
    await memory.clock.advance(9.9)
    assert not call.done()
    await memory.clock.advance(0.2)
    result = await call
    assert isinstance(result.error, PeerError)
    assert result.error.code == "not_connected"
    assert peer.state == "reconnecting"
    await memory.clock.advance(1)
    assert await peer.rpc.call("echo", 2) == 2


async def test_a_pause_longer_than_what_is_kept_is_told(memory: MemoryWorld) -> None:
    got: list[int] = []
    errors: list[Any] = []
    limits = SbpLimits(window_frames=4, window_stall=1.0, gap_quiet=0.1)
    await memory.listen(lambda peer: peer.events.on("n", got.append), options=memory.options(limits=limits))
    async with memory.client(connection=PAUSE, limits=limits) as peer:
        peer.on("error", errors.append)
        memory.near.links[-1].paused = True  # what is sent now is swallowed
        for number in range(20):
            peer.events.emit("n", number)
            await settle()
            await memory.clock.advance(1.1)
        await memory.pause()
        await memory.resume()
        for _ in range(20):
            await memory.clock.advance(1)
        peer.events.emit("n", 99)
        await until(lambda: got[-1:] == [99])
        (lost,) = errors
        assert lost.code == "buffer_overflow"
        assert lost.details["sent"] is True
        assert got == sorted(got)
        assert lost.details["lost"] + len(got) == 21


async def test_news_that_makes_no_sense_is_ignored(memory: MemoryWorld) -> None:
    await memory.listen(lambda peer: peer.rpc.handle("echo", lambda value: value))
    async with memory.client() as peer:
        states: list[str] = []
        peer.on("state_change", lambda state, _previous: states.append(str(state)))
        for signal in (LinkSignal.PENDING, LinkSignal.RESUMED):
            memory.near.links[-1].tell(signal)
        await settle()
        await memory.pause()
        await memory.pause()
        await memory.resume()
        await memory.resume()
        assert await peer.rpc.call("echo", 1) == 1
        assert states == ["paused", "active"]


async def test_a_pause_while_the_server_decides_ends_the_attempt(memory: MemoryWorld) -> None:
    deciding, introduced = asyncio.Event(), list[Peer]()

    async def authorize(_identity: Any) -> bool:
        await deciding.wait()
        return True

    await memory.listen(introduced.append, authorize=authorize)
    peer = memory.client(retry=RETRY)
    peer.start()
    await settle()
    await memory.pause()
    assert peer.state == "reconnecting"
    deciding.set()
    await settle()
    assert introduced == []
    await memory.clock.advance(1)
    assert peer.ready
    assert len(introduced) == 1


def test_not_even_the_state_goes_ahead_of_the_handshake() -> None:
    near, far = (
        SbpConnection(
            local=HandshakePayload(name, DEFAULT_CAPS), opener=name == "near", max_frame_payload=65_508, resumable=True
        )
        for name in ("near", "far")
    )
    near.start()
    for frame in near.take(100_000):
        far.receive(frame)
    far.start()
    far.pause()
    assert far.take(100_000) == []
    far.resumed()
    kinds = [(frame.kind, frame.op) for frame in map(sbp_decode, far.take(100_000))]
    assert kinds == [(0, 0), (1, None)]


async def test_buffers_are_bounded_in_bytes_too(memory: MemoryWorld) -> None:
    await memory.listen(options=memory.options(events=EventPolicy(subscriber_queue_bytes=2_000)))
    async with memory.client(events=EventPolicy(max_buffered_bytes=3_000)) as peer:
        subscription = memory.peers[0].events.subscribe("n")
        for _ in range(5):
            peer.events.emit("n", "x" * 600)
        await settle()
        assert (subscription.waiting, subscription.dropped) == (3, 2)
        peer.events.emit("n", "x" * 10_000)
        await settle()
        assert subscription.waiting == 1
        await memory.pause()
        for _ in range(10):
            peer.events.emit("n", "x" * 900)
        assert (peer.events.buffered, peer.events.dropped) == (3, 7)
        peer.events.emit("n", "x" * 10_000)
        assert peer.events.buffered == 1


def test_a_peer_can_be_made_where_no_loop_runs() -> None:
    peer = create_peer("ws://127.0.0.1:1/")
    assert peer.state == "idle"
    assert "idle" in repr(peer)
