"""init, login, identity, pins, call and connect against a real server and a real daemon."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sideband.identity import FileIdentity
from tests.support.pseudo_terminal import Terminal
from tests.support.served_platform import SIDEBAND, Program, ServedPlatform

SECONDS = 30


class Machine:
    """A machine of its own: its home folder, and what commands say there."""

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.environment = {"SIDEBAND_HOME": str(folder / "home"), "SIDEBAND_API_URL": url}

    def run(self, *words: str, stdin: str = "", **environment: str) -> tuple[int, str, str]:
        """Run a command to its end; return its exit code and what it said."""
        import os

        clean = {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}
        done = subprocess.run(
            (*SIDEBAND, *words),
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**clean, **self.environment, **environment},
            timeout=SECONDS,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    def json(self, *words: str, stdin: str = "") -> tuple[int, list[dict[str, Any]]]:
        """Run a command with --json; return its exit code and its lines."""
        code, out, errors = self.run(*words, "--json", stdin=stdin)
        assert errors == ""
        lines = [json.loads(line) for line in out.splitlines()]
        assert all(line["v"] == 1 for line in lines)
        return code, lines


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPlatform]:
    with ServedPlatform(tmp_path_factory.mktemp("platform")) as platform:
        yield platform


@pytest.fixture(scope="module")
def host(platform: ServedPlatform, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine of the daemon, initialised."""
    machine = Machine(tmp_path_factory.mktemp("host"), platform.url)
    code, out, _ = machine.run("init", "--api-key-file", "-", stdin=platform.first.api_key + "\n")
    assert code == 0, out
    return machine


@pytest.fixture(scope="module")
def daemon(host: Machine) -> Iterator[Program]:
    with Program("daemon", (*SIDEBAND, "daemon", "--json", "--codes"), host.folder, host.environment) as program:
        program.hear('{"v": 1, "event": "ready"')
        yield program


@pytest.fixture
def guest(platform: ServedPlatform, tmp_path: Path) -> Machine:
    """A client's machine, whose user is logged in."""
    machine = Machine(tmp_path / "guest", platform.url)
    code, _, errors = machine.run("login", "--token-file", "-", stdin=platform.first.token)
    assert code == 0, errors
    return machine


def test_init_stores_what_the_server_has_taken_and_keeps_the_identity(platform: ServedPlatform, tmp_path: Path) -> None:
    who = platform.add_daemon()
    machine = Machine(tmp_path / "m", platform.url)
    code, [ready] = machine.json("init", "--api-key-file", "-", stdin=who.api_key)
    assert (code, ready["event"], ready["daemon_id"], ready["identity_created"]) == (0, "ready", who.daemon_id, True)
    fingerprint = FileIdentity(tmp_path / "m" / "home" / "identity.json").fingerprint
    assert ready["fingerprint"] == fingerprint
    kept = json.loads((tmp_path / "m" / "home" / "config.json").read_text())
    assert (kept["api_key"], kept["api_url"]) == (who.api_key, platform.url)
    code, out, _ = machine.run("init", SIDEBAND_API_KEY=who.api_key)
    assert code == 0
    assert fingerprint in out
    assert who.api_key not in out
    assert "(new)" not in out
    code, out, errors = machine.run("init", "--api-key", who.api_key)
    assert code == 0
    assert "`ps`" in errors
    assert who.api_key not in out + errors


def test_a_key_that_is_refused_changes_nothing(host: Machine) -> None:
    before = (host.folder / "home" / "config.json").read_bytes()
    code, _, errors = host.run("init", "--api-key-file", "-", stdin="sbnd_dak_wrong")
    assert code == 3
    assert "sbnd_dak_wrong" not in errors
    assert (host.folder / "home" / "config.json").read_bytes() == before


