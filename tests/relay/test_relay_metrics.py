import pytest
from prometheus_client import CollectorRegistry, generate_latest

from sideband._native import encode_data
from sideband.errors import SbrpErrorCode, TransportError
from sideband.relay.metrics import RelayCollector


async def test_metrics_tell_what_happened_and_never_who(running, control) -> None:
    registry = CollectorRegistry()
    registry.register(RelayCollector(running.relay))
    daemon = await running.daemon("d_secret_name")
    client = await running.client("d_secret_name", sid=0xFEED)
    await client.send_many([encode_data(0xFEED, bytes(28))] * 3)
    for _ in range(3):
        await daemon.receive()
    await daemon.send(encode_data(0xFEED, bytes(100)))
    await client.receive()
    await daemon.send(encode_data(0xBEEF, bytes(28)))
    await control(daemon)
    value = registry.get_sample_value
    assert value("sideband_relay_connections", {"role": "client"}) == 1
    assert value("sideband_relay_connections", {"role": "daemon"}) == 1
    assert value("sideband_relay_sessions", {"state": "paired"}) == 1
    assert value("sideband_relay_sessions", {"state": "paused"}) == 0
    assert value("sideband_relay_frames_total", {"direction": "up"}) == 3
    assert value("sideband_relay_bytes_total", {"direction": "up"}) == 3 * 41
    assert value("sideband_relay_frames_total", {"direction": "down"}) == 1
    assert value("sideband_relay_bytes_total", {"direction": "down"}) == 113
    assert value("sideband_relay_control_sent_total", {"code": "session_ended"}) == 1
    assert value("sideband_relay_frames_dropped_total", {"reason": "session_not_open"}) == 1
    assert value("sideband_relay_upgrades_accepted_total", {"role": "client"}) == 1
    assert (value("sideband_relay_queue_high_water_bytes", {"role": "client"}) or 0) > 0
    assert value("sideband_relay_event_loop_lag_seconds") == 0
    text = generate_latest(registry).decode()
    assert "d_secret_name" not in text
    assert "127.0.0.1" not in text
    await client.close()
    await running.until(lambda: len(running.relay.connections) == 1)
    assert value("sideband_relay_frames_total", {"direction": "up"}) == 3
    assert value("sideband_relay_connections", {"role": "client"}) == 0


async def test_a_pause_shows_in_the_states_and_the_daemons_queue_in_its_high_water(running, control) -> None:
    registry = CollectorRegistry()
    registry.register(RelayCollector(running.relay))
    value = registry.get_sample_value
    daemon = await running.daemon()
    client = await running.client(sid=1)
    await client.send(encode_data(1, bytes(28)))
    await daemon.receive()
    assert (value("sideband_relay_queue_high_water_bytes", {"role": "daemon"}) or 0) > 0
    await daemon.close()
    assert await control(client) == (SbrpErrorCode.SESSION_PAUSED, 1)
    assert value("sideband_relay_sessions", {"state": "paused"}) == 1
    await client.send(encode_data(1, bytes(28)))
    await running.until(lambda: value("sideband_relay_frames_dropped_total", {"reason": "client_while_paused"}) == 1)
    await running.daemon()
    assert await control(client) == (SbrpErrorCode.SESSION_PENDING, 1)
    assert value("sideband_relay_sessions", {"state": "paused"}) == 0
    assert value("sideband_relay_sessions", {"state": "pending"}) == 1


async def test_event_loop_lag_is_the_worst_since_the_last_scrape(running, clock) -> None:
    registry = CollectorRegistry()
    registry.register(RelayCollector(running.relay))
    clock.now += 3.0
    clock.advance(0)
    clock.advance(1)
    assert registry.get_sample_value("sideband_relay_event_loop_lag_seconds") == 2.0
    assert registry.get_sample_value("sideband_relay_event_loop_lag_seconds") == 0.0


async def test_refusals_are_counted_by_reason(running) -> None:
    registry = CollectorRegistry()
    registry.register(RelayCollector(running.relay))
    for token in (running.issuer.daemon(aud="x"), running.issuer.client(scp=[])):
        with pytest.raises(TransportError):
            await running.connect(token)
    value = registry.get_sample_value
    assert value("sideband_relay_upgrades_refused_total", {"reason": "wrong_audience"}) == 1
    assert value("sideband_relay_upgrades_refused_total", {"reason": "missing_scope"}) == 1


async def test_logs_name_nobody_above_debug_and_hold_no_token(running, caplog) -> None:
    caplog.set_level("DEBUG", logger="sideband")
    token = running.issuer.daemon("d_secret_name")
    await running.connect(token)
    await running.until(lambda: running.relay.is_online("d_secret_name"))
    for record in caplog.records:
        text = str(record.__dict__)
        assert token not in text
        assert record.levelname == "DEBUG" or "d_secret_name" not in text
    assert "daemon_connected" in caplog.messages
