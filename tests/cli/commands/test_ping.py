"""`ping`, with a real daemon."""

from __future__ import annotations

import json

import pytest

from tests.cli.commands.conftest import Run
from tests.support.served_platform import Program, ServedPlatform


@pytest.fixture
def target(platform: ServedPlatform, daemon: Program, environment: dict[str, str]) -> str:
    """The daemon's id, with a token for it in the environment."""
    environment["SIDEBAND_TOKEN"] = platform.first.token
    return platform.first.daemon_id


def test_ping_shows_way_round_trip_and_rate(target: str, run: Run) -> None:
    first, second, trips, rate = run("ping", target, "-n", "2", "-i", "0").stdout.splitlines()
    assert first.startswith("1: ")
    assert second.endswith(" ms by relay")
    assert trips.endswith("(min, mean, max)")
    assert rate.endswith("MB/s to the daemon, by relay")


def test_ping_tells_events(target: str, run: Run) -> None:
    done = run("ping", target, "-n", "1", "--relay-only", "--json").stdout
    ready, pong, summary = (json.loads(line) for line in done.splitlines())
    assert (ready["event"], ready["path"]) == ("ready", "relay")
    assert pong["number"] == 1
    assert pong["milliseconds"] > 0
    assert summary["milliseconds"].keys() == {"min", "mean", "max"}
    assert summary["bytes_per_second"] > 0


def test_ping_that_has_to_be_direct_fails_where_the_daemon_is_not(target: str, run: Run) -> None:
    done = run("ping", target, "--direct", code=1)
    assert "direct" in done.stderr
    assert done.stdout == ""
