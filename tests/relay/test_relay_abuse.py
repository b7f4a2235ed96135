"""Clients and daemons that misbehave: the relay stays up, stays inside its bounds, and other sessions go on."""

import asyncio
import gc
import tracemalloc

import pytest
from prometheus_client import CollectorRegistry

from sideband._native import encode_data, encode_handshake_init, encode_ping, encode_pong, encode_signal
from sideband.errors import SbrpErrorCode as Code
from sideband.relay.metrics import RelayCollector
from sideband.relay.table import DropReason
from sideband.transport import Connection
from tests.support.raw_websocket import masked, raw_peer

KIB = 1024
TIGHT = {
    "queue_bound_bytes": 512 * KIB,
    "queue_hard_limit_bytes": 1024 * KIB,
    "transport_window_bytes": 64 * KIB,
}


async def test_a_client_that_never_reads_is_cut_and_the_others_go_on(start_relay, control) -> None:
    running = await start_relay(**TIGHT)
    daemon = await running.daemon()
    other = await running.client(sid=2)
    frame = encode_data(1, bytes(60_000))
    async with raw_peer(running, running.issuer.client(sid=1), receive_buffer=4 * KIB):
        await running.until(lambda: len(running.relay.snapshot().sessions) == 2)
        connection = running.relay.table.session(1).client
        worst = 0
        while running.relay.table.session(1) is not None:
            await daemon.send(frame)
            await daemon.send(encode_data(2, bytes(28)))
            assert await other.receive() == encode_data(2, bytes(28))
            worst = max(worst, connection.outlet.queued_bytes)
        assert worst <= 1024 * KIB
        assert connection.outlet.high_water_bytes <= 1024 * KIB
        assert await control(daemon) == (Code.SESSION_ENDED, 1)
        assert running.relay.stats.control_sent[Code.BACKPRESSURE] == 1
        await daemon.send(encode_data(2, bytes(29)))
        assert await other.receive() == encode_data(2, bytes(29))
        assert connection in running.relay.connections
        running.clock.advance(5)
        await running.until(lambda: connection not in running.relay.connections)


async def fill(running, daemon, session_id: int, size: int) -> None:
    """Let the daemon send until the client's queue holds at least `size`."""
    outlet = running.relay.table.session(session_id).client.outlet
    while outlet.queued_bytes <= size:
        await daemon.send(encode_data(session_id, bytes(20_000)))
        await running.settle(daemon)


async def test_ten_seconds_over_the_bound(start_relay, control, clock) -> None:
    running = await start_relay(**TIGHT)
    daemon = await running.daemon()
    async with raw_peer(running, running.issuer.client(sid=1), receive_buffer=4 * KIB):
        await running.until(lambda: running.relay.table.session(1))
        await fill(running, daemon, 1, 520 * KIB)
        clock.advance(9.9)
        await running.settle(daemon)
        assert running.relay.table.session(1) is not None
        clock.advance(0.2)
        assert await control(daemon) == (Code.SESSION_ENDED, 1)
        assert running.relay.stats.control_sent[Code.BACKPRESSURE] == 1


async def test_a_slow_client_that_catches_up_stays(start_relay, clock) -> None:
    running = await start_relay(**TIGHT)
    daemon = await running.daemon()
    async with raw_peer(running, running.issuer.client(sid=1), receive_buffer=4 * KIB) as client:
        await running.until(lambda: running.relay.table.session(1))
        await fill(running, daemon, 1, 520 * KIB)
        sent = running.relay.table.session(1).client.frames_down
        clock.advance(9)
        frames = 0
        while frames < sent:
            first, payload = await client.frame()
            frames += (first, len(payload)) == (0x82, 20_013)
        clock.advance(9)
        await running.settle(daemon)
        assert running.relay.table.session(1) is not None
        assert clock.pending > 0


async def test_a_daemon_that_does_not_read_stops_its_clients_and_loses_nothing(start_relay) -> None:
    running = await start_relay(**TIGHT)
    frames = 200
    async with raw_peer(running, running.issuer.daemon(), receive_buffer=4 * KIB) as daemon:
        await running.until(lambda: running.relay.is_online("d_1"))
        clients = [await running.client(sid=sid) for sid in (1, 2, 3)]

        async def send_all(sid: int, client: Connection) -> None:
            await client.send_many(encode_data(sid, n.to_bytes(4, "big") * 10_000) for n in range(frames))

        sending = [asyncio.create_task(send_all(sid, client)) for sid, client in enumerate(clients, 1)]
        connections = [running.relay.table.session(sid).client for sid in (1, 2, 3)]
        await running.until(lambda: not any(connection.reading for connection in connections))
        outlet = running.relay.table.daemon("d_1").connection.outlet
        assert outlet.over_bound
        assert outlet.queued_bytes <= (512 + 64) * KIB
        seen = {1: 0, 2: 0, 3: 0}
        while sum(seen.values()) < 3 * frames:
            first, payload = await daemon.frame()
            if first != 0x82 or payload[0] != 3:
                continue
            sid = int.from_bytes(payload[5:13], "big")
            assert payload[13:17] == seen[sid].to_bytes(4, "big")
            seen[sid] += 1
        assert outlet.high_water_bytes <= (512 + 64) * KIB
        await asyncio.gather(*sending)
        assert running.relay.table.dropped == {}


