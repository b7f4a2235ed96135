"""Prometheus metrics of a relay, read from its counts when scraped; no label names a daemon, user or address."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from sideband.relay.table import SessionState

if TYPE_CHECKING:
    from sideband.relay.core import Relay

__all__ = ["RelayCollector"]

_OPEN_STATES = (SessionState.PAIRED, SessionState.PAUSED, SessionState.PENDING)


class RelayCollector(Collector):
    """Register it: `registry.register(RelayCollector(relay))`."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    @override
    def collect(self) -> Iterable[Metric]:
        relay = self._relay
        roles = [connection.token.role for connection in relay.connections]
        yield _gauge(
            "sideband_relay_connections",
            "Open connections.",
            "role",
            {role: roles.count(role) for role in ("client", "daemon")},
        )
        states = relay.table.count()
        yield _gauge(
            "sideband_relay_sessions",
            "Open sessions by state.",
            "state",
            {state.value: states[state] for state in _OPEN_STATES},
        )
        traffic = relay.stats.traffic(relay.connections)
        yield _counter(
            "sideband_relay_frames",
            "Forwarded frames; up is client to daemon.",
            "direction",
            {"up": traffic.frames_up, "down": traffic.frames_down},
        )
        yield _counter(
            "sideband_relay_bytes",
            "Forwarded bytes, frame headers included.",
            "direction",
            {"up": traffic.bytes_up, "down": traffic.bytes_down},
        )
        stats = relay.stats
        yield _counter("sideband_relay_upgrades_accepted", "Accepted upgrades.", "role", stats.accepted)
        yield _counter("sideband_relay_upgrades_refused", "Refused upgrades by reason.", "reason", stats.refused)
        yield _counter(
            "sideband_relay_control_sent",
            "Control frames sent by code.",
            "code",
            {code.value: count for code, count in stats.control_sent.items()},
        )
        yield _counter(
            "sideband_relay_frames_dropped",
            "Frames that were not forwarded by reason.",
            "reason",
            {reason.value: count for reason, count in relay.table.dropped.items()},
        )
        yield _gauge(
            "sideband_relay_queue_high_water_bytes",
            "Longest outgoing queue since the start.",
            "role",
            stats.high_water(relay.connections),
        )
        yield GaugeMetricFamily(
            "sideband_relay_event_loop_lag_seconds",
            "How late the event loop ran a timer, at worst since the last scrape.",
            value=stats.take_worst_lag(),
        )


def _gauge(name: str, text: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _counter(name: str, text: str, label: str, values: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
