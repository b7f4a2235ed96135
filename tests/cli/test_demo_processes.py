"""The demo as its user runs it: real processes, real sockets, real signals."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

COMMAND = [sys.executable, "-c", "from sideband.cli.main import main; main()", "demo"]
DONE_KEYS = {
    *("v", "event", "ok", "bytes", "frames", "upload_mb_s", "download_mb_s"),
    *("handshake_ms", "fingerprint", "sha256_match", "relay_saw_plaintext"),
}


class Demo:
    """A running demo, its temporary folder under one of the test's own."""

    def __init__(self, temporary: Path, *arguments: str, stdout: int, stderr: int, **environment: str) -> None:
        self.temporary = temporary
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=stdout,
            stderr=stderr,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary), **environment},
        )
        self.children: list[psutil.Process] = []

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"it ended: {self.process.communicate(timeout=60)[1]}")
        event: dict[str, Any] = json.loads(line)
        return event

    def until(self, name: str) -> dict[str, Any]:
        while (event := self.line())["event"] != name:
            pass
        self.children = psutil.Process(self.process.pid).children(recursive=True)
        return event

    def end(self) -> tuple[int, list[dict[str, Any]], str]:
        out, errors = self.process.communicate(timeout=90)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], errors

    def assert_nothing_is_left(self) -> None:
        psutil.wait_procs(self.children, timeout=0)
        assert not [child for child in self.children if child.is_running()]
        assert list(self.temporary.iterdir()) == []


@contextmanager
def demo(
    temporary: Path,
    *arguments: str,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    **environment: str,
) -> Iterator[Demo]:
    temporary.mkdir(exist_ok=True)
    running = Demo(temporary, *arguments, stdout=stdout, stderr=stderr, **environment)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate(timeout=60)


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    return tmp_path / "temporary"


def read_until_closed(screen: int, shown: bytearray) -> None:
    # The end of a terminal whose other side was closed is an error on Linux.
    with contextlib.suppress(OSError):
        while data := os.read(screen, 4096):
            shown.extend(data)


