"""A direct session whose connection is cut: a new handshake verifies the pin again, and streams go on by offset."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

import pytest

from sideband.errors import IdentityRefusedError, PeerError, SbdpError
from sideband.identity import MemoryIdentityKeyStore, NoiseKeyPair
from sideband.peer import RetryPolicy
from sideband.peer.server import Server
from tests.direct.conftest import Sides

ENDPOINTS = ["tcp://127.0.0.1:0", "quic://127.0.0.1:0"]
AGAIN = RetryPolicy(mode="on-error", initial=0.01, jitter=0)


def cut(server: Server) -> int:
    """As a cut cable would, at the listener's end; tell how many there were."""
    connections = list(server._listener._served.connections)  # type: ignore[attr-defined]
    for connection in connections:
        connection.abort()
    return len(connections)


class Counting(MemoryIdentityKeyStore):
    reads = 0

    async def get(self, daemon_id: str) -> bytes | None:
        self.reads += 1
        return await super().get(daemon_id)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_lost_connection_comes_back_with_the_pins_verified_again_and_streams_go_on(
    sides: Sides, endpoint: str
) -> None:
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(stream: Any) -> None:
        async for chunk in stream:
            received.put_nowait(bytes(chunk))

    pins = Counting({"studio": sides.studio.public_key})
    sides.studio_pins = theirs = Counting({"laptop": sides.laptop.public_key})
    async with (
        await sides.listen(endpoint, lambda peer: peer.stream_handler("take", take)) as server,
        sides.dial(server, identity_key_store=pins, retry=AGAIN) as peer,
    ):
        stream = await peer.open_stream("take")
        await stream.write(b"before ")
        assert await received.get() == b"before "
        states: list[str] = []
        peer.on("state_change", lambda state, _: states.append(str(state)))
        lost = asyncio.Event()
        peer.on("disconnected", lambda _: lost.set())
        assert cut(server) == 1
        await lost.wait()
        await peer.when_ready()
        await stream.write(b"after")
        await stream.end()
        assert await received.get() == b"after"
        assert states == ["reconnecting", "connecting", "negotiating", "active"]
        assert (pins.reads, theirs.reads) == (2, 2)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_stream_arrives_whole_through_many_cuts(sides: Sides, endpoint: str) -> None:
    data = random.Random(8).randbytes(6 << 20)
    arrived, whole = bytearray(), asyncio.Event()
    reached = asyncio.Condition()

    async def take(stream: Any) -> None:
        async for chunk in stream:
            arrived.extend(chunk)
            async with reached:
                reached.notify_all()
        whole.set()

    async with (
        await sides.listen(endpoint, lambda peer: peer.stream_handler("take", take)) as server,
        sides.dial(server, retry=AGAIN) as peer,
    ):
        stream = await peer.open_stream("take")

        async def send() -> None:
            for at in range(0, len(data), 50_000):
                await stream.write(data[at : at + 50_000])
            await stream.end()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            for mark in (100_000, 1_500_000, 3_000_000, 5_000_000):
                async with reached:
                    await reached.wait_for(lambda mark=mark: len(arrived) >= mark)  # type: ignore[misc]
                cut(server)
            await whole.wait()
    assert hashlib.sha256(arrived).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_pin_that_changed_meanwhile_ends_it_for_good(sides: Sides, endpoint: str) -> None:
    async with await sides.listen(endpoint) as server:
        peer = sides.dial(server, retry=AGAIN)
        await peer.connect()
        closed = asyncio.Event()
        peer.on("state_change", lambda state, _: closed.set() if state == "closed" else None)
        await sides.laptop_pins.set("studio", NoiseKeyPair.generate().public_key)
        cut(server)
        await closed.wait()
        assert isinstance(peer.error, IdentityRefusedError)
        await peer.disconnect()


async def test_a_pin_that_the_listener_gave_up_meanwhile_ends_it_for_good(sides: Sides) -> None:
    async with await sides.listen() as server:
        peer = sides.dial(server, retry=AGAIN)
        await peer.connect()
        closed = asyncio.Event()
        peer.on("state_change", lambda state, _: closed.set() if state == "closed" else None)
        await sides.studio_pins.delete("laptop")
        cut(server)
        await closed.wait()
        assert isinstance(peer.error, SbdpError)
        assert peer.error.code == "session_closed"
        await peer.disconnect()


async def test_without_a_retry_policy_a_cut_is_the_end_and_calls_under_way_fail(sides: Sides) -> None:
    begun = asyncio.Event()

    async def never() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    async with await sides.listen(on=lambda peer: peer.rpc.handle("never", lambda _: never())) as server:
        peer = sides.dial(server)
        await peer.connect()
        calling = asyncio.create_task(peer.rpc.call("never"))
        await begun.wait()
        cut(server)
        with pytest.raises(PeerError) as failed:
            await calling
        assert failed.value.code in ("not_connected", "peer_closed")
        await peer.disconnect()
