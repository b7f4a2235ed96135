from __future__ import annotations

from tests.cli.transfers.conftest import Run, events


def test_the_way_to_a_daemon_is_measured(call: Run) -> None:
    ready, calls, echo = events(call("bench", "TARGET", "--size", "300KB", "--json").stdout)
    assert (ready["event"], ready["path"]) == ("ready", "relay")
    assert calls["count"] == 100
    assert 0 < calls["p50"] <= calls["p99"]
    assert echo["bytes"] == 300_000
    assert echo["seconds"] > 0


def test_for_people(call: Run) -> None:
    shown = call("bench", "TARGET", "--size", "300KB").stdout
    assert "Path: relay\nRound trip, a call of 256 B: p50 " in shown
    assert "there and back at once" in shown
