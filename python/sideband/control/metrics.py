"""Prometheus metrics of a control plane; no label names a daemon, user or address."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from sideband.control.plane import ControlPlane

__all__ = ["ControlCollector"]


class ControlCollector(Collector):
    """Register it: `registry.register(ControlCollector(plane))`."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    @override
    def collect(self) -> Iterable[Metric]:
        answers = CounterMetricFamily(
            "sideband_control_answers", "Answered API calls by procedure and status.", labels=["procedure", "status"]
        )
        for (procedure, status), count in sorted(self._plane.answers.items()):
            answers.add_metric([procedure, str(status)], count)
        yield answers
        yield GaugeMetricFamily(
            "sideband_control_signing_keys", "Published signing keys.", value=len(self._plane.keys.published())
        )
        yield GaugeMetricFamily(
            "sideband_control_redeem_addresses",
            "Addresses whose Quick Connect attempts are remembered.",
            value=len(self._plane.redeem_attempts),
        )
