"""The inbox's suite at tiny sizes: every figure is measured, none is judged."""

from pathlib import Path

from benches.suites import inbox
from sideband.bench.measuring import SuiteResult


async def test_latency_and_catching_up(tmp_path: Path) -> None:
    result = SuiteResult(tables=[])
    await inbox._latency(result, 1, 2)
    await inbox._catch_up(result, tmp_path, 120)
    assert [row[0] for row in result.tables[0].rows] == [
        "bare WebSocket push",
        "bare SSE push",
        "WebSocket",
        "SSE",
        "long-poll",
    ]
    assert set(result.samples["catching up, messages a second"]) == {"ws", "stream", "poll"}
    assert len(result.aims) == 4


async def test_rates_and_idle_clients(tmp_path: Path) -> None:
    result = SuiteResult(tables=[])
    await inbox._rates(result, tmp_path, 70)
    await inbox._idle(result, 5)
    assert {row[0] for row in result.tables[0].rows} >= {"memory", "SQLite"}
    assert len(result.tables[1].rows) == 2