def test_eight_mebibytes_with_json(temporary: Path) -> None:
    with demo(temporary, "--size", "8MiB", "--json") as running:
        first = running.line()
        assert first["event"] == "ready"
        connected = running.until("connected")
        assert len(running.children) == 3
        code, events, errors = running.end()
        running.assert_nothing_is_left()
    assert code == 0
    assert errors == ""
    assert all(event["v"] == 1 for event in [first, connected, *events])
    done = events[-1]
    assert set(done) == DONE_KEYS
    assert done["event"] == "done"
    assert done["ok"] is True
    assert done["sha256_match"] is True
    assert done["relay_saw_plaintext"] is False
    assert done["bytes"] == 8 * 1024 * 1024
    assert done["frames"] == -(-done["bytes"] // 65_508)
    assert done["fingerprint"] == connected["fingerprint"]
    assert done["handshake_ms"] == connected["handshake_ms"] > 0
    assert min(done["upload_mb_s"], done["download_mb_s"]) > 0
    relay = events[-2]
    assert relay["event"] == "relay"
    assert min(relay["frames_up"], relay["frames_down"]) > done["frames"]
    assert min(relay["bytes_up"], relay["bytes_down"]) > done["bytes"]
    assert relay["blocks"] > 100
    assert relay["places_searched"] > 0


def test_the_smallest_payload(temporary: Path) -> None:
    with demo(temporary, "--size", "0", "--json") as running:
        code, events, _ = running.end()
        assert list(temporary.iterdir()) == []
    assert code == 0
    assert events[-1]["ok"] is True
    assert events[-1]["bytes"] == events[-1]["frames"] == 0
    assert events[-2]["blocks"] > 0, "the relay searches for the marker even then"


def test_a_file_on_a_narrow_terminal_without_colour(temporary: Path, tmp_path: Path) -> None:
    content = b"".join(b"%d\n" % number for number in range(30_000))
    (tmp_path / "file with space.txt").write_bytes(content)
    screen, terminal = os.openpty()
    shown = bytearray()
    reading = threading.Thread(target=read_until_closed, args=(screen, shown))
    reading.start()
    settings = {"COLUMNS": "40", "NO_COLOR": "1", "TERM": "xterm-256color"}
    with demo(temporary, "--file", str(tmp_path / "file with space.txt"), stderr=terminal, **settings) as running:
        os.close(terminal)
        out, _ = running.process.communicate(timeout=90)
        assert list(temporary.iterdir()) == []
    reading.join()
    os.close(screen)
    assert running.process.returncode == 0
    assert hashlib.sha256(content).hexdigest() in out
    for word in ("SHA256:", "session", "handshake", "MB/s", "at all three places", "saw no plaintext", "frames"):
        assert word in out
    told = shown.decode()
    assert "there and back" in told, "the progress bar"
    fingerprint = out.splitlines()[0].split()[1]
    assert fingerprint in told, "never cut, so that it can be compared"
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", told) is None
    assert (tmp_path / "file with space.txt").read_bytes() == content


@pytest.mark.parametrize("arguments", [["--json"], []], ids=["json", "text"])
def test_a_reader_that_goes_away_ends_it_quietly(temporary: Path, arguments: list[str]) -> None:
    """As `sideband demo | head -n 1` does."""
    reading, writing = os.pipe()
    os.close(reading)
    with demo(temporary, "--size", "0", *arguments, stdout=writing) as running:
        os.close(writing)
        _, errors = running.process.communicate(timeout=90)
        assert list(temporary.iterdir()) == []
    assert running.process.returncode == 1
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors


def test_ctrl_c_leaves_nothing_behind_and_no_secret_shows_before(temporary: Path) -> None:
    with demo(temporary, "--size", "1TiB", "--json") as running:
        running.until("progress")
        assert len(running.children) == 3
        commands = " ".join(part for child in running.children for part in child.cmdline())
        environments = " ".join(value for child in running.children for value in child.environ().values())
        (folder,) = temporary.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        secrets = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log"]
        assert secrets
        assert [path for path in secrets if path.stat().st_mode & 0o077 and path.parent == folder] == []
        logs = "".join(path.read_text() for path in folder.glob("*.log"))
        running.process.send_signal(signal.SIGINT)
        code, _, errors = running.end()
        running.assert_nothing_is_left()
    assert code == 130
    assert errors == ""
    for secret in ("sbnd_", "eyJ"):
        assert secret not in commands + environments + logs


def test_ctrl_c_while_starting_leaves_nothing_behind(temporary: Path) -> None:
    with demo(temporary, "--size", "1TiB") as running:
        assert running.process.stderr is not None
        assert "starting" in running.process.stderr.readline()
        running.children = psutil.Process(running.process.pid).children(recursive=True)
        running.process.send_signal(signal.SIGINT)
        running.process.communicate(timeout=60)
        running.assert_nothing_is_left()
    assert running.process.returncode == 130


def test_signals_of_any_kind_twice_leave_no_more_behind(temporary: Path) -> None:
    with demo(temporary, "--size", "1TiB", "--json") as running:
        running.until("progress")
        for child in running.children:
            child.suspend()
        running.process.send_signal(signal.SIGHUP)
        running.process.send_signal(signal.SIGINT)
        code, _, errors = running.end()
        running.assert_nothing_is_left()
    assert code == 130
    assert errors == ""


@pytest.mark.parametrize("victim", ["server_process", "daemon_process", "client_process"])
def test_a_process_that_dies_ends_the_others_with_a_clear_error(temporary: Path, victim: str) -> None:
    with demo(temporary, "--size", "1TiB", "--json") as running:
        running.until("progress")
        (child,) = [child for child in running.children if any(victim in part for part in child.cmdline())]
        child.kill()
        code, events, errors = running.end()
        running.assert_nothing_is_left()
    assert code == 1
    assert errors == ""
    assert events[-1]["event"] == "error"
    name = {"server_process": "relay", "daemon_process": "daemon", "client_process": "client"}[victim]
    assert f"the {name} process was killed by signal 9" in events[-1]["message"]


def test_no_process_outlives_a_demo_that_was_killed(temporary: Path) -> None:
    with demo(temporary, "--size", "1TiB", "--json") as running:
        running.until("progress")
        running.process.kill()
        running.process.communicate(timeout=60)
        _, alive = psutil.wait_procs(running.children, timeout=30)
    assert alive == []


def test_two_at_once(temporary: Path, tmp_path: Path) -> None:
    with demo(temporary, "--size", "1TiB", "--json") as first:
        first_ready = first.until("ready")
        first.until("progress")
        with demo(tmp_path / "other", "--size", "1MiB", "--json") as second:
            code, events, _ = second.end()
            assert list((tmp_path / "other").iterdir()) == []
        assert code == 0
        assert events[0]["url"] != first_ready["url"]
        assert events[-1]["ok"] is True
        first.until("progress")
        first.process.send_signal(signal.SIGTERM)
        assert first.end()[0] == 130
        first.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--size", "lots"], "a size is a number and a unit"),
        (["--file", "no-such-file"], "cannot read no-such-file"),
        (["--file", "/"], "cannot read /"),
        (["--file", os.devnull], "is not a regular file"),
        (["--size", "1MiB", "--file", "x"], "exclude each other"),
    ],
)
def test_wrong_use_starts_nothing(temporary: Path, arguments: list[str], complaint: str) -> None:
    with demo(temporary, *arguments) as running:
        _, errors = running.process.communicate(timeout=60)
        assert list(temporary.iterdir()) == []
    assert running.process.returncode == 2
    assert complaint in errors
    assert "Traceback" not in errors


def test_a_file_that_shrinks_under_way_is_a_clear_error(temporary: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with demo(temporary, "--file", str(path), "--json") as running:
        running.until("progress")
        os.truncate(path, 1000)
        code, events, _ = running.end()
        running.assert_nothing_is_left()
    assert code == 2
    assert "became shorter" in events[-1]["message"]
