"""What a hostile network, relay, client or daemon can do to a session, each with its exact outcome.

In every test another client of the same daemon talks on afterwards.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from sideband._native import (
    IdentityKeyPair,
    decode_control,
    decode_frame,
    encode_handshake_accept,
    encode_handshake_init,
    sign,
)
from sideband.errors import ConnectionClosed, IdentityRefusedError, SbrpError, SbrpErrorCode, TransportError
from sideband.identity import FileIdentity, IdentityTrust, MemoryIdentityKeyStore
from sideband.peer.relay_client import RelayClient
from sideband.secure_relay.client_events import DataReceived
from sideband.secure_relay.daemon_events import SessionData, SessionEnded, SessionRefused

DATA = 0x03


def is_data(message: bytes) -> bool:
    return message[0] == DATA


async def received(client: RelayClient, count: int) -> list[bytes]:
    plaintexts: list[bytes] = []
    while len(plaintexts) < count:
        for event in await client.receive():
            if isinstance(event, DataReceived):
                plaintexts += event.plaintexts
    return plaintexts


async def ending(client: RelayClient) -> SbrpErrorCode:
    """The code a session ends with; data before it is passed over."""
    try:
        while True:
            await client.receive()
    except SbrpError as error:
        return error.code


async def test_another_daemons_key_is_pinned(bench: Any) -> None:
    pins = MemoryIdentityKeyStore({bench.platform.daemon_id: IdentityKeyPair.generate().public_key})
    with pytest.raises(IdentityRefusedError) as caught:
        await bench.connect(trust=IdentityTrust(pins, "accept-new"))
    assert caught.value.code is SbrpErrorCode.IDENTITY_KEY_CHANGED
    assert caught.value.received == bench.daemon.identity.fingerprint
    assert await pins.get(bench.platform.daemon_id) != bench.daemon.identity.public_key
    await bench.others_go_on()


@pytest.mark.parametrize("position", [0, 31, 32, 63, 64, 127], ids=lambda at: f"byte {at}")
async def test_a_changed_accept(bench: Any, tamperer: Any, position: int) -> None:
    def change(message: bytes) -> list[bytes]:
        if message[0] == 0x02:
            changed = bytearray(message)
            changed[13 + position] ^= 0x01
            return [bytes(changed)]
        return [message]

    tamperer.down = change
    pins = MemoryIdentityKeyStore()
    with pytest.raises(SbrpError) as caught:
        await bench.connect(tamperer, IdentityTrust(pins, "accept-new"))
    assert caught.value.code is SbrpErrorCode.HANDSHAKE_FAILED
    assert await pins.get(bench.platform.daemon_id) is None, "nothing is pinned before the signature has verified"
    await bench.others_go_on()


async def test_an_accept_recorded_from_another_session(bench: Any, tamperer: Any) -> None:
    recorded: list[bytes] = []
    recorder = type(tamperer)(bench.platform)
    await bench.connect(recorder)
    recorded += [message for message in recorder.passed_down if message[0] == 0x02]

    def replay(message: bytes) -> list[bytes]:
        return [message[:13] + recorded[0][13:]] if message[0] == 0x02 else [message]

    tamperer.down = replay
    with pytest.raises(SbrpError) as caught:
        await bench.connect(tamperer)
    assert caught.value.code is SbrpErrorCode.HANDSHAKE_FAILED
    await bench.others_go_on()


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31)], ids=["zero", "one"])
async def test_a_low_order_point_of_a_client(bench: Any, key: bytes) -> None:
    connection, session_id = await bench.open()
    await connection.send(encode_handshake_init(session_id, key))
    refused = await bench.daemon.happened(SessionRefused, session_id)
    assert refused.code is SbrpErrorCode.HANDSHAKE_FAILED
    kind, sid, payload = decode_frame(await connection.receive())
    assert (kind, sid) == (0x20, session_id)
    assert SbrpErrorCode.from_wire(decode_control(payload)[0]) is SbrpErrorCode.SESSION_EXPIRED
    with pytest.raises(TransportError):
        await connection.receive()
    await bench.others_go_on()


async def test_a_low_order_point_of_a_daemon(platform: Any, tmp_path: Any) -> None:
    identity = FileIdentity(tmp_path / "identity.json")
    low_order = bytes(32)

    async def evil(connection: Any) -> None:
        kind, session_id, init = decode_frame(await connection.receive())
        assert kind == 0x01
        message = hashlib.sha256(b"sbrp-v1-handshake" + platform.daemon_id.encode() + init + low_order).digest()
        accept = identity.public_key + low_order + sign(identity.key_pair, message)
        await connection.send(encode_handshake_accept(session_id, accept))

    from sideband.transport import ConnectOptions, WebSocketTransport

    async with await platform.connect_daemon(identity) as daemon:
        token, session_id = await platform.new_session()
        options = ConnectOptions(headers={"Authorization": f"Bearer {token}"})
        async with await WebSocketTransport().connect(platform.relay_url, options) as connection:
            answering = asyncio.create_task(evil(daemon))
            with pytest.raises(SbrpError) as caught:
                await RelayClient.negotiate(
                    connection,
                    daemon_id=platform.daemon_id,
                    session_id=session_id,
                    trust=IdentityTrust(MemoryIdentityKeyStore(), "accept-new"),
                )
            await answering
    assert caught.value.code is SbrpErrorCode.HANDSHAKE_FAILED


async def test_a_duplicated_frame_arrives_once(bench: Any, tamperer: Any) -> None:
    tamperer.up = lambda message: [message, message] if is_data(message) else [message]
    client, session_id = await bench.connect(tamperer)
    await client.send([b"one", b"two"])
    assert await received(client, 2) == [b"one", b"two"]
    await bench.others_go_on()
    assert bench.daemon.received(session_id) == [b"one", b"two"]
    assert bench.daemon.endpoint.counters.sequence_errors == 2


async def test_a_duplicated_frame_to_the_client_arrives_once(bench: Any, tamperer: Any) -> None:
    tamperer.down = lambda message: [message, message] if is_data(message) else [message]
    client, _ = await bench.connect(tamperer)
    await client.send([b"one", b"two"])
    assert await received(client, 2) == [b"one", b"two"]
    tamperer.down = lambda message: [message]
    await client.send([b"three"])
    assert await received(client, 1) == [b"three"]
    assert client.endpoint.dropped_frames == 2
    await bench.others_go_on()


async def test_a_frame_replayed_much_later_is_dropped(bench: Any, tamperer: Any) -> None:
    client, session_id = await bench.connect(tamperer)
    messages = [b"%d" % number for number in range(300)]
    await client.send(messages)
    assert await received(client, 300) == messages
    first = next(message for message in tamperer.passed_up if is_data(message))
    await tamperer.inject_up(first)
    await client.send([b"after"])
    assert await received(client, 1) == [b"after"]
    assert bench.daemon.received(session_id) == [*messages, b"after"]
    assert bench.daemon.endpoint.counters.sequence_errors == 1
    await bench.others_go_on()


async def test_a_frame_reflected_to_the_client_ends_the_session(bench: Any, tamperer: Any) -> None:
    client, _ = await bench.connect(tamperer)
    await client.send([b"mine"])
    assert await received(client, 1) == [b"mine"]
    await tamperer.inject_down(next(message for message in tamperer.passed_up if is_data(message)))
    assert await ending(client) is SbrpErrorCode.DECRYPT_FAILED
    await bench.others_go_on()


async def test_a_frame_reflected_to_the_daemon_ends_that_session_only(bench: Any, tamperer: Any) -> None:
    client, session_id = await bench.connect(tamperer)
    await client.send([b"mine"])
    assert await received(client, 1) == [b"mine"]
    await tamperer.inject_up(next(message for message in tamperer.passed_down if is_data(message)))
    ended = await bench.daemon.happened(SessionEnded, session_id)
    assert ended.code is SbrpErrorCode.DECRYPT_FAILED
    assert await ending(client) is SbrpErrorCode.SESSION_EXPIRED
    await bench.others_go_on()


async def test_a_forged_frame_ends_that_session_only(bench: Any, tamperer: Any) -> None:
    client, session_id = await bench.connect(tamperer)
    tamperer.up = lambda message: [message[:-1] + bytes([message[-1] ^ 1])]
    await client.send([b"changed on the way"])
    ended = await bench.daemon.happened(SessionEnded, session_id)
    assert ended.code is SbrpErrorCode.DECRYPT_FAILED
    assert bench.daemon.received(session_id) == []
    assert await ending(client) is SbrpErrorCode.SESSION_EXPIRED
    await bench.others_go_on()


async def test_frames_reordered_inside_the_window_all_arrive(bench: Any, tamperer: Any) -> None:
    held: list[bytes] = []

    def backwards(message: bytes) -> list[bytes]:
        if not is_data(message):
            return [message]
        held.append(message)
        return list(reversed(held)) if len(held) == 128 else []

    client, session_id = await bench.connect(tamperer)
    tamperer.up = backwards
    messages = [b"%d" % number for number in range(128)]
    await client.send(messages)
    assert sorted(await received(client, 128)) == sorted(messages)
    assert bench.daemon.received(session_id) == messages[::-1]
    assert bench.daemon.endpoint.counters.sequence_errors == 0
    await bench.others_go_on()


async def test_a_frame_that_falls_out_of_the_window_is_dropped_and_the_session_goes_on(
    bench: Any, tamperer: Any
) -> None:
    held: list[bytes] = []

    def first_last(message: bytes) -> list[bytes]:
        if not is_data(message):
            return [message]
        held.append(message)
        return [*held[1:], held[0]] if len(held) == 129 else []

    client, session_id = await bench.connect(tamperer)
    tamperer.up = first_last
    messages = [b"%d" % number for number in range(129)]
    await client.send(messages)
    assert await received(client, 128) == messages[1:]
    tamperer.up = lambda message: [message]
    await client.send([b"on"])
    assert await received(client, 1) == [b"on"]
    assert bench.daemon.received(session_id) == [*messages[1:], b"on"]
    assert bench.daemon.endpoint.counters.sequence_errors == 1
    await bench.others_go_on()


async def test_a_dropped_frame_is_no_error_at_this_layer(bench: Any, tamperer: Any) -> None:
    client, session_id = await bench.connect(tamperer)
    count = 0

    def drop_second(message: bytes) -> list[bytes]:
        nonlocal count
        count += is_data(message)
        return [] if is_data(message) and count == 2 else [message]

    tamperer.up = drop_second
    await client.send([b"one", b"two", b"three"])
    assert await received(client, 2) == [b"one", b"three"]
    assert bench.daemon.received(session_id) == [b"one", b"three"]
    await bench.others_go_on()


async def test_a_second_handshake_init_is_ignored(bench: Any, tamperer: Any) -> None:
    client, session_id = await bench.connect(tamperer)
    init = next(message for message in tamperer.passed_up if message[0] == 0x01)
    await tamperer.inject_up(init)
    await client.send([b"same keys"])
    assert await received(client, 1) == [b"same keys"]
    assert bench.daemon.endpoint.counters.repeated_inits == 1
    assert bench.daemon.received(session_id) == [b"same keys"]
    await bench.others_go_on()


async def test_a_frame_for_another_clients_session_is_refused_by_the_relay(bench: Any, tamperer: Any) -> None:
    client, _ = await bench.connect(tamperer)
    other = bench.bystander.endpoint.session_id.to_bytes(8, "big")
    tamperer.up = lambda message: [message[:5] + other + message[13:]]
    await client.send([b"to the session of somebody else"])
    assert await ending(client) is SbrpErrorCode.SESSION_NOT_FOUND
    await bench.others_go_on()
    assert bench.daemon.endpoint.counters.decrypt_failures == 0


async def test_a_client_that_leaves_ends_its_session_only(bench: Any) -> None:
    connection, session_id = await bench.open()
    client = await RelayClient.negotiate(
        connection,
        daemon_id=bench.platform.daemon_id,
        session_id=session_id,
        trust=IdentityTrust(MemoryIdentityKeyStore(), "accept-new"),
    )
    await client.send([b"bye"])
    await bench.daemon.happened(SessionData, session_id)
    await connection.close()
    with pytest.raises(ConnectionClosed):
        await client.receive()
    await client.close()
    ended = await bench.daemon.happened(SessionEnded, session_id)
    assert ended.code is SbrpErrorCode.SESSION_ENDED
    await bench.others_go_on()
