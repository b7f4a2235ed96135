from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sideband._native import IdentityKeyPair, encode_control, encode_ping, encode_pong
from sideband.errors import (
    ConnectionClosed,
    IdentityRefusedError,
    IdentityStoreError,
    SbrpError,
    SbrpErrorCode,
    SidebandError,
    TransportError,
)
from sideband.identity import IdentityTrust, MemoryIdentityKeyStore, Verdict
from sideband.peer.relay_client import RelayClient
from sideband.secure_relay.client_events import DataReceived, Paused, RateLimited, Resumed
from sideband.secure_relay.daemon_endpoint import DaemonEndpoint
from sideband.secure_relay.daemon_events import SessionData
from sideband.transport import memory_pair

ID = "d_peer"
SID = 3


class Daemon:
    """A daemon at the other end of the client's connection, driven by hand."""

    def __init__(self) -> None:
        self.connection, self.far = memory_pair()
        self.identity = IdentityKeyPair.generate()
        self.endpoint = DaemonEndpoint(ID, self.identity, clock=lambda: 0.0)
        self.endpoint.on_reconnected()

    async def answer(self) -> list[Any]:
        """Takes one message of the client and sends what the endpoint wants sent."""
        events = self.endpoint.receive(await self.far.receive())
        await self.far.send_many(self.endpoint.take_frames())
        return events

    async def tell(self, code: SbrpErrorCode) -> None:
        assert code.wire is not None
        await self.far.send(encode_control(SID, code.wire))

    async def negotiate(self, trust: IdentityTrust, **options: Any) -> RelayClient:
        return await RelayClient.negotiate(self.connection, daemon_id=ID, session_id=SID, trust=trust, **options)


@pytest.fixture
async def daemon() -> AsyncIterator[Daemon]:
    daemon = Daemon()
    yield daemon
    await daemon.connection.close()
    await daemon.far.close()


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[RelayClient]:
    async with asyncio.TaskGroup() as group:
        negotiating = group.create_task(daemon.negotiate(accept_new()))
        await daemon.answer()
    client = negotiating.result()
    yield client
    await client.close()


def accept_new() -> IdentityTrust:
    return IdentityTrust(MemoryIdentityKeyStore(), "accept-new")


async def test_pins_and_talks_both_ways(daemon: Daemon, client: RelayClient) -> None:
    assert client.trust.verdict is Verdict.PIN
    assert client.established.identity_key == daemon.identity.public_key
    await client.send([b"one", b"two"])
    assert await daemon.answer() == [SessionData(SID, [b"one"])]
    assert await daemon.answer() == [SessionData(SID, [b"two"])]
    await daemon.far.send_many(daemon.endpoint.seal(SID, [b"back"]))
    assert await client.receive() == [DataReceived([b"back"])]


async def test_the_key_is_pinned_before_the_first_data_and_never_when_refused(daemon: Daemon) -> None:
    store = MemoryIdentityKeyStore({ID: bytes(range(32))})
    async with asyncio.TaskGroup() as group:
        negotiating = group.create_task(catch(daemon.negotiate(IdentityTrust(store, "accept-new"))))
        await daemon.answer()
    error = negotiating.result()
    assert isinstance(error, IdentityRefusedError)
    assert error.code is SbrpErrorCode.IDENTITY_KEY_CHANGED
    assert await store.get(ID) == bytes(range(32))
    await daemon.connection.close()
    with pytest.raises(ConnectionClosed):
        await daemon.far.receive()


async def test_a_store_that_fails_ends_the_attempt(daemon: Daemon) -> None:
    class Broken(MemoryIdentityKeyStore):
        async def get(self, daemon_id: str) -> bytes | None:
            raise OSError("disk gone")

    async with asyncio.TaskGroup() as group:
        negotiating = group.create_task(catch(daemon.negotiate(IdentityTrust(Broken(), "accept-new"))))
        await daemon.answer()
    assert isinstance(negotiating.result(), IdentityStoreError)


async def test_no_answer_is_a_timeout(daemon: Daemon) -> None:
    with pytest.raises(SbrpError) as caught:
        await daemon.negotiate(accept_new(), handshake_timeout=0.01)
    assert caught.value.code is SbrpErrorCode.HANDSHAKE_TIMEOUT


async def test_the_relays_refusal_has_its_own_code(daemon: Daemon) -> None:
    await daemon.tell(SbrpErrorCode.DAEMON_OFFLINE)
    with pytest.raises(SbrpError) as caught:
        await daemon.negotiate(accept_new())
    assert caught.value.code is SbrpErrorCode.DAEMON_OFFLINE


async def test_a_connection_lost_in_the_handshake_is_a_transport_error(daemon: Daemon) -> None:
    await daemon.far.close()
    with pytest.raises(TransportError):
        await daemon.negotiate(accept_new())


