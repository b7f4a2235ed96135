"""Rates of clients and daemons: who is over his is slowed and told once, and nothing is lost."""

from sideband._native import encode_data
from sideband.errors import SbrpErrorCode as Code


async def test_over_its_rate_a_client_is_slowed_and_told_once_and_nothing_is_lost(start_relay, control, clock) -> None:
    rates = {"messages_per_second": 10, "bytes_per_second": 1e9, "burst_seconds": 1}
    running = await start_relay(loopback_listener=False, client_rates=rates)
    daemon = await running.daemon()
    client = await running.client(sid=1)
    await client.send_many(encode_data(1, bytes([n]) * 28) for n in range(30))
    for n in range(11):
        assert await daemon.receive() == encode_data(1, bytes([n]) * 28)
    assert await control(client) == (Code.RATE_LIMITED, 0)
    await running.settle(daemon)
    connection = running.relay.table.session(1).client
    for n in range(11, 30):
        await running.until(lambda: not connection.reading)
        clock.advance(0.11)
        assert await daemon.receive() == encode_data(1, bytes([n]) * 28)
    assert running.relay.stats.control_sent[Code.RATE_LIMITED] <= 3


async def test_bytes_per_second_of_a_daemon(start_relay, control, clock) -> None:
    rates = {"messages_per_second": 1e9, "bytes_per_second": 100_000, "burst_seconds": 1}
    running = await start_relay(loopback_listener=False, daemon_rates=rates)
    daemon = await running.daemon()
    client = await running.client(sid=1)
    await daemon.send_many(encode_data(1, bytes(50_000)) for _ in range(4))
    for _ in range(2):
        await client.receive()
    assert await control(daemon) == (Code.RATE_LIMITED, 0)
    link = running.relay.table.daemon("d_1").connection
    for _ in range(2):
        await running.until(lambda: not link.reading)
        clock.advance(1)
        await client.receive()


async def test_no_rates_on_a_loopback_listener(running) -> None:
    daemon = await running.daemon()
    client = await running.client(sid=1)
    assert all(connection.meter is None for connection in running.relay.connections)
    await client.send_many(encode_data(1, bytes(28)) for _ in range(2000))
    for _ in range(2000):
        await daemon.receive()
