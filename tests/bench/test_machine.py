"""Everything runs at a tiny size; how fast it is is nobody's business here."""

import json

import pytest

from sideband.bench import sealing
from sideband.bench.machine import percentile, through_relay
from sideband.bench.processes import MEASURES_PROCESSES, started
from sideband.bench.sealing import OPENSSL, OURS, OURS_BATCH, PURE
from sideband.cli.main import app
from sideband.errors import ProcessError

QUICK = ("bench", "--size", "200KB", "--seconds", "0.001")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pure Python takes 60 ms for a frame of 64 KiB."""
    monkeypatch.setattr(sealing, "SIZES", (64, 100))


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        app(words)
    return 0 if ended.value.code is None else int(ended.value.code)


def test_figures_for_programs(small: None, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*QUICK, "--json") == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [one["event"] for one in events] == ["ready", *["sealing"] * 4, "stream", "stream", "calls"]
    for one in events[1:5]:
        assert set(one["seconds"]) == {OURS, OURS_BATCH, OPENSSL, PURE}
        assert min(one["seconds"].values()) > 0
    assert [one["direction"] for one in events[5:7]] == ["client to daemon", "daemon to client"]
    for one in events[5:7]:
        assert one["bytes"] == 200_000
        assert min(one["bytes_a_second"]) > 0
        assert set(one["cpu_seconds"]) == ({"client", "relay", "daemon"} if MEASURES_PROCESSES else set())
    assert 0 < events[-1]["p50"] <= events[-1]["p99"]


def test_figures_for_people(small: None, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*QUICK) == 0
    shown = capfd.readouterr().out
    for text in ("100", "over cryptography", "Cipher: ", "client to daemon", "Call of 256 B through the relay: p50"):
        assert text in shown


@pytest.mark.parametrize("size", ["0B", "much", "-1KiB"])
def test_a_size_that_is_none_is_refused(size: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("bench", f"--size={size}") == 2
    assert "size" in capfd.readouterr().err


def test_a_process_that_does_not_start_is_named() -> None:
    with (
        pytest.raises(ProcessError, match="the relay did not start"),
        started("relay", "sideband.bench.no_such_module"),
    ):
        pass


def test_a_process_that_ends_instead_of_answering_is_named() -> None:
    with through_relay() as path, pytest.raises(ProcessError, match="the client ended instead of answering"):
        path.processes["client"].ask("dance")


@pytest.mark.parametrize(("share", "found"), [(0.0, 1), (0.5, 2), (0.75, 3), (0.99, 4), (1.0, 4)])
def test_percentiles_are_values_that_were_measured(share: float, found: float) -> None:
    assert percentile([4, 2, 1, 3], share) == found