def test_login_lists_the_daemons(platform: ServedPlatform, daemon: Program, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", platform.url)
    code, [ready] = machine.json("login", "--token-file", "-", stdin=platform.first.token)
    assert code == 0
    assert {"daemon_id": platform.first.daemon_id, "online": True} in [
        {"daemon_id": each["daemon_id"], "online": each["online"]} for each in ready["daemons"]
    ]
    code, _, errors = machine.run("login", "--token-file", "-", stdin="sbnd_usr_wrong")
    assert code == 3
    assert "sbnd_usr_wrong" not in errors
    assert json.loads((tmp_path / "m" / "home" / "credentials.json").read_text())["token"] == platform.first.token


def test_a_call_pins_the_key_and_prints_json(
    platform: ServedPlatform, host: Machine, daemon: Program, guest: Machine
) -> None:
    target = platform.first.daemon_id
    code, out, _ = guest.run("call", target, "$sideband/echo", '[1, "two", null]')
    assert (code, json.loads(out)) == (0, [1, "two", None])
    code, [ready, result] = guest.json("call", target, "$sideband/echo", "-", stdin='{"a": 1}')
    assert (code, ready["event"], ready["path"], result["value"]) == (0, "ready", "relay", {"a": 1})
    code, [first, pin] = guest.json("pins")
    assert (code, first["pins"]) == (0, 1)
    _, shown, _ = host.run("identity")
    assert pin["daemon_id"] == target
    assert pin["fingerprint"] == ready["fingerprint"]
    assert pin["fingerprint"] in shown


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("$sideband/none",), 1, "1101"),
        (("$sideband/echo", "not json"), 2, "no JSON"),
        (("$sideband/echo", "Ada"), 2, "'\"Ada\"'"),
    ],
)
def test_a_call_that_fails(
    platform: ServedPlatform, daemon: Program, guest: Machine, words: tuple[str, ...], code: int, said: str
) -> None:
    ended, out, errors = guest.run("call", platform.first.daemon_id, *words)
    assert (ended, out) == (code, "")
    assert said in errors


def test_another_key_than_the_pinned_one(platform: ServedPlatform, daemon: Program, guest: Machine) -> None:
    target = platform.first.daemon_id
    assert guest.run("call", target, "$sideband/echo")[0] == 0
    [_, pin] = guest.json("pins")[1]
    received = pin["fingerprint"]
    stranger = FileIdentity(guest.folder / "stranger.json")
    import asyncio

    from sideband.identity import FileIdentityKeyStore

    asyncio.run(FileIdentityKeyStore(guest.folder / "home" / "pins").set(target, stranger.public_key))
    code, out, errors = guest.run("call", target, "$sideband/echo")
    assert (code, out) == (4, "")
    command = f"sideband pins accept {target} {received}"
    assert stranger.fingerprint in errors
    assert command in errors
    assert guest.run("pins", "verify", target, received)[0] == 4
    assert guest.run("pins", "accept", target, stranger.fingerprint)[0] == 4  # not the one that it shows
    assert guest.run("pins", "verify", target, stranger.fingerprint)[0] == 0
    assert guest.run(*command.split()[1:])[0] == 0
    assert guest.run("pins", "verify", target, received)[0] == 0
    assert guest.run("call", target, "$sideband/echo")[0] == 0
    assert guest.run("pins", "remove", target)[0] == 0
    assert guest.run("pins", "remove", target)[0] == 1
    assert guest.run("pins", "verify", target, received)[0] == 1
    code, out, errors = guest.run("call", target, "$sideband/echo", "--trust", "pinned-only")
    assert code in (1, 4)
    assert received in errors


def test_a_rotated_key_is_followed(platform: ServedPlatform, tmp_path: Path, guest: Machine) -> None:
    who = platform.add_daemon()
    host = Machine(tmp_path / "host", platform.url)
    assert host.run("init", "--api-key-file", "-", stdin=who.api_key)[0] == 0
    guest.run("login", "--token-file", "-", stdin=who.token)
    command = (*SIDEBAND, "daemon", "--json", "--no-codes")
    with Program("daemon before", command, host.folder, host.environment) as program:
        program.hear('{"v": 1, "event": "ready"')
        assert guest.run("call", who.daemon_id, "$sideband/echo")[0] == 0
    code, [rotated] = host.json("identity", "rotate")
    assert code == 0
    assert rotated["before"] != rotated["fingerprint"]
    with Program("daemon after", command, host.folder, host.environment) as program:
        program.hear('{"v": 1, "event": "ready"')
        assert guest.run("call", who.daemon_id, "$sideband/echo")[0] == 0
    assert guest.run("pins", "verify", who.daemon_id, rotated["fingerprint"])[0] == 0


