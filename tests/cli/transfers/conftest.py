"""A server and a daemon that shares a folder, for commands that run as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from sideband.cli.main import app
from tests.support.served_platform import SIDEBAND, Program, ServedPlatform

SECONDS = 60


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPlatform]:
    with ServedPlatform(tmp_path_factory.mktemp("platform"), relay__grace_seconds="20") as platform:
        yield platform


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def daemon(platform: ServedPlatform, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    given = platform.daemon_environment("daemon")
    options = ("--share", str(shared), "--writable", "--no-codes", "--json", "--api-key-file")
    command = (*SIDEBAND, "daemon", *options, given["SIDEBAND_API_KEY_FILE"])
    with Program("daemon", command, tmp_path_factory.mktemp("daemon"), given) as daemon:
        assert json.loads(daemon.hear(""))["event"] == "ready"
        # It tells of every transfer, and would wait for a reader of a full pipe.
        reading = threading.Thread(target=lambda: deque(daemon.process.stdout or (), maxlen=0))
        reading.start()
        yield daemon
        daemon.process.send_signal(signal.SIGTERM)
        reading.join()
        daemon.finish(0)


@pytest.fixture
def environment(platform: ServedPlatform) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}
    return {**clean, **platform.client_environment("client"), "TZ": "UTC", "COLUMNS": "100"}


Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(platform: ServedPlatform, daemon: Program, environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs a command to its end; `TARGET` in its words is the daemon's id."""

    def run(*words: str, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [*SIDEBAND, *(platform.first.daemon_id if word == "TARGET" else word for word in words)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            timeout=SECONDS,
            check=False,
            **options,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def call(
    platform: ServedPlatform,
    daemon: Program,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    """Runs a command like `run`, in this process, which is quicker."""
    monkeypatch.chdir(tmp_path)
    for name in ("SIDEBAND_API_URL", "SIDEBAND_HOME", "SIDEBAND_TOKEN", "TZ", "COLUMNS"):
        monkeypatch.setenv(name, environment[name])

    def call(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        with pytest.raises(SystemExit) as ended:
            app([platform.first.daemon_id if word == "TARGET" else word for word in words])
        done = subprocess.CompletedProcess(words, 0 if ended.value.code is None else int(ended.value.code))
        done.stdout, done.stderr = capfd.readouterr()
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    return call


def events(text: str) -> list[dict[str, Any]]:
    """What `--json` printed."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all(one["v"] == 1 for one in found)
    return found
