from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from sideband._native import IdentityKeyPair, decode_frame, decode_signal, encode_control, encode_ping, encode_pong
from sideband.errors import ConnectionClosed, SbrpError, SbrpErrorCode, TransportError
from sideband.peer.relay_daemon import RelayDaemon
from sideband.secure_relay.client_endpoint import ClientEndpoint
from sideband.secure_relay.client_events import DataReceived
from sideband.secure_relay.daemon_endpoint import DaemonEndpoint
from sideband.secure_relay.daemon_events import (
    DaemonEvent,
    SessionData,
    SessionEnded,
    SessionOpened,
    SessionPaused,
    SessionResumed,
)
from sideband.secure_relay.limits import DaemonLimits
from sideband.transport import memory_pair

ID = "d_peer"


class Relay:
    """The relay's side of a daemon's connection, driven by hand."""

    def __init__(self, **options: Any) -> None:
        self.events: asyncio.Queue[DaemonEvent] = asyncio.Queue()
        endpoint_options = {"clock": time.monotonic, **options}
        endpoint = DaemonEndpoint(ID, IdentityKeyPair.generate(), **endpoint_options)
        self.daemon = RelayDaemon(endpoint, self.events.put_nowait, clock=endpoint_options["clock"])
        self.serving: asyncio.Task[None] | None = None

    def connect(self) -> None:
        self.connection, self.far = memory_pair()
        self.serving = asyncio.create_task(self.daemon.serve(self.connection))

    async def cut(self) -> BaseException | None:
        assert self.serving is not None
        await self.far.close()
        (error,) = await asyncio.gather(self.serving, return_exceptions=True)
        await self.connection.close()
        return error

    async def open(self, session_id: int) -> ClientEndpoint:
        client = ClientEndpoint(ID, session_id, clock=lambda: 0.0)
        await self.far.send(client.start())
        client.receive(await self.far.receive())
        client.establish()
        assert await self.events.get() == SessionOpened(session_id)
        self.daemon.endpoint.confirm(session_id)
        return client

    async def pend(self, session_id: int) -> None:
        wire = SbrpErrorCode.SESSION_PENDING.wire
        assert wire is not None
        await self.far.send(encode_control(session_id, wire))

    async def signal(self) -> tuple[int, int, int]:
        kind, session_id, payload = decode_frame(await self.far.receive())
        assert kind == 0x04
        return session_id, *decode_signal(payload)


@pytest.fixture
async def make_relay() -> Any:
    made: list[Relay] = []

    def make(**options: Any) -> Relay:
        relay = Relay(**options)
        made.append(relay)
        relay.connect()
        return relay

    yield make
    for relay in made:
        await relay.cut()


@pytest.fixture
async def relay(make_relay: Callable[..., Relay]) -> Relay:
    return make_relay()


async def test_serves_sessions_side_by_side(relay: Relay) -> None:
    one, two = await relay.open(1), await relay.open(2)
    await relay.far.send_many([*one.seal([b"1"]), *two.seal([b"2"])])
    assert await relay.events.get() == SessionData(1, [b"1"])
    assert await relay.events.get() == SessionData(2, [b"2"])
    await relay.daemon.send(2, [b"to two"])
    await relay.daemon.send(1, [b"to one"])
    assert two.receive(await relay.far.receive()) == [DataReceived([b"to two"])]
    assert one.receive(await relay.far.receive()) == [DataReceived([b"to one"])]


async def test_data_never_overtakes_the_accept(relay: Relay) -> None:
    client = ClientEndpoint(ID, 1, clock=lambda: 0.0)
    await relay.far.send(client.start())
    assert await relay.events.get() == SessionOpened(1)
    await relay.daemon.send(1, [b"at once"])
    client.receive(await relay.far.receive())
    (_, data) = [*client.establish(), *client.receive(await relay.far.receive())]
    assert data == DataReceived([b"at once"])


async def test_a_cut_pauses_and_the_next_connection_resumes(relay: Relay) -> None:
    client = await relay.open(1)
    assert isinstance(await relay.cut(), ConnectionClosed)
    assert await relay.events.get() == SessionPaused(1)
    with pytest.raises(SbrpError) as caught:
        await relay.daemon.send(1, [b"x"])
    assert caught.value.code is SbrpErrorCode.SESSION_PAUSED
    relay.connect()
    assert await relay.signal() == (1, 0, 0)
    await relay.pend(1)
    assert await relay.events.get() == SessionResumed(1)
    await relay.far.send_many(client.seal([b"same keys"]))
    assert await relay.events.get() == SessionData(1, [b"same keys"])
    await relay.daemon.send(1, [b"both ways"])
    assert client.receive(await relay.far.receive()) == [DataReceived([b"both ways"])]