def test_a_talk_by_pipe(platform: ServedPlatform, daemon: Program, guest: Machine) -> None:
    lines = 'methods\n\ncall $sideband/echo "x"\ndescribe $sideband/echo\ninfo\nwatch sensor.>\nunwatch\nhelp\nquit\n'
    code, told = guest.json("connect", platform.first.daemon_id, stdin=lines)
    assert code == 0
    assert [line["event"] for line in told] == [
        "ready",
        "methods",
        "result",
        "result",
        "info",
        "watching",
        "unwatched",
        "help",
    ]
    assert "$sideband/echo" in told[1]["methods"]
    assert told[2]["value"] == "x"
    code, out, _ = guest.run("connect", platform.first.daemon_id, stdin="frobnicate\ncall\ncall x {\n")
    assert code == 1
    assert out.count("error: ") == 3


def test_a_talk_on_a_terminal(platform: ServedPlatform, daemon: Program, guest: Machine) -> None:
    terminal = Terminal((*SIDEBAND, "connect", platform.first.daemon_id), guest.environment, guest.folder)
    try:
        terminal.until(lambda lines: any("sideband>" in line for line in lines))
        terminal.type('call $sideband/echo "hello there"\r')
        terminal.until(lambda lines: any(line.strip() == '"hello there"' for line in lines))
        terminal.type("\x04")
        assert terminal.finish() == 0
    finally:
        terminal.close()


def test_ctrl_c_in_a_talk(platform: ServedPlatform, daemon: Program, guest: Machine) -> None:
    terminal = Terminal((*SIDEBAND, "connect", platform.first.daemon_id), guest.environment, guest.folder)
    try:
        terminal.until(lambda lines: any("sideband>" in line for line in lines))
        terminal.type("\x03")
        assert terminal.finish() == 130
    finally:
        terminal.close()


@pytest.mark.parametrize("target", ["abcd-efgh-jkmn", "d_nobody"])
def test_who_cannot_be_reached(guest: Machine, target: str) -> None:
    code, out, errors = guest.run("call", target, "x", "--timeout", "5")
    assert out == ""
    assert errors.startswith("error: ")
    assert code == 1


def test_a_daemon_that_is_offline(platform: ServedPlatform, guest: Machine) -> None:
    who = platform.add_daemon()
    code, _, errors = guest.run("call", who.daemon_id, "x", "--timeout", "2", SIDEBAND_TOKEN=who.token)
    assert code in (1, 5)
    assert errors.startswith("error: ")


def test_no_server_at_all(guest: Machine) -> None:
    guest.environment["SIDEBAND_API_URL"] = "http://127.0.0.1:9"
    code, _, errors = guest.run("login", "--token-file", "-", stdin="x")
    assert code == 5
    assert "127.0.0.1:9" in errors
    assert guest.run("call", "d_x", "m", "--timeout", "1", SIDEBAND_TOKEN="x")[0] == 5


def test_without_credentials_a_command_says_what_to_do(platform: ServedPlatform, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m", platform.url)
    for words, hint in (
        (("call", "d_x", "m"), "sideband login"),
        (("identity",), "sideband init"),
        (("daemon", "--no-codes"), "sideband init"),
        (("init",), "--api-key-file"),
    ):
        code, _, errors = machine.run(*words)
        assert code == 2
        assert hint in errors


def test_sideband_alone_says_what_to_do_next(host: Machine, guest: Machine, tmp_path: Path) -> None:
    nobody = Machine(tmp_path / "nobody", "")
    for machine, hint in ((nobody, "sideband serve"), (host, "sideband daemon"), (guest, "sideband connect DAEMON")):
        code, out, _ = machine.run()
        assert code == 0
        assert hint in out
