"""Ctrl-C, a kill and a terminal: what is kept, what is shown, and what the same command then does."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.transfers.conftest import Run, events
from tests.support.served_platform import SIDEBAND, Program, ServedPlatform

SIZE = 256 * 1024 * 1024
ENOUGH = 4 * 1024 * 1024
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def make_large(path: Path) -> Path:
    """A file that takes a moment, and few blocks of the disk."""
    with path.open("wb") as file:
        for offset in range(0, SIZE, SIZE // 16):
            file.seek(offset)
            file.write(os.urandom(64))
        file.truncate(SIZE)
    return path


def wait_for_bytes(folder: Path, process: subprocess.Popen[Any]) -> None:
    """Return as soon as a partial file in the folder has some bytes."""
    while process.poll() is None:
        for path in folder.glob(".*.sideband-part"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size >= ENOUGH:
                    return
    raise AssertionError("it ended before it could be interrupted")


@pytest.fixture
def start(
    platform: ServedPlatform, daemon: Program, environment: dict[str, str], tmp_path: Path
) -> Callable[..., subprocess.Popen[str]]:
    def start(*words: str) -> subprocess.Popen[str]:
        command = [*SIDEBAND, *(platform.first.daemon_id if word == "TARGET" else word for word in words)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
        )

    return start


def same(first: Path, second: Path) -> bool:
    return subprocess.run(["cmp", first, second], check=False).returncode == 0


def test_ctrl_c_keeps_what_has_come_and_says_so(
    run: Run, start: Callable[..., subprocess.Popen[str]], shared: Path, tmp_path: Path
) -> None:
    large = make_large(shared / "large")
    with start("get", "TARGET", "large") as getting:
        wait_for_bytes(tmp_path, getting)
        getting.send_signal(signal.SIGINT)
        out, err = getting.communicate(timeout=60)
    assert getting.returncode == 130
    assert out == ""
    kept = re.fullmatch(r"interrupted; ([0-9,]+) bytes are kept; the same command goes on there\n", err)
    assert kept is not None, err
    assert {path.suffix for path in tmp_path.iterdir()} == {".sideband-part", ".json"}
    told = events(run("get", "TARGET", "large", "--json").stdout)
    assert told[-1]["resumed_at"] == int(kept[1].replace(",", ""))
    assert same(tmp_path / "large", large)
    assert list(tmp_path.iterdir()) == [tmp_path / "large"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_put_that_is_ended_goes_on(
    run: Run, start: Callable[..., subprocess.Popen[str]], shared: Path, tmp_path: Path, number: signal.Signals
) -> None:
    large = make_large(tmp_path / f"put{number}")
    with start("put", "TARGET", large.name) as putting:
        wait_for_bytes(shared, putting)
        putting.send_signal(number)
        _, err = putting.communicate(timeout=60)
    assert putting.returncode == (-9 if number is signal.SIGKILL else 130)
    assert err == "" if number is signal.SIGKILL else "kept there" in err
    told = events(run("put", "TARGET", large.name, "--json").stdout)
    assert told[-1]["resumed_at"] >= ENOUGH
    assert same(shared / large.name, large)
    assert list(shared.glob(".*")) == []


@pytest.fixture
def terminal(
    platform: ServedPlatform, daemon: Program, environment: dict[str, str], tmp_path: Path
) -> Callable[..., Any]:
    """Runs a command whose standard error, and keyboard, is a terminal; yields the process and its screen."""

    @contextlib.contextmanager
    def open_terminal(*words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
        command = [*SIDEBAND, *(platform.first.daemon_id if word == "TARGET" else word for word in words)]
        ours, theirs = pty.openpty()
        try:
            with subprocess.Popen(
                command,
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=theirs,
                text=True,
                env={**environment, "TERM": "xterm-256color"},
                cwd=tmp_path,
                start_new_session=True,
            ) as process:
                os.close(theirs)
                yield process, ours
        finally:
            os.close(ours)

    return open_terminal


def screen(descriptor: int, process: subprocess.Popen[str]) -> str:
    """All that was shown until the process has ended."""
    found = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], 0.05)
        if ready:
            try:
                found += os.read(descriptor, 65536)
            except OSError:  # Linux tells so that the other side is closed
                break
        elif process.poll() is not None:
            break
    return found.decode()


def test_a_terminal_shows_a_bar(terminal: Callable[..., Any], shared: Path, tmp_path: Path) -> None:
    make_large(shared / "shown")
    with terminal("get", "TARGET", "shown") as (process, descriptor):
        text = screen(descriptor, process)
        assert process.wait(60) == 0
        assert process.stdout.read().startswith("shown: 268,435,456 bytes")
    plain = _ESCAPE.sub("", text)
    assert re.search(r"[0-9.]+/268.4 MB", plain), plain
    assert re.search(r"[0-9.]+ [kMG]?B/s", plain), plain
    assert re.search(r"-?[0-9-]+:[0-9-]{2}", plain), plain
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor is back


def test_an_error_ends_the_bar_first(terminal: Callable[..., Any]) -> None:
    with terminal("get", "TARGET", "missing") as (process, descriptor):
        text = screen(descriptor, process)
        assert process.wait(60) == 1
    assert (
        _ESCAPE.sub("", text)
        .replace("\r", "")
        .endswith("error: not_found: missing: the other side says: there is no such file\n")
    )
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")
