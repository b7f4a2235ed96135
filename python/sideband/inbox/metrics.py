"""Prometheus metrics of an inbox, read from its counts when scraped; no label names an address or a key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from sideband.inbox.service import Inbox

__all__ = ["InboxCollector"]


class InboxCollector(Collector):
    """Register it: `registry.register(InboxCollector(inbox))`."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    @override
    def collect(self) -> Iterable[Metric]:
        inbox = self._inbox
        answers = CounterMetricFamily(
            "sideband_inbox_answers", "Answered requests by route and status.", labels=["route", "status"]
        )
        for (route, status), count in sorted(inbox.answers.items()):
            answers.add_metric([route, str(status)], count)
        yield answers
        yield _counter("sideband_inbox_puts", "Puts by outcome.", "outcome", inbox.puts)
        yield _counter("sideband_inbox_delivered", "Messages handed out, by way.", "way", inbox.delivered)
        yield CounterMetricFamily("sideband_inbox_purged", "Expired messages taken away.", value=inbox.purged)
        bridges = GaugeMetricFamily("sideband_inbox_bridges", "Open bridge connections.", labels=["kind"])
        for kind, count in sorted(inbox.bridges.items()):
            bridges.add_metric([kind], count)
        yield bridges
        yield GaugeMetricFamily("sideband_inbox_online", "Addresses with a connection.", value=len(inbox.presence))
        yield GaugeMetricFamily(
            "sideband_inbox_pushing",
            "1 while the store tells of new messages by itself, 0 while a timer looks.",
            value=int(inbox.store.notices.pushing),
        )


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family
