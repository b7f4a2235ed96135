"""Ctrl-C at every stage is 130, a reader that goes away is a quiet end, and neither shows a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.pseudo_terminal import Terminal
from tests.support.served_platform import SIDEBAND, Program, ServedPlatform

# Ctrl-C while modules are being loaded, at a moment that the test chooses.
LOADING = """\
import runpy, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Finder())
sys.argv = ["sideband"]
runpy.run_module("sideband", run_name="__main__")
"""


@pytest.fixture
def given(platform: ServedPlatform, home: Path) -> dict[str, str]:
    return {"SIDEBAND_API_URL": platform.url, "SIDEBAND_HOME": str(home)}


@pytest.fixture
def open_terminal(given: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(*words: str, **more: str) -> Terminal:
        opened.append(Terminal((*SIDEBAND, *words), {**given, **more}, tmp_path))
        return opened[-1]

    yield open_terminal
    for terminal in opened:
        terminal.close()


@pytest.mark.parametrize("module", ["typer", "sideband.cli.main", "sideband.cli.first_steps"])
def test_while_modules_are_loaded(module: str, given: dict[str, str], tmp_path: Path) -> None:
    script = LOADING.format(module=module)
    ended = subprocess.run([sys.executable, "-c", script], env=given, cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "")


@pytest.mark.parametrize(
    "words",
    [("login",), ("init", "--api-key-file", "-"), ("call", "-", "x"), ("connect", "-"), ("get", "-", "x"), ("ls", "-")],
    ids=lambda words: words[0],
)
def test_while_somebody_is_asked(words: tuple[str, ...], open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal(*words)
    terminal.until(lambda lines: "(not shown)" in lines[-1])
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert "Traceback" not in "\n".join(terminal.lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_while_standard_input_says_nothing(
    number: signal.Signals, platform: ServedPlatform, daemon: Program, given: dict[str, str], tmp_path: Path
) -> None:
    with subprocess.Popen(
        [*SIDEBAND, "connect", platform.first.daemon_id, "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**given, "SIDEBAND_TOKEN": platform.first.token},
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        assert '"ready"' in process.stdout.readline()
        process.send_signal(number)
        assert process.stdout.readline() == '{"v": 1, "event": "interrupted"}\n'
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_while_a_call_runs(platform: ServedPlatform, daemon: Program, open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal("call", platform.first.daemon_id, "wait", '"a call"', SIDEBAND_TOKEN=platform.first.token)
    daemon.hear("waiting a call")
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert "interrupted" in "\n".join(terminal.lines)


def test_at_the_prompt_and_during_its_call(
    platform: ServedPlatform, daemon: Program, open_terminal: Callable[..., Terminal]
) -> None:
    for line in ("", 'call wait "a talk"\r'):
        terminal = open_terminal("connect", platform.first.daemon_id, SIDEBAND_TOKEN=platform.first.token)
        terminal.until(lambda lines: any("sideband>" in shown for shown in lines))
        if line:
            terminal.type(line)
            daemon.hear("waiting a talk")
        terminal.type("\x03")
        assert terminal.finish() == 130
        assert "Traceback" not in "\n".join(terminal.lines)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 1),
        (("--help",), 1),
        (("pins",), 1),
        (("call", "TARGET", "greet", '"Ada"'), 1),
        (("ls", "nonsense", "--json"), 1),
    ],
    ids=lambda each: str(each),
)
def test_a_reader_that_has_gone(
    words: tuple[str, ...], code: int, platform: ServedPlatform, daemon: Program, given: dict[str, str], tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [*SIDEBAND, *(platform.first.daemon_id if word == "TARGET" else word for word in words)],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            env={**given, "SIDEBAND_TOKEN": platform.first.token},
            cwd=tmp_path,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (code, "")
