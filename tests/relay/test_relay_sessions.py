"""What two real connections see of the session table, through a real relay on loopback."""

import asyncio
import ssl

import pytest

from sideband._native import (
    encode_data,
    encode_handshake_accept,
    encode_handshake_init,
    encode_ping,
    encode_pong,
    encode_signal,
)
from sideband.errors import ConnectionClosed, TransportError
from sideband.errors import SbrpErrorCode as Code
from sideband.relay.table import DropReason
from tests.support.certificate import server_context, write_certificate

SID = 0x0102030405060708
DATA = encode_data(SID, bytes(range(28)))


async def test_handshake_and_data_are_forwarded_unchanged_both_ways(running) -> None:
    daemon = await running.daemon()
    client = await running.client(sid=SID)
    up = [encode_handshake_init(SID, bytes(32)), DATA, encode_data(SID, bytes(65_536)), encode_data(SID, bytes(28))]
    down = [
        encode_handshake_accept(SID, bytes(128)),
        DATA,
        encode_data(SID, bytes(65_536)),
        encode_data(SID, bytes(99)),
    ]
    await client.send_many(up)
    assert [await daemon.receive() for _ in up] == up
    await daemon.send_many(down)
    assert [await client.receive() for _ in down] == down
    (session,) = running.relay.snapshot().sessions
    assert (session.session_id, session.daemon_id, session.user_id, session.state) == (SID, "d_1", "u_1", "paired")
    assert (session.frames_up, session.bytes_up) == (4, sum(map(len, up)))
    assert (session.frames_down, session.bytes_down) == (4, sum(map(len, down)))


async def test_sessions_of_one_daemon_are_kept_apart(running) -> None:
    daemon = await running.daemon()
    one, two = await running.client(sid=1), await running.client(sid=2)
    await daemon.send_many([encode_data(2, b"2" * 28), encode_data(1, b"1" * 28)])
    assert await one.receive() == encode_data(1, b"1" * 28)
    assert await two.receive() == encode_data(2, b"2" * 28)


async def test_both_paths_take_connections(running) -> None:
    running.url += "relay"
    daemon = await running.daemon()
    await running.settle(daemon)


async def test_pings_are_answered_with_their_payload(running, control) -> None:
    daemon = await running.daemon()
    client = await running.client()
    for connection in (daemon, client):
        for payload in (b"", b"12345678"):
            await connection.send(encode_ping(payload))
            assert await connection.receive() == encode_pong(payload)
        await connection.send(encode_pong(b"x"))
        await running.settle(connection)


async def test_a_daemon_that_is_offline(running, control) -> None:
    client = await running.client("d_absent", sid=SID)
    assert await control(client) == (Code.DAEMON_OFFLINE, SID)
    with pytest.raises(ConnectionClosed):
        await client.receive()


class Directory:
    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.revoked: set[str] = set()

    async def is_known(self, daemon_id: str) -> bool:
        return daemon_id in self.known

    async def is_revoked(self, key_id: str) -> bool:
        return key_id in self.revoked


async def test_unknown_and_offline_are_told_apart_with_a_directory(start_relay, control) -> None:
    running = await start_relay(directory=Directory("d_1"))
    assert await control(await running.client("d_1", sid=1)) == (Code.DAEMON_OFFLINE, 1)
    assert await control(await running.client("d_2", sid=2)) == (Code.DAEMON_NOT_FOUND, 2)


async def test_client_lost_tells_the_daemon(running, control) -> None:
    daemon = await running.daemon()
    client = await running.client(sid=SID)
    await client.close()
    assert await control(daemon) == (Code.SESSION_ENDED, SID)
    assert running.relay.snapshot().sessions == ()


async def test_pause_pending_ready(running, control) -> None:
    daemon = await running.daemon()
    client = await running.client(sid=SID)
    await daemon.close()
    assert await control(client) == (Code.SESSION_PAUSED, SID)
    await client.send(DATA)
    await running.settle(client)
    back = await running.daemon()
    assert await control(client) == (Code.SESSION_PENDING, SID)
    assert await control(back) == (Code.SESSION_PENDING, SID)
    await client.send(DATA)
    await running.settle(client)
    await back.send(DATA)
    await running.settle(back)
    assert running.relay.table.dropped == {
        DropReason.CLIENT_WHILE_PAUSED: 1,
        DropReason.CLIENT_WHILE_PENDING: 1,
        DropReason.DAEMON_WHILE_PENDING: 1,
    }
    await back.send(encode_signal(SID, 0))
    assert await control(client) == (Code.SESSION_RESUMED, SID)
    await client.send(DATA)
    assert await back.receive() == DATA


