"""QUIC connections that never become a session: those who dial in good faith get in all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, QuicEvent

from sideband.transport.quic import ALPN, QuicTransport
from tests.direct.conftest import Sides


class Idle(QuicConnectionProtocol):
    """Connects, and opens no stream."""

    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic)
        self.up, self.down = asyncio.Event(), asyncio.Event()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            self.up.set()
        elif isinstance(event, ConnectionTerminated):
            self.down.set()


@asynccontextmanager
async def idlers(port: int) -> AsyncIterator[Callable[[], asyncio.Future[Idle]]]:
    made: list[Idle] = []

    async def one() -> Idle:
        configuration = QuicConfiguration(is_client=True, alpn_protocols=[ALPN], verify_mode=0, server_name="x")
        _, idle = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Idle(QuicConnection(configuration=configuration)), local_addr=("127.0.0.1", 0)
        )
        made.append(idle)
        idle.connect(("127.0.0.1", port))
        await idle.up.wait()
        return idle

    yield lambda: asyncio.ensure_future(one())
    for each in made:
        each._transport.close()
        each._quic.close()
        if each._timer is not None:
            each._timer.cancel()


async def test_the_oldest_is_dropped_and_whoever_dials_in_good_faith_gets_in(sides: Sides) -> None:
    transport = QuicTransport(max_message_bytes=4097, max_half_open=4)
    async with await sides.listen("quic://127.0.0.1:0", transport=transport) as server:
        port = int(server.address.rpartition(":")[2])
        async with idlers(port) as connect:
            idle = [await connect() for _ in range(12)]
            for each in idle[:8]:
                await each.down.wait()
            async with sides.dial(server) as peer:
                assert await peer.rpc.call("echo", 1) == 1
                # Who has a session takes none of those places.
                more = [await connect() for _ in range(8)]
                await more[3].down.wait()
                assert await peer.rpc.call("echo", 2) == 2
            listener = server._listener  # type: ignore[attr-defined]
            assert len(listener._half_open) == 4


async def test_one_that_opens_no_stream_in_time_is_dropped_and_nothing_of_it_is_kept(sides: Sides) -> None:
    transport = QuicTransport(max_message_bytes=4097, half_open_seconds=0.2)
    async with await sides.listen("quic://127.0.0.1:0", transport=transport) as server:
        async with idlers(int(server.address.rpartition(":")[2])) as connect:
            idle = await connect()
            await idle.down.wait()
        listener = server._listener  # type: ignore[attr-defined]
        assert not listener._half_open
        assert not listener._ids
        assert not listener._by_id


@pytest.mark.parametrize("wrong", [{"max_half_open": 0}, {"half_open_seconds": 0.0}, {"max_connections": 0}])
def test_limits_that_let_nobody_in_are_refused(wrong: dict[str, float]) -> None:
    from sideband.errors import ConfigError

    with pytest.raises(ConfigError):
        QuicTransport(**wrong)  # type: ignore[arg-type]