async def test_clients_that_are_held_back_keep_little_of_what_they_send(start_relay) -> None:
    running = await start_relay(**TIGHT)
    async with raw_peer(running, running.issuer.daemon(), receive_buffer=4 * KIB):
        await running.until(lambda: running.relay.is_online("d_1"))
        clients = [await running.client(sid=sid) for sid in (1, 2, 3)]
        connections = [running.relay.table.session(sid).client for sid in (1, 2, 3)]
        sending = [
            asyncio.create_task(client.send_many([encode_data(sid, bytes(65_536))] * 300))
            for sid, client in enumerate(clients, 1)
        ]
        await running.until(lambda: not any(connection.reading for connection in connections))
        assert all(connection.receiver.held_bytes <= 2 * 65_563 for connection in connections)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)


async def test_clients_held_back_are_let_go_when_their_daemon_is_lost(start_relay, control) -> None:
    running = await start_relay(**TIGHT)
    async with raw_peer(running, running.issuer.daemon(), receive_buffer=4 * KIB) as daemon:
        await running.until(lambda: running.relay.is_online("d_1"))
        client = await running.client(sid=1)
        connection = running.relay.table.session(1).client
        async with asyncio.TaskGroup() as group:
            group.create_task(client.send_many(encode_data(1, bytes(40_000)) for _ in range(300)))
            await running.until(lambda: not connection.reading)
            daemon.writer.transport.abort()
            assert await control(client) == (Code.SESSION_PAUSED, 1)
        await running.settle(client)
        assert running.relay.table.dropped[DropReason.CLIENT_WHILE_PAUSED] > 0


async def test_the_clock_of_a_client_stands_while_it_is_not_read(start_relay, clock) -> None:
    running = await start_relay(**TIGHT)
    async with raw_peer(running, running.issuer.daemon(), receive_buffer=4 * KIB) as daemon:
        await running.until(lambda: running.relay.is_online("d_1"))
        client = await running.client(sid=1)
        connection = running.relay.table.session(1).client
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(client.send_many(encode_data(1, bytes(40_000)) for _ in range(300)))
            await running.until(lambda: not connection.reading)
            link = running.relay.table.daemon("d_1").connection
            for _ in range(30):
                daemon.writer.write(masked(encode_pong()))
                await running.until(lambda: link.keepalive.heard)
                clock.advance(10)
            assert not connection.closing
            sending.cancel()


async def test_a_client_that_is_not_read_sees_that_the_relay_lives(start_relay, clock) -> None:
    running = await start_relay(**TIGHT)
    async with (
        raw_peer(running, running.issuer.daemon(), receive_buffer=4 * KIB),
        raw_peer(running, running.issuer.client(sid=1)) as client,
    ):
        await running.until(lambda: running.relay.table.session(1))
        connection = running.relay.table.session(1).client
        client.writer.write(masked(encode_data(1, bytes(40_000))) * 300 + masked(b"?", 0x89))
        await running.until(lambda: not connection.reading)
        for _ in range(20):
            clock.advance(1)
            assert await client.frame() == (0x8A, b"")
        assert not connection.reading


async def test_a_client_that_never_sends_is_given_up_after_two_pings(running, control, clock) -> None:
    daemon = await running.daemon()
    async with raw_peer(running, running.issuer.client(sid=1)) as client:
        await running.until(lambda: running.relay.table.session(1))
        for _ in range(2):
            clock.advance(25)
            assert await client.frame() == (0x89, b"")
            await running.settle(daemon)
        clock.advance(25)
        assert await client.close_code() == 1001
        while await control(daemon) != (Code.SESSION_ENDED, 1):
            pass


async def test_a_daemon_is_pinged_by_sbrp(running, clock) -> None:
    async with raw_peer(running, running.issuer.daemon()) as daemon:
        await running.until(lambda: running.relay.is_online("d_1"))
        clock.advance(25)
        assert await daemon.frame() == (0x82, encode_ping())


