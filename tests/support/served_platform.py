"""`sideband serve` as a process with accounts in its store, and programs that use it as processes of their own."""

from __future__ import annotations

import builtins
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
SIDEBAND = (sys.executable, "-W", "error", "-m", "sideband")
END_SECONDS = 60
_FAULTS = (
    "never retrieved",
    "never awaited",
    "Unclosed",
    "ResourceWarning",
    "xception in callback",
    "Exception ignored",
)


class Program:
    """A Python program that runs until it is told to end; what it writes to standard error goes to a file.

    Attributes:
        said: the lines of its standard output so far.
    """

    def __init__(self, name: str, command: tuple[str, ...], folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.said: list[str] = []
        self._errors = folder / f"{name}.stderr"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=folder,
                env={**_clean_environment(), **environment},
            )

    def hear(self, beginning: str) -> str:
        """Wait for a line that begins so, and return the rest of it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if line.startswith(beginning):
                return self.said[-1].removeprefix(beginning).strip()
        raise AssertionError(f"{self.name} ended; it said {self.said} and {self.errors()!r}, not {beginning!r}")

    def type(self, line: str) -> None:
        """Send a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def interrupt(self) -> None:
        """End it by Ctrl-C, and see that it ends well."""
        self.process.send_signal(signal.SIGINT)
        self.finish()

    def finish(self, code: int = 0) -> list[str]:
        """Wait for its end, see that it has the expected exit code and left no fault; return all that it said."""
        out, _ = self.process.communicate(timeout=END_SECONDS)
        self.said += out.splitlines()
        assert self.process.returncode == code, f"{self.name}: {self.errors()}"
        faults = [line for line in self.errors().splitlines() if any(fault in line for fault in _FAULTS)]
        assert faults == []
        return self.said

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.communicate()

    def errors(self) -> str:
        """What it wrote to standard error."""
        return self._errors.read_text("utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: builtins.type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


@dataclass(frozen=True)
class Credentials:
    """A user and a daemon that it may reach."""

    account: str
    token: str
    daemon_id: str
    api_key: str


class ServedPlatform:
    """A control plane and a relay in one process, on a free port of loopback.

    Attributes:
        url: of the control plane.
        first: a user and a daemon.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.url = ""
        self._folder = folder
        self._data = folder / "server"
        self._settings = {f"SIDEBAND_SERVER_{name.upper()}": value for name, value in settings.items()}
        self._stack = ExitStack()
        made = self._admin("bootstrap")
        self.first = Credentials(made["accountId"], made["token"], made["daemonId"], made["apiKey"])

    def add_daemon(self) -> Credentials:
        """Make another daemon for the same account."""
        made = self._admin("daemon", "create", self.first.account)
        return Credentials(self.first.account, self.first.token, made["id"], made["apiKey"])

    def daemon_environment(self, home: str, who: Credentials | None = None) -> dict[str, str]:
        """Return what a daemon needs, with its key in a file."""
        who = who or self.first
        folder = self._home(home)
        key = folder / "api-key"
        key.touch(mode=0o600)
        key.write_text(who.api_key + "\n", "utf-8")
        return {
            "SIDEBAND_API_URL": self.url,
            "SIDEBAND_API_KEY_FILE": str(key),
            "SIDEBAND_HOME": str(folder),
        }

    def client_environment(self, home: str, *, code: str | None = None) -> dict[str, str]:
        """Return what a client needs: the user's token, or a Quick Connect code and nothing else."""
        common = {"SIDEBAND_API_URL": self.url, "SIDEBAND_HOME": str(self._home(home))}
        if code is not None:
            return {**common, "SIDEBAND_CODE": code}
        return {**common, "SIDEBAND_TOKEN": self.first.token, "SIDEBAND_DAEMON": self.first.daemon_id}

    @contextmanager
    def running(self, name: str, script: str, *arguments: str, **environment: str) -> Iterator[Program]:
        """Run an example until the block ends."""
        command = (sys.executable, "-W", "error", str(ROOT / "examples" / script), *arguments)
        with Program(name, command, self._folder, environment) as program:
            yield program

    def __enter__(self) -> Self:
        command = (*SIDEBAND, "serve", "--port", "0", "--no-private", "--json", "--data-dir", str(self._data))
        server = self._stack.enter_context(Program("server", command, self._folder, self._settings))
        self.url = json.loads(server.hear(""))["url"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _home(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def _admin(self, *words: str) -> dict[str, Any]:
        command = [*SIDEBAND, "admin", *words, "--data-dir", str(self._data), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=_clean_environment(), check=False)
        assert done.returncode == 0, done.stderr
        made: dict[str, Any] = json.loads(done.stdout)
        return made


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}