@pytest.mark.parametrize("reason", [0, 4, 200])
async def test_signal_close_ends_a_session(running, control, reason: int) -> None:
    daemon = await running.daemon()
    client = await running.client(sid=SID)
    await daemon.send_many([DATA, encode_signal(SID, 1, reason)])
    assert await client.receive() == DATA
    assert await control(client) == (Code.SESSION_EXPIRED, SID)
    with pytest.raises(ConnectionClosed):
        await client.receive()


async def test_a_signal_that_is_neither_ready_nor_close(running, control) -> None:
    daemon = await running.daemon()
    await daemon.send(encode_signal(SID, 2))
    assert await control(daemon) == (Code.MALFORMED_FRAME, 0)


async def test_a_daemon_without_resume_loses_its_sessions(running, control) -> None:
    daemon = await running.daemon(resume=False)
    client = await running.client(sid=SID)
    await daemon.close()
    assert await control(client) == (Code.SESSION_PAUSED, SID)
    await running.daemon(resume=False)
    assert await control(client) == (Code.SESSION_EXPIRED, SID)


async def test_grace_over(running, control, clock) -> None:
    daemon = await running.daemon()
    client = await running.client(sid=SID)
    await daemon.close()
    assert await control(client) == (Code.SESSION_PAUSED, SID)
    clock.advance(59.9)
    await running.settle(client)
    clock.advance(0.2)
    assert await control(client) == (Code.SESSION_EXPIRED, SID)


async def test_ten_seconds_without_a_signal(running, control, clock) -> None:
    daemon = await running.daemon()
    client = await running.client(sid=SID)
    await daemon.close()
    await control(client)
    await running.daemon()
    assert await control(client) == (Code.SESSION_PENDING, SID)
    clock.advance(10)
    assert await control(client) == (Code.SESSION_EXPIRED, SID)


async def test_a_second_connection_of_the_daemon_replaces_the_first(running, control) -> None:
    first = await running.daemon()
    client = await running.client(sid=SID)
    second = await running.daemon()
    with pytest.raises(TransportError) as caught:
        await first.receive()
    assert (caught.value.close_code, first.close_reason) == (4001, "replaced")
    assert await control(client) == (Code.SESSION_PAUSED, SID)
    assert await control(client) == (Code.SESSION_PENDING, SID)
    assert await control(second) == (Code.SESSION_PENDING, SID)
    await second.send(encode_signal(SID, 0))
    assert await control(client) == (Code.SESSION_RESUMED, SID)
    await client.send(DATA)
    assert await second.receive() == DATA


async def test_frames_for_a_closed_session_are_answered_once_a_second(running, control, clock) -> None:
    daemon = await running.daemon()
    await daemon.send_many([DATA, DATA, encode_signal(SID, 0), encode_handshake_accept(SID, bytes(128))])
    assert await control(daemon) == (Code.SESSION_ENDED, SID)
    await running.settle(daemon)
    clock.advance(1)
    await daemon.send(DATA)
    assert await control(daemon) == (Code.SESSION_ENDED, SID)
    assert running.relay.table.dropped == {DropReason.SESSION_NOT_OPEN: 5}


@pytest.mark.parametrize(
    ("frame", "code", "session_id"),
    [
        (b"", Code.MALFORMED_FRAME, 0),
        (DATA[:12], Code.MALFORMED_FRAME, 0),
        (b"\x03" + (65_537).to_bytes(4, "big") + bytes(8), Code.PAYLOAD_TOO_LARGE, 0),
        (b"\x99" + bytes(12), Code.INVALID_FRAME_TYPE, 0),
        (encode_data(1, bytes(28)).replace((1).to_bytes(8, "big"), bytes(8)), Code.INVALID_SESSION_ID, 0),
        (encode_handshake_accept(SID, bytes(128)), Code.DISALLOWED_SENDER, SID),
        (encode_signal(SID, 0), Code.DISALLOWED_SENDER, SID),
        (DATA + b"x", Code.MALFORMED_FRAME, 0),
        (DATA[:-1], Code.MALFORMED_FRAME, 0),
        (encode_data(SID + 1, bytes(28)), Code.SESSION_NOT_FOUND, SID + 1),
        (b"\x10" + (9).to_bytes(4, "big") + bytes(17), Code.PAYLOAD_TOO_LARGE, 0),
    ],
)
async def test_a_clients_bad_frame_closes_it_and_nobody_else(running, control, frame, code, session_id) -> None:
    daemon = await running.daemon()
    client = await running.client(sid=SID)
    other = await running.client(sid=5)
    await client.send(frame)
    assert await control(client) == (code, session_id)
    with pytest.raises(TransportError) as caught:
        await client.receive()
    assert caught.value.close_code == 1008
    assert await control(daemon) == (Code.SESSION_ENDED, SID)
    await other.send(encode_data(5, bytes(28)))
    assert await daemon.receive() == encode_data(5, bytes(28))


