"""`call` and `connect`, with a real daemon."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands.conftest import Run
from tests.support.pseudo_terminal import Terminal
from tests.support.served_platform import SIDEBAND, Program, ServedPlatform


@pytest.fixture
def target(platform: ServedPlatform, daemon: Program, environment: dict[str, str]) -> str:
    """The daemon's id, with a token for it in the environment."""
    environment["SIDEBAND_TOKEN"] = platform.first.token
    return platform.first.daemon_id


def events(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    assert all(one["v"] == 1 for one in found)
    assert found[0]["event"] == "ready"
    return found


def test_a_call_prints_json(target: str, run: Run) -> None:
    assert run("call", target, "greet", '"Ada"').stdout == '"Hello Ada"\n'
    assert run("call", target, "add", "-", stdin='{"first": 1, "second": 2}').stdout == "3\n"
    assert run("call", target, "bytes").stdout == '{"$bytes": "AP8="}\n'
    ready, result = events(run("call", target, "greet", '"Ada"', "--json").stdout)
    assert ready["fingerprint"].startswith("SHA256:")
    assert result == {"v": 1, "event": "result", "value": "Hello Ada"}


def test_a_call_by_a_code_which_is_then_used_up(
    new_code: Callable[[], str], run: Run, platform: ServedPlatform
) -> None:
    code = new_code()
    assert run("call", code.upper().replace("-", ""), "greet", '"Ada"').stdout == '"Hello Ada"\n'
    again = run("call", code, "greet", '"Ada"', code=1)
    assert again.stdout == ""
    assert "code" in again.stderr
    assert code not in again.stderr
    address = f"{platform.url}/connect#qc={new_code()}"
    nowhere = {"SIDEBAND_API_URL": "http://127.0.0.1:1"}
    assert run("call", address, "greet", '"Ada"', env=nowhere).stdout == '"Hello Ada"\n'
    assert run("call", "-", "greet", '"Ada"', stdin=new_code() + "\n").stdout == '"Hello Ada"\n'


def test_a_code_that_never_was(daemon: Program, run: Run) -> None:
    refused = run("call", "abcd-efgh-jkmn", "greet", code=1)
    assert "abcd" not in refused.stderr
    assert "sideband daemon" in refused.stderr or "code" in refused.stderr


def test_what_the_daemon_says_does_not_steer_the_terminal(target: str, run: Run) -> None:
    shown = [run("call", target, "steer"), run("call", target, "fail", code=1), run("call", target, "steer", "--json")]
    shown.append(
        run(
            "connect",
            target,
            code=1,
            stdin='call steer\ncall fail\nwatch\ncall tell {"name":"x.\\u202ey","value":"\\u001b"}\n',
        )
    )
    for one in shown:
        for line in (one.stdout + one.stderr).splitlines():
            assert line.isprintable(), line


@pytest.mark.parametrize("params", ["Ada", "{", "[" * 100_000, "NaN x"])
def test_parameters_that_are_no_json(params: str, run: Run, target: str) -> None:
    refused = run("call", target, "greet", "-", stdin=params, code=2)
    assert "no JSON" in refused.stderr


def test_a_text_without_quotes_is_explained(run: Run, target: str) -> None:
    assert """'"Ada"'""" in run("call", target, "greet", "Ada", code=2).stderr


def test_errors_of_a_call(run: Run, target: str) -> None:
    assert "nothing_of_the_kind" in run("call", target, "nothing_of_the_kind", code=1).stderr
    assert "timeout" in run("call", target, "wait", '"a deadline"', "--call-timeout", "0.2", code=1).stderr


def test_a_target_that_is_none(run: Run) -> None:
    for words in (("call", "nonsense", "x"), ("connect", "nonsense"), ("ls", "nonsense"), ("get", "nonsense", "x")):
        refused = run(*words, code=2)
        assert "code of 12 letters" in refused.stderr
    told = json.loads(run("call", "nonsense", "x", "--json", code=2).stdout)
    assert (told["event"], told["error"], told["exit_code"]) == ("error", "ConfigError", 2)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("call", "d_x", "m"), "sideband login"),
        (("identity",), "sideband init"),
        (("identity", "rotate", "--yes"), "sideband init"),
        (("daemon", "--no-codes"), "sideband init"),
        (("init",), "--api-key-file"),
    ],
)
def test_what_is_missing_is_told_with_the_command_that_makes_it(words: tuple[str, ...], hint: str, run: Run) -> None:
    assert hint in run(*words, code=2).stderr