async def test_one_byte_a_second_keeps_a_connection_alive_and_costs_nobody(running, clock) -> None:
    daemon = await running.daemon()
    async with raw_peer(running, running.issuer.client(sid=1)) as client:
        await running.until(lambda: running.relay.table.session(1))
        connection = running.relay.table.session(1).client
        wire = masked(encode_data(1, bytes(28)))
        for n in range(len(wire)):
            clock.advance(20)
            client.writer.write(wire[n : n + 1])
            await running.until(lambda: connection.keepalive.heard)
            await daemon.send(encode_pong())
        while (frame := await daemon.receive()) == encode_ping():
            pass
        assert frame == encode_data(1, bytes(28))


async def test_text_is_1003(running, control) -> None:
    daemon = await running.daemon()
    async with raw_peer(running, running.issuer.client(sid=1)) as client:
        client.writer.write(masked(b"hello", 0x81))
        assert await client.close_code() == 1003
        assert await control(daemon) == (Code.SESSION_ENDED, 1)
        client.writer.write(masked(encode_data(1, bytes(28))))
        client.writer.write(masked(b"", 0x88))
        assert await client.rest() == b""
    await running.settle(daemon)
    assert running.relay.stats.traffic([]).frames_up == 0


@pytest.mark.parametrize("size", [65_549, 65_550])
async def test_the_largest_message_at_its_edge(running, size: int) -> None:
    daemon = await running.daemon()
    frame = encode_data(1, bytes(65_536)) + bytes(size - 65_549)
    async with raw_peer(running, running.issuer.client(sid=1)) as client:
        client.writer.write(masked(frame))
        if size == 65_549:
            assert await daemon.receive() == frame
        else:
            assert await client.close_code() == 1009


async def test_a_message_in_fragments_counts_as_a_whole(running) -> None:
    daemon = await running.daemon()
    frame = encode_data(1, bytes(100))
    async with raw_peer(running, running.issuer.client(sid=1)) as client:
        client.writer.write(masked(frame[:50], 0x02) + masked(b"", 0x00) + masked(frame[50:], 0x80))
        assert await daemon.receive() == frame
        for _ in range(4):
            client.writer.write(masked(bytes(20_000), 0x02 if _ == 0 else 0x00))
        assert await client.close_code() == 1009


async def test_64_kib_frames_to_a_paused_daemon_are_read_dropped_and_counted(running, control) -> None:
    daemon = await running.daemon()
    client = await running.client(sid=1)
    await daemon.close()
    assert await control(client) == (Code.SESSION_PAUSED, 1)
    for _ in range(200):
        await client.send(encode_data(1, bytes(65_536)))
    await running.settle(client)
    assert running.relay.table.dropped == {DropReason.CLIENT_WHILE_PAUSED: 200}
    (connection,) = running.relay.connections
    assert connection.outlet.high_water_bytes < KIB


