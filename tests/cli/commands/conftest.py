"""A server, and a daemon of a program's own, for commands that run as processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.support.served_platform import SIDEBAND, Program, ServedPlatform

SECONDS = 60
Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPlatform]:
    settings = {"control__quick_connect_attempts_per_minute": "1000"}
    with ServedPlatform(tmp_path_factory.mktemp("platform"), **settings) as platform:
        yield platform


@pytest.fixture(scope="session")
def daemon(platform: ServedPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program with methods for every occasion; see daemon_role.py. It makes a code for each line it is sent."""
    role = (sys.executable, "-W", "error", str(Path(__file__).with_name("daemon_role.py")))
    given = platform.daemon_environment("daemon")
    with Program("daemon", role, tmp_path_factory.mktemp("daemon"), given) as daemon:
        daemon.hear("ready")
        yield daemon


@pytest.fixture
def new_code(daemon: Program) -> Callable[[], str]:
    """Makes a Quick Connect code that nobody has used."""

    def new_code() -> str:
        daemon.type("code")
        return daemon.hear("code ")

    return new_code


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What the command line keeps for this test; empty at first."""
    return tmp_path / "home"


@pytest.fixture
def environment(platform: ServedPlatform, home: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}
    return {**clean, "SIDEBAND_HOME": str(home), "SIDEBAND_API_URL": platform.url, "COLUMNS": "100"}


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs a command to its end."""

    def run(*words: str, code: int = 0, **more: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*SIDEBAND, *words],
            capture_output=True,
            text=True,
            env={**environment, **more.pop("env", {})},
            cwd=tmp_path,
            timeout=SECONDS,
            check=False,
            **{"stdin": subprocess.DEVNULL, **more} if "input" not in more else more,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    return run