def test_daemons_that_cannot_be_reached(platform: ServedPlatform, run: Run) -> None:
    token = {"SIDEBAND_TOKEN": platform.first.token}
    told = run("call", "d_nobody", "x", code=1, env=token).stderr
    assert told.startswith("error: 404 NOT_FOUND: no daemon has the id d_nobody; `sideband login` lists")
    offline = platform.add_daemon().daemon_id
    assert "`sideband daemon` connects it" in run("call", offline, "x", "--timeout", "1", code=5, env=token).stderr
    told = run("call", offline, "x", "--timeout", "1", "--json", code=5, env=token).stdout
    assert json.loads(told)["exit_code"] == 5


def test_connect_follows_lines_of_a_pipe(run: Run, target: str) -> None:
    lines = ["methods", "describe greet", 'call greet "Ada"', "", "info", "quit", "call fail"]
    told = events(run("connect", target, "--json", stdin="\n".join(lines)).stdout)
    assert [one["event"] for one in told] == ["ready", "methods", "result", "result", "info"]
    assert {"greet", "add", "$sideband/info"} <= set(told[1]["methods"])
    assert told[2]["value"]["doc"] == "Say hello."
    assert told[3]["value"] == "Hello Ada"
    assert told[4]["fingerprint"] == told[0]["fingerprint"]


def test_connect_tells_which_lines_failed(run: Run, target: str) -> None:
    told = events(
        run(
            "connect",
            target,
            "--json",
            stdin='nonsense\ncall\ncall greet x\ncall add {"first": 1, "second": 2}',
            code=1,
        ).stdout
    )
    assert [one["event"] for one in told] == ["ready", "error", "error", "error", "result"]
    assert told[-1]["value"] == 3


@pytest.fixture
def talk(target: str, environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`sideband connect --json`, whose standard input stays open."""
    with subprocess.Popen(
        [*SIDEBAND, "connect", target, "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    ) as process:
        yield process
        process.kill()


def test_connect_shows_events(talk: subprocess.Popen[str]) -> None:
    assert talk.stdin is not None
    assert talk.stdout is not None
    talk.stdin.write('watch sensor.>\ncall tell {"name": "sensor.heat", "value": 21}\n')
    talk.stdin.flush()
    told = next(one for one in map(json.loads, talk.stdout) if one["event"] == "event")
    assert (told["name"], told["data"]) == ("sensor.heat", 21)
    talk.stdin.close()
    assert talk.wait(30) == 0


def test_connect_ends_when_the_daemon_leaves(talk: subprocess.Popen[str]) -> None:
    assert talk.stdin is not None
    assert talk.stdout is not None
    talk.stdin.write("call leave\n")
    talk.stdin.flush()
    # Its standard input stays open: whoever types there is told at once all the same.
    assert talk.stdout.readline().startswith('{"v": 1, "event": "ready"')
    *_, last = map(json.loads, talk.stdout)
    assert (last["event"], last["exit_code"]) == ("error", 1)
    assert talk.wait(30) == 1


def test_connect_at_a_dumb_terminal(target: str, environment: dict[str, str], tmp_path: Path) -> None:
    given = {name: value for name, value in environment.items() if name.startswith("SIDEBAND_")}
    terminal = Terminal((*SIDEBAND, "connect", target), {**given, "TERM": "dumb"}, tmp_path)
    terminal.until(lambda lines: lines[0].startswith("connected"))
    terminal.type('call greet "Ada"\n')
    terminal.until(lambda lines: '"Hello Ada"' in lines)
    terminal.type("\x04")
    assert terminal.finish() == 0
    terminal.close()


def test_connect_at_a_terminal(target: str, environment: dict[str, str], tmp_path: Path) -> None:
    given = {name: value for name, value in environment.items() if name.startswith("SIDEBAND_")}
    terminal = Terminal((*SIDEBAND, "connect", target), given, tmp_path)
    terminal.until(lambda lines: asked_after("Ctrl-D leaves", lines))
    terminal.type('call greet "Ada"\r')
    terminal.until(lambda lines: asked_after('"Hello Ada"', lines))
    terminal.type("watch\r")
    terminal.until(lambda lines: asked_after("watching >", lines))
    terminal.type('call tell {"name": "sensor.heat", "value": 21}\r')
    terminal.until(lambda lines: asked_after("sensor.heat 21", lines) and asked_after("null", lines))
    terminal.type("\x04")
    assert terminal.finish() == 0
    terminal.close()
    kept = {path.name for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert not any("history" in name for name in kept)


def asked_after(answer: str, lines: list[str]) -> bool:
    """Whether the prompt is there again after an answer; what is typed before that may be lost, as in any terminal."""
    text = "\n".join(lines)
    return -1 < text.rfind(answer) < text.rfind("sideband>")