async def test_a_daemons_bad_frame_closes_it_and_pauses_its_sessions(running, control) -> None:
    daemon = await running.daemon()
    client = await running.client(sid=SID)
    await daemon.send(encode_handshake_init(SID, bytes(32)))
    assert await control(daemon) == (Code.DISALLOWED_SENDER, SID)
    assert await control(client) == (Code.SESSION_PAUSED, SID)


async def test_kick_a_session(running, control) -> None:
    daemon = await running.daemon()
    client = await running.client(sid=SID)
    assert running.relay.kick_session(SID)
    assert await control(client) == (Code.SESSION_EXPIRED, SID)
    assert await control(daemon) == (Code.SESSION_ENDED, SID)
    assert not running.relay.kick_session(SID)


async def test_kick_a_daemon_by_its_key(running, control) -> None:
    token = running.issuer.daemon(akd="key-1")
    daemon = await running.connect(token)
    await running.settle(daemon)
    client = await running.client(sid=SID)
    assert not running.relay.kick_daemon("d_1", "key-2")
    assert not running.relay.kick_daemon("d_2")
    assert running.relay.kick_daemon("d_1", "key-1")
    with pytest.raises(TransportError) as caught:
        await daemon.receive()
    assert caught.value.close_code == 4003
    assert await control(client) == (Code.SESSION_PAUSED, SID)
    with pytest.raises(TransportError) as caught:
        await running.connect(token)
    assert caught.value.http_status == 401
    await running.daemon(akd="key-3")


async def test_a_revoked_key_is_refused_by_the_directory(start_relay) -> None:
    directory = Directory("d_1")
    running = await start_relay(directory=directory)
    await running.daemon(akd="key-1")
    directory.revoked.add("key-1")
    with pytest.raises(TransportError) as caught:
        await running.daemon(akd="key-1")
    assert caught.value.http_status == 401


async def test_the_tap_sees_what_is_forwarded_and_nothing_else(start_relay, control) -> None:
    seen = []

    class Tap:
        def forwarded(self, session_id: int, up: bool, frame: bytes) -> None:
            seen.append((session_id, up, frame))

    running = await start_relay(tap=Tap())
    daemon = await running.daemon()
    client = await running.client(sid=SID)
    await client.send_many([DATA, encode_ping()])
    await daemon.receive()
    await daemon.send(DATA)
    await client.receive()
    await client.receive()
    assert seen == [(SID, True, DATA), (SID, False, DATA)]


async def test_shutdown_says_going_away_and_takes_no_more(running, clock) -> None:
    daemon = await running.daemon()
    client = await running.client()
    stopping = asyncio.ensure_future(running.relay.shutdown())
    await asyncio.sleep(0)
    clock.advance(0)
    for connection in (client, daemon):
        async for _ in connection:
            pass
        assert connection.close_code == 1001
    await stopping
    with pytest.raises(TransportError) as caught:
        await running.daemon()
    assert (caught.value.http_status, caught.value.retry_after) == (503, 5)


async def test_a_fault_of_the_relay_ends_one_connection_and_is_logged(start_relay, control, caplog) -> None:
    class Broken:
        def forwarded(self, session_id: int, up: bool, frame: bytes) -> None:
            if session_id == 13:
                raise RuntimeError("broken")

    running = await start_relay(tap=Broken())
    daemon = await running.daemon()
    unlucky, other = await running.client(sid=13), await running.client(sid=5)
    await unlucky.send(encode_data(13, bytes(28)))
    assert await control(unlucky) == (Code.INTERNAL_ERROR, 0)
    with pytest.raises(TransportError) as caught:
        await unlucky.receive()
    assert caught.value.close_code == 1011
    assert await control(daemon) == (Code.SESSION_ENDED, 13)
    await other.send(encode_data(5, bytes(28)))
    assert await daemon.receive() == encode_data(5, bytes(28))
    assert "connection_failed" in caplog.messages


async def test_over_tls_the_bounds_and_the_urgent_hold_too(start_relay, control, tmp_path, clock) -> None:
    certificate, key = write_certificate(tmp_path)
    running = await start_relay(tls=server_context(certificate, key))
    running.url = f"wss://127.0.0.1:{running.port}/"
    running.ssl_context = ssl.create_default_context(cafile=str(certificate))
    daemon = await running.daemon()
    client = await running.client(sid=SID)
    frames = [encode_data(SID, bytes([n]) * 60_000) for n in range(100)]
    async with asyncio.TaskGroup() as group:
        group.create_task(daemon.send_many(frames))
        assert [await client.receive() for _ in frames] == frames
    async with asyncio.TaskGroup() as group:
        group.create_task(client.send_many(frames))
        assert [await daemon.receive() for _ in frames] == frames
    assert all(connection.keepalive.heard for connection in running.relay.connections)
    await daemon.close()
    assert await control(client) == (Code.SESSION_PAUSED, SID)
    clock.advance(61)
    assert await control(client) == (Code.SESSION_EXPIRED, SID)