async def test_a_session_nobody_knows_is_closed(relay: Relay) -> None:
    await relay.pend(9)
    assert await relay.signal() == (9, 1, 1)


async def test_a_loss_while_sending_is_a_pause(relay: Relay) -> None:
    await relay.open(1)
    await relay.far.close()
    with pytest.raises(SbrpError) as caught:
        await relay.daemon.send(1, [b"x"])
    assert caught.value.code is SbrpErrorCode.SESSION_PAUSED


async def test_pings_are_answered(relay: Relay) -> None:
    await relay.far.send(encode_ping(b"12345678"))
    assert await relay.far.receive() == encode_pong(b"12345678")


async def test_ending_a_session_tells_the_relay(relay: Relay) -> None:
    await relay.open(1)
    await relay.open(2)
    relay.daemon.end(1)
    assert await relay.signal() == (1, 1, 3)
    relay.daemon.end(2, shutdown=True)
    assert await relay.signal() == (2, 1, 2)


async def test_farewells_are_flushed_before_the_connection_closes(relay: Relay) -> None:
    await relay.open(1)
    await relay.open(2)
    relay.daemon.endpoint.close()
    await relay.daemon.flush()
    assert [await relay.signal(), await relay.signal()] == [(1, 1, 2), (2, 1, 2)]


async def test_a_terminal_code_ends_the_serving_with_it(relay: Relay) -> None:
    await relay.open(1)
    wire = SbrpErrorCode.UNAUTHORIZED.wire
    assert wire is not None
    assert relay.serving is not None
    await relay.far.send(encode_control(0, wire, "token revoked"))
    with pytest.raises(SbrpError) as caught:
        await relay.serving
    assert caught.value.code is SbrpErrorCode.UNAUTHORIZED
    assert relay.daemon.endpoint.session_ids == (1,)


async def test_ten_malformed_frames_end_the_serving(relay: Relay) -> None:
    assert relay.serving is not None
    await relay.far.send_many([b"?"] * 10)
    with pytest.raises(SbrpError) as caught:
        await relay.serving
    assert caught.value.code is SbrpErrorCode.MALFORMED_FRAME


async def test_timers_run_without_traffic(make_relay: Callable[..., Relay]) -> None:
    relay = make_relay(limits=DaemonLimits(inner_handshake_seconds=0.01))
    client = ClientEndpoint(ID, 1, clock=lambda: 0.0)
    await relay.far.send(client.start())
    client.receive(await relay.far.receive())
    assert await relay.events.get() == SessionOpened(1)
    ended = await relay.events.get()
    assert isinstance(ended, SessionEnded)
    assert ended.code is SbrpErrorCode.HANDSHAKE_TIMEOUT
    assert await relay.signal() == (1, 1, 3)


async def test_a_full_connection_does_not_stop_the_reading(relay: Relay) -> None:
    client = await relay.open(1)
    filling = asyncio.create_task(relay.daemon.send(1, [bytes(65_508)] * 40))
    await relay.far.send(encode_ping(b"x"))
    await relay.far.send_many(client.seal([b"still read"]))
    assert await relay.events.get() == SessionData(1, [b"still read"])
    assert not filling.done()
    for _ in range(40):
        client.receive(await relay.far.receive())
    await filling
    assert await relay.far.receive() == encode_pong(b"x")


async def test_an_error_in_the_owner_ends_the_serving_with_it(relay: Relay) -> None:
    def fail(_: DaemonEvent) -> None:
        raise LookupError("the owner's bug")

    await relay.open(1)
    relay.daemon._on_event = fail
    await relay.pend(1)
    client = ClientEndpoint(ID, 2, clock=lambda: 0.0)
    await relay.far.send(client.start())
    assert relay.serving is not None
    with pytest.raises(LookupError):
        await relay.serving


async def test_one_connection_at_a_time(relay: Relay) -> None:
    await relay.open(1)
    with pytest.raises(RuntimeError, match="one relay connection"):
        await relay.daemon.serve(relay.far)


async def test_cancelling_pauses_too(relay: Relay) -> None:
    await relay.open(1)
    assert relay.serving is not None
    relay.serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await relay.serving
    assert await relay.events.get() == SessionPaused(1)
    assert not relay.daemon.endpoint.connected


async def test_the_transport_error_of_the_reader_is_the_one_that_is_told(relay: Relay) -> None:
    await relay.open(1)
    relay.daemon.end(1)
    error = await relay.cut()
    assert isinstance(error, TransportError)
