"""Commands whose sessions leave the relay: a daemon with `--direct` and its clients, each a process."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.served_platform import SIDEBAND, Program, ServedPlatform

SECONDS = 60
CONTENT = bytes(range(256)) * 8192
Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPlatform]:
    with ServedPlatform(tmp_path_factory.mktemp("platform")) as platform:
        yield platform


@pytest.fixture(scope="module")
def daemon(platform: ServedPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "shared").mkdir()
    (folder / "shared" / "file").write_bytes(CONTENT)
    given = platform.daemon_environment("daemon")
    options = ("--direct", "--share", "shared", "--writable", "--no-codes", "--json", "--api-key-file")
    with Program("daemon", (*SIDEBAND, "daemon", *options, given["SIDEBAND_API_KEY_FILE"]), folder, given) as program:
        assert json.loads(program.hear(""))["event"] == "ready"
        yield program


@pytest.fixture
def run(platform: ServedPlatform, daemon: Program, tmp_path: Path) -> Run:
    """Runs a command with `--json` against the daemon, and returns its events."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}
    environment = {**clean, **platform.client_environment("client")}

    def run(command: str, *words: str, code: int = 0, **more: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [*SIDEBAND, command, platform.first.daemon_id, *words, "--json"],
            capture_output=True,
            text=True,
            env={**environment, **more},
            cwd=tmp_path,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.mark.parametrize(("way", "path"), [("--direct", "direct:"), ("--relay-only", "relay")])
def test_a_file_comes_by_the_way_that_was_asked_for(run: Run, tmp_path: Path, way: str, path: str) -> None:
    ready, *_, done = run("get", "file", way)
    assert ready["path"].startswith(path)
    assert (done["event"], done["size"]) == ("done", len(CONTENT))
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(("way", "path"), [("--direct", "direct:"), ("--relay-only", "relay")])
def test_a_file_goes_by_the_way_that_was_asked_for(
    run: Run, tmp_path: Path, daemon: Program, way: str, path: str
) -> None:
    (tmp_path / way).write_bytes(CONTENT)
    ready, *_, done = run("put", f"./{way}", way)
    assert ready["path"].startswith(path)
    assert (done["event"], done["size"]) == ("done", len(CONTENT))


def test_ping_tells_the_way_the_round_trip_and_the_rate(run: Run) -> None:
    ready, first, second, summary = run("ping", "-n", "2", "-i", "0", "--direct")
    assert all(one["path"].startswith("direct:") for one in (ready, first, second, summary))
    assert min(first["milliseconds"], second["milliseconds"], summary["bytes_per_second"]) > 0


def test_a_wrong_server_is_told_before_anything_is_sent(run: Run) -> None:
    assert [one["event"] for one in run("ping", code=2, SIDEBAND_ICE_SERVERS="stun.example:3478")] == ["error"]
