"""From nothing to a file on one machine, by the commands that are printed on the way."""

from __future__ import annotations

import json
import re
import shlex
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands.conftest import Run
from tests.support.pseudo_terminal import Terminal
from tests.support.served_platform import SIDEBAND, Program

SERVE = ("serve", "--port", "0", "--no-private")
CODE = re.compile(r"[a-z]{4}-[a-z]{4}-[a-z]{4}\b")


@pytest.fixture
def opened() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in reversed(opened):
        terminal.close()


def secrets_of(data: Path) -> list[str]:
    return [(data / "first" / name).read_text().strip() for name in ("api-key", "token")]


def test_the_printed_commands_connect_a_first_daemon_and_a_first_client(tmp_path: Path, opened: list[Terminal]) -> None:
    data, shared = tmp_path / "data folder", tmp_path / "shared"
    shared.mkdir()
    (shared / "note.txt").write_text("hello")
    server = Terminal((*SIDEBAND, *SERVE, "--data-dir", str(data)), {}, tmp_path, columns=200)
    opened.append(server)
    server.until(lambda lines: any("stop with Ctrl-C" in line for line in lines))
    init, daemon, get = (
        shlex.split(words) for words in re.findall(r"  sideband (\w.*)$", "\n".join(server.lines), re.MULTILINE)
    )
    (url,) = re.findall(r"serves at (\S+) ", "\n".join(server.lines))
    home = {"SIDEBAND_HOME": str(tmp_path / "daemon"), "SIDEBAND_API_URL": "http://127.0.0.1:1"}
    assert (init[0], daemon, get[0]) == ("init", ["daemon", "--share", "."], "get")

    made = subprocess.run([*SIDEBAND, *init], env=home, cwd=shared, capture_output=True, text=True, check=True).stdout
    fingerprint = made.split()[3]

    # The address was stored by `init`.
    sharing = Terminal((*SIDEBAND, *daemon), {"SIDEBAND_HOME": home["SIDEBAND_HOME"]}, shared, columns=200)
    opened.append(sharing)
    sharing.until(lambda lines: any("/connect#qc=" in line for line in lines))
    assert fingerprint in "\n".join(sharing.lines)
    (code, *_) = CODE.findall("\n".join(sharing.lines))

    words = [code if word == "CODE" else "note.txt" if word == "FILE" else word for word in get]
    assert url in words
    client = {"SIDEBAND_HOME": str(tmp_path / "client")}
    subprocess.run([*SIDEBAND, *words], env=client, cwd=tmp_path, capture_output=True, check=True)
    assert (tmp_path / "note.txt").read_text() == "hello"

    sharing.type("\x03")
    assert sharing.finish() == 130
    server.type("\x03")
    assert server.finish() == 130
    shown = "\n".join(server.lines + sharing.lines) + made
    assert not any(secret in shown for secret in secrets_of(data))


def test_the_first_account_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    command = (*SIDEBAND, *SERVE, "--json", "--data-dir", str(tmp_path / "data"))
    for round_ in range(2):
        with Program(f"server {round_}", command, tmp_path, {}) as server:
            told = json.loads(server.hear(""))
            server.process.send_signal(signal.SIGINT)
            server.finish(130)
        assert [Path(told[name]).name for name in ("api_key_file", "token_file")] == ["api-key", "token"]
        secrets = secrets_of(tmp_path / "data")
        if round_ == 0:
            first = secrets
        assert secrets == first
        assert not any(secret in json.dumps(told) + server.errors() for secret in secrets)
    for path in (tmp_path / "data" / "first").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data" / "first").stat().st_mode) == 0o700
    listed = subprocess.run(
        [*SIDEBAND, "admin", "account", "list", "--json", "--data-dir", str(tmp_path / "data")],
        capture_output=True,
        check=True,
    )
    assert [json.loads(line)["event"] for line in listed.stdout.splitlines()] == ["ready", "account"]


def test_a_server_that_others_reach_begins_without_an_account(tmp_path: Path) -> None:
    given = {"SIDEBAND_SERVER_LISTEN__ALLOW_PLAIN_HTTP": "true"}
    command = (
        *SIDEBAND,
        *SERVE,
        "--json",
        "--host",
        "0.0.0.0",
        "--public-url",
        "https://a.example",
        "--data-dir",
        str(tmp_path / "data"),
    )
    with Program("server", command, tmp_path, given) as server:
        told = json.loads(server.hear(""))
        server.process.send_signal(signal.SIGINT)
        server.finish(130)
    assert told["event"] == "ready"
    assert (told["api_key_file"], told["token_file"]) == (None, None)
    assert not (tmp_path / "data" / "first").exists()


def test_sideband_alone_says_what_to_do_next(run: Run, home: Path, environment: dict[str, str]) -> None:
    del environment["SIDEBAND_API_URL"]
    fresh = run().stdout
    assert {"sideband demo", "sideband serve", "sideband get CODE FILE"} <= set(
        re.findall(r"sideband \w+(?: [A-Z]+)*", fresh)
    )
    home.mkdir(mode=0o700)
    keep(home / "config.json", {"kind": "sideband-config", "api_key": "x", "api_url": "https://a.example\x1b[2J"})
    daemon = run().stdout
    assert "sideband daemon --share ." in daemon
    assert "https://a.example\\x1b[2J" in daemon
    keep(home / "credentials.json", {"kind": "sideband-credentials", "token": "x"})
    assert "sideband connect DAEMON" in run().stdout
    keep(home / "config.json", {"kind": "nothing"})
    assert "is broken" in run(code=2).stderr
    (home / "config.json").chmod(0o644)
    assert f"chmod 600 {home / 'config.json'}" in run(code=2).stderr


def keep(path: Path, fields: dict[str, str]) -> None:
    path.write_text(json.dumps({"v": 1, **fields}))
    path.chmod(0o600)
