"""A server, and a daemon of a program's own, for commands that run as processes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from sideband.cli.main import app
from tests.support.served_platform import SIDEBAND, Program, ServedPlatform

SECONDS = 60
QUICKER_HERE = {"call", "identity", "init", "login", "pins"}
Done = subprocess.CompletedProcess
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
def run(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Runs a command to its end, most of them in this process, which is quicker."""

    def run(*words: str, code: int = 0, stdin: str = "", env: dict[str, str] | None = None) -> Done:
        given = {**environment, **(env or {})}
        if words[:1] and words[0] in QUICKER_HERE:
            with monkeypatch.context() as patch:
                for name in os.environ:
                    patch.delenv(name)
                for name, value in given.items():
                    patch.setenv(name, value)
                patch.chdir(tmp_path)
                patch.setattr(sys, "stdin", io.StringIO(stdin))
                with pytest.raises(SystemExit) as ended:
                    app(list(words))
            done = Done(words, 0 if ended.value.code is None else int(ended.value.code), *capfd.readouterr())
        else:
            command = [*SIDEBAND, *words]
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, env=given, cwd=tmp_path, timeout=SECONDS
            )
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    return run