async def test_a_thousand_connections_that_are_opened_and_dropped(running, control) -> None:
    daemon = await running.daemon()
    client = await running.client(sid=1)

    async def knock(n: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        if n % 2:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        writer.transport.abort()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        assert reader.at_eof() or reader.exception()

    async def thousand() -> None:
        for start in range(0, 800, 100):
            await asyncio.gather(*(knock(n) for n in range(start, start + 100)))
        for _ in range(200):
            async with raw_peer(running, running.issuer.client()):
                pass
        await running.until(lambda: len(running.relay.connections) == 2)

    registry = CollectorRegistry()
    registry.register(RelayCollector(running.relay))
    value = registry.get_sample_value
    await thousand()
    gc.collect()
    tracemalloc.start()
    try:
        await thousand()
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # 200 connections that were not forgotten would hold 900 KiB besides what the test's own side of them leaves.
    assert kept < 800 * KIB
    assert len(running.relay.snapshot().sessions) == 1
    assert value("sideband_relay_upgrades_accepted_total", {"role": "client"}) == 401
    assert value("sideband_relay_connections", {"role": "client"}) == 1
    assert value("sideband_relay_sessions", {"state": "paired"}) == 1
    await client.send(encode_data(1, bytes(28)))
    while await daemon.receive() != encode_data(1, bytes(28)):
        pass


async def test_a_daemon_that_replaces_itself_again_and_again(running, control) -> None:
    async with raw_peer(running, running.issuer.daemon()):
        await running.until(lambda: running.relay.is_online("d_1"))
        client = await running.client(sid=1)
        for _ in range(50):
            async with raw_peer(running, running.issuer.daemon()):
                pass
    last = await running.daemon()
    await running.until(lambda: len(running.relay.connections) == 2)
    assert await control(last) == (Code.SESSION_PENDING, 1)
    await last.send(encode_signal(1, 0))
    while await control(client) != (Code.SESSION_RESUMED, 1):
        pass
    await client.send(encode_data(1, bytes(28)))
    assert await last.receive() == encode_data(1, bytes(28))


async def test_a_flood_of_pings_whose_pongs_are_not_read(start_relay) -> None:
    running = await start_relay(**TIGHT)
    await running.daemon()
    for wire in (masked(encode_ping(b"12345678")), masked(b"x" * 125, 0x89)):
        async with raw_peer(running, running.issuer.client(), receive_buffer=4 * KIB) as client:
            before = running.relay.stats.control_sent[Code.BACKPRESSURE]
            while running.relay.stats.control_sent[Code.BACKPRESSURE] == before:
                client.writer.write(wire * 1000)
                await asyncio.sleep(0)
            assert max(c.outlet.queued_bytes for c in running.relay.connections) <= 1024 * KIB


async def test_a_flood_of_frames_for_closed_sessions_whose_answers_are_not_read(running) -> None:
    async with raw_peer(running, running.issuer.daemon(), receive_buffer=4 * KIB) as daemon:
        await running.until(lambda: running.relay.is_online("d_1"))
        for sid in range(1, 3001):
            daemon.writer.write(masked(encode_data(sid, bytes(28))))
        await running.until(lambda: running.relay.table.dropped[DropReason.SESSION_NOT_OPEN] == 3000)
        assert running.relay.stats.control_sent[Code.SESSION_ENDED] == 1024


async def test_bytes_piped_behind_the_upgrade_are_frames_and_nothing_else(running) -> None:
    daemon = await running.daemon()
    frame = encode_handshake_init(1, bytes(32))
    async with raw_peer(running, running.issuer.client(sid=1), behind=masked(frame)):
        assert await daemon.receive() == frame
    token = running.issuer.client(sid=2)
    async with raw_peer(running, token, behind=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        rest = await client.rest()
        assert b"HTTP/1.1" not in rest
        assert rest.startswith(b"\x88")


async def test_compression_offered_is_not_taken(running) -> None:
    await running.daemon()
    extra = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    async with raw_peer(running, running.issuer.client(), extra=extra) as client:
        assert b"extensions" not in client.head.lower()


@pytest.mark.parametrize("bits", [0x40, 0x20, 0x10])
async def test_rsv_bits_are_1002(running, control, bits: int) -> None:
    daemon = await running.daemon()
    async with raw_peer(running, running.issuer.client(sid=1)) as client:
        client.writer.write(masked(encode_data(1, bytes(28)), 0x82 | bits))
        assert await client.close_code() == 1002
        assert await control(daemon) == (Code.SESSION_ENDED, 1)


@pytest.mark.parametrize(("sent", "answered"), [(b"", 1000), (b"\x03\xe8bye", 1000), (b"\x10\xe1", 4321)])
async def test_a_close_is_answered_with_its_code(running, control, sent: bytes, answered: int) -> None:
    daemon = await running.daemon()
    async with raw_peer(running, running.issuer.client(sid=1)) as client:
        client.writer.write(masked(sent, 0x88))
        assert await client.close_code() == answered
        assert await client.rest() == b""
        assert await control(daemon) == (Code.SESSION_ENDED, 1)


async def test_a_client_that_leaves_without_a_word(running, control) -> None:
    daemon = await running.daemon()
    async with raw_peer(running, running.issuer.client(sid=1)):
        await running.until(lambda: running.relay.table.session(1))
    assert await control(daemon) == (Code.SESSION_ENDED, 1)


async def test_a_client_that_does_not_answer_the_close_is_cut(running, clock) -> None:
    await running.daemon()
    async with raw_peer(running, running.issuer.client(sid=1)) as client:
        await running.until(lambda: running.relay.table.session(1))
        running.relay.kick_session(1)
        assert await client.close_code() == 1000
        assert len(running.relay.connections) == 2
        clock.advance(5)
        assert await client.rest() == b""
        await running.until(lambda: len(running.relay.connections) == 1)


async def test_shutdown_cuts_who_does_not_go(running, clock) -> None:
    await running.daemon()
    async with raw_peer(running, running.issuer.client(sid=1), receive_buffer=4 * KIB):
        await running.until(lambda: running.relay.table.session(1))
        stopping = asyncio.ensure_future(running.relay.shutdown())
        await asyncio.sleep(0)
        clock.advance(0)
        clock.advance(30)
        await stopping
        assert not running.relay.connections
