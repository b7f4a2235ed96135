import pytest
from pydantic import ValidationError

from sideband.relay.config import RelayConfig


def test_the_defaults_are_those_of_the_page() -> None:
    config = RelayConfig(issuer="https://control.example")
    assert (config.grace_seconds, config.pending_seconds, config.keepalive_seconds) == (60, 10, 25)
    assert (config.queue_bound_bytes, config.queue_hard_limit_bytes) == (4 * 1024 * 1024, 8 * 1024 * 1024)
    assert (config.max_sessions_per_daemon, config.upgrade_timeout_seconds, config.shutdown_seconds) == (256, 10, 30)
    assert (config.jwks_fresh_seconds, config.jwks_retry_seconds, config.slow_client_seconds) == (300, 10, 10)
    assert config.limits_by_address


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": ""},
        {"unknown": 1},
        {"token_leeway_seconds": 31},
        {"max_connections": 0},
        {"queue_bound_bytes": 9 * 1024 * 1024},
        {"transport_window_bytes": 5 * 1024 * 1024},
        {"jwks_stale_seconds": 299},
        {"shutdown_spread_seconds": 31},
        {"trusted_proxies": ["10.0.0.0/33"]},
        {"client_rates": {"messages_per_second": 0, "bytes_per_second": 1}},
        {"grace_seconds": "soon"},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RelayConfig(**{"issuer": "https://control.example", **wrong})


def test_limits_by_address_are_off_on_loopback_unless_proxies_are_trusted() -> None:
    assert not RelayConfig(issuer="x", loopback_listener=True).limits_by_address
    assert RelayConfig(issuer="x", loopback_listener=True, trusted_proxies=["127.0.0.1"]).limits_by_address