class Asking:
    """A user who takes his time."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.cancelled = False
        self.trust = IdentityTrust(
            MemoryIdentityKeyStore(), on_first_connection=self.ask, on_identity_mismatch=lambda *_: False
        )

    async def ask(self, _: str) -> bool:
        self.asked.set()
        try:
            return await self.answer
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_reading_goes_on_while_the_user_decides(daemon: Daemon) -> None:
    user = Asking()
    early = [bytes([index]) * 65_508 for index in range(40)]
    async with asyncio.TaskGroup() as group:
        negotiating = group.create_task(daemon.negotiate(user.trust))
        await daemon.answer()
        await user.asked.wait()
        await daemon.tell(SbrpErrorCode.SESSION_PAUSED)
        await daemon.tell(SbrpErrorCode.SESSION_RESUMED)
        # More than the connection holds: this returns only because the client reads.
        await daemon.far.send_many(daemon.endpoint.seal(SID, early))
        assert not negotiating.done()
        user.answer.set_result(True)
    client = negotiating.result()
    seen: list[Any] = []
    while sum(len(event.plaintexts) for event in seen if isinstance(event, DataReceived)) < len(early):
        seen += await client.receive()
    assert seen[:2] == [Paused(), Resumed()]
    assert [text for event in seen[2:] for text in event.plaintexts] == early
    await daemon.far.send_many(daemon.endpoint.seal(SID, [b"next"]))
    assert await client.receive() == [DataReceived([b"next"])]
    await client.close()


async def test_a_session_that_ends_meanwhile_stops_the_asking(daemon: Daemon) -> None:
    user = Asking()
    async with asyncio.TaskGroup() as group:
        negotiating = group.create_task(catch(daemon.negotiate(user.trust)))
        await daemon.answer()
        await user.asked.wait()
        await daemon.tell(SbrpErrorCode.SESSION_EXPIRED)
    error = negotiating.result()
    assert isinstance(error, SbrpError)
    assert error.code is SbrpErrorCode.SESSION_EXPIRED
    assert user.cancelled


async def test_a_connection_lost_meanwhile_stops_the_asking(daemon: Daemon) -> None:
    user = Asking()
    async with asyncio.TaskGroup() as group:
        negotiating = group.create_task(catch(daemon.negotiate(user.trust)))
        await daemon.answer()
        await user.asked.wait()
        await daemon.far.close()
    assert isinstance(negotiating.result(), TransportError)
    assert user.cancelled


async def test_cancelling_stops_the_asking(daemon: Daemon) -> None:
    user = Asking()
    negotiating = asyncio.create_task(daemon.negotiate(user.trust))
    await daemon.answer()
    await user.asked.wait()
    negotiating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await negotiating
    assert user.cancelled


async def test_what_came_before_the_end_is_delivered_first(daemon: Daemon, client: RelayClient) -> None:
    (good, bad) = daemon.endpoint.seal(SID, [b"good", b"bad"])
    await daemon.far.send(good)
    await daemon.far.send(bad[:-1] + bytes([bad[-1] ^ 1]))
    assert await client.receive() == [DataReceived([b"good"])]
    for expected in (SbrpErrorCode.DECRYPT_FAILED, SbrpErrorCode.SESSION_CLEARED):
        with pytest.raises(SbrpError) as caught:
            await client.receive()
        assert caught.value.code is expected


async def test_a_pause_refuses_sending_and_a_resume_allows_it(daemon: Daemon, client: RelayClient) -> None:
    await daemon.tell(SbrpErrorCode.SESSION_PAUSED)
    assert await client.receive() == [Paused()]
    with pytest.raises(SbrpError) as caught:
        await client.send([b"x"])
    assert caught.value.code is SbrpErrorCode.SESSION_PAUSED
    await daemon.tell(SbrpErrorCode.SESSION_RESUMED)
    assert await client.receive() == [Resumed()]
    await client.send([b"x"])
    assert await daemon.answer() == [SessionData(SID, [b"x"])]


async def test_pings_are_answered(daemon: Daemon, client: RelayClient) -> None:
    await daemon.far.send(encode_ping(b"abc"))
    await daemon.tell(SbrpErrorCode.RATE_LIMITED)
    assert await client.receive() == [RateLimited()]
    assert await daemon.far.receive() == encode_pong(b"abc")


async def test_the_end_of_the_connection_is_told_as_such(daemon: Daemon, client: RelayClient) -> None:
    await daemon.far.close()
    with pytest.raises(ConnectionClosed):
        await client.receive()


async def test_after_closing_nothing_is_sealed(client: RelayClient) -> None:
    await client.close()
    for call in (client.send([b"x"]), client.receive()):
        with pytest.raises(SbrpError) as caught:
            await call
        assert caught.value.code is SbrpErrorCode.SESSION_CLEARED


async def test_concurrent_senders_keep_the_order_of_their_sequence_numbers(daemon: Daemon, client: RelayClient) -> None:
    async with asyncio.TaskGroup() as group:
        for index in range(20):
            group.create_task(client.send([bytes([index])] * 3))
        for _ in range(60):
            await daemon.answer()
    assert daemon.endpoint.counters.sequence_errors == 0


async def catch(call: Any) -> BaseException | None:
    try:
        await call
    except SidebandError as error:
        return error
    return None
