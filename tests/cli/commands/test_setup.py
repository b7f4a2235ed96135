"""`init`, `login`, `identity` and `pins`, as somebody sets up a machine."""

from __future__ import annotations

import asyncio
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from sideband.identity import FileIdentity, FileIdentityKeyStore
from tests.cli.commands.conftest import Run
from tests.support.pseudo_terminal import Terminal
from tests.support.served_platform import SIDEBAND, Program, ServedPlatform

FINGERPRINT = re.compile(r"SHA256(:[0-9A-F]{2}){32}")


def event(text: str) -> dict[str, Any]:
    (line,) = text.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert (found["v"], found["event"]) == (1, "ready")
    return found


@pytest.fixture
def other(platform: ServedPlatform, tmp_path: Path) -> Any:
    """A daemon of its own, with its key in a file."""
    made = platform.add_daemon()
    (tmp_path / "key").write_text(made.api_key + "\n")
    return made


def test_init_by_every_way(other: Any, run: Run, home: Path) -> None:
    first = event(run("init", "--api-key-file", "key", "--json").stdout)
    assert first["daemon_id"] == other.daemon_id
    assert first["identity_created"] is True
    assert FINGERPRINT.fullmatch(first["fingerprint"])
    assert stat.S_IMODE((home / "config.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "identity.json").stat().st_mode) == 0o600
    again = [
        event(run("init", "--api-key-file", "-", "--json", stdin=other.api_key + "\n").stdout),
        event(run("init", "--json", env={"SIDEBAND_API_KEY": other.api_key}).stdout),
        event(run("init", "--json").stdout),
    ]
    for one in again:
        assert (one["identity_created"], one["fingerprint"]) == (False, first["fingerprint"])
    told = run("init", "--api-key", other.api_key)
    assert "ps" in told.stderr
    assert other.api_key not in told.stdout + told.stderr
    assert first["fingerprint"] in told.stdout
    assert "next         sideband daemon --share ." in told.stdout
    assert run("identity").stdout.split()[1] == first["fingerprint"]
    assert event(run("identity", "--json").stdout)["fingerprint"] == first["fingerprint"]


def test_a_refused_key_is_not_stored(other: Any, run: Run, home: Path) -> None:
    wrong = other.api_key[:-1] + ("A" if other.api_key[-1] != "A" else "B")
    refused = run("init", "--api-key-file", "-", stdin=wrong, code=3)
    assert refused.stderr.startswith("error: ")
    assert wrong not in refused.stderr
    assert not (home / "config.json").exists()
    run("init", "--api-key-file", "key")
    kept = (home / "config.json").read_bytes()
    run("init", "--api-key-file", "-", stdin=wrong, code=3)
    assert (home / "config.json").read_bytes() == kept


def test_init_without_a_key_says_where_one_comes_from(run: Run) -> None:
    assert "--api-key-file FILE" in run("init", code=2).stderr
    assert "nothing in its first line" in run("init", "--api-key-file", "-", stdin="", code=2).stderr
    assert "No such file" in run("init", "--api-key-file", "nowhere", code=2).stderr
    assert "exclude each other" in run("init", "--api-key-file", "x", "--api-key", "y", code=2).stderr


def test_another_identity_is_refused(other: Any, run: Run, home: Path) -> None:
    run("init", "--api-key-file", "key")
    (home / "identity.json").unlink()
    assert "another identity key" in run("init", code=1).stderr


def test_login_lists_what_can_be_reached(
    platform: ServedPlatform, daemon: Program, run: Run, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(platform.first.token)
    told = run("login", "--token-file", "token").stdout
    assert platform.first.daemon_id in told
    assert stat.S_IMODE((home / "credentials.json").stat().st_mode) == 0o600
    listed = event(run("login", "--json", stdin=platform.first.token).stdout)["daemons"]
    assert platform.first.daemon_id in {one["daemon_id"] for one in listed}
    kept = (home / "credentials.json").read_bytes()
    refused = run("login", stdin=platform.first.token[:-4] + "AAAA", code=3)
    assert platform.first.token[:-4] not in refused.stderr
    assert (home / "credentials.json").read_bytes() == kept


def test_login_asks_at_a_terminal_and_shows_nothing_of_the_token(
    platform: ServedPlatform, environment: dict[str, str], tmp_path: Path
) -> None:
    given = {name: value for name, value in environment.items() if name.startswith("SIDEBAND_")}
    terminal = Terminal((*SIDEBAND, "login"), given, tmp_path)
    terminal.until(lambda lines: "(not shown)" in lines[-1])
    terminal.type(platform.first.token + "\n")
    assert terminal.finish() == 0
    shown = "\n".join(terminal.lines)
    terminal.close()
    assert platform.first.token not in shown
    assert "next: sideband connect d_" in shown


def test_a_daemon_goes_over_to_another_key_and_its_clients_follow(
    platform: ServedPlatform, run: Run, environment: dict[str, str], tmp_path: Path, other: Any
) -> None:
    daemon_home = {"SIDEBAND_HOME": str(tmp_path / "daemon home")}
    client = {"SIDEBAND_TOKEN": platform.first.token}
    run("init", "--api-key-file", "key", env=daemon_home)
    assert "sideband init" in run("identity", code=2).stderr
    command = (*SIDEBAND, "daemon", "--no-codes", "--json")
    given = {"SIDEBAND_API_URL": platform.url, **daemon_home}
    with Program("before", command, tmp_path, given) as daemon:
        before = json.loads(daemon.hear(""))["fingerprint"]
        assert run("pins").stdout.startswith("nothing is pinned yet")
        run("call", other.daemon_id, "$sideband/info", env=client)
        daemon.process.terminate()
        daemon.finish()
    assert run("pins").stdout == f"{other.daemon_id}  {before}\n"
    assert run("pins", "verify", other.daemon_id, before.lower()).stdout == "this is the pinned key\n"
    asked = run("identity", "rotate", env=daemon_home, stdin="n\n", code=1)
    assert "Is the daemon ended" in asked.stdout + asked.stderr
    rotated = event(run("identity", "rotate", "--json", env=daemon_home).stdout)
    assert rotated["before"] == before != rotated["fingerprint"]
    with Program("after", command, tmp_path, given) as daemon:
        assert json.loads(daemon.hear(""))["fingerprint"] == rotated["fingerprint"]
        # The old key has signed the change, so what was pinned follows without a question.
        run("call", other.daemon_id, "$sideband/info", env=client)
    assert run("pins").stdout == f"{other.daemon_id}  {rotated['fingerprint']}\n"
    assert run("pins", "verify", other.daemon_id, before, code=4).stdout.startswith("another key is pinned: SHA256:")
    assert run("pins", "remove", other.daemon_id).stdout.startswith("forgotten")
    assert run("pins", "remove", other.daemon_id, code=1).stdout.startswith("nothing was pinned")
    assert run("pins", "verify", other.daemon_id, before, code=1).stdout.startswith("nothing is pinned")


def test_another_key_is_shown_with_the_command_that_accepts_it(
    platform: ServedPlatform, daemon: Program, run: Run, home: Path, tmp_path: Path
) -> None:
    token = {"SIDEBAND_TOKEN": platform.first.token}
    target = platform.first.daemon_id
    run("call", target, "greet", '"Ada"', env=token)
    real = run("pins").stdout.split()[1]
    # What the pin of another key looks like: the one of a machine that was set up anew, or of somebody in between.
    stranger = FileIdentity(tmp_path / "stranger.json")
    asyncio.run(FileIdentityKeyStore(home / "pins").set(target, stranger.public_key))
    refused = run("call", target, "greet", '"Ada"', env=token, code=4)
    assert f"pinned    {stranger.fingerprint}\n" in refused.stderr
    assert f"received  {real}\n" in refused.stderr
    told = json.loads(run("call", target, "greet", '"Ada"', "--json", env=token, code=4).stdout)
    assert (told["event"], told["error"], told["exit_code"]) == ("error", "IdentityRefusedError", 4)
    (command,) = re.findall(r"^  sideband (pins accept .*)$", refused.stderr, re.MULTILINE)
    assert run("pins", "accept", target, stranger.fingerprint, env=token, code=4).stdout == ""
    assert run("pins").stdout.split()[1] == stranger.fingerprint
    assert run(*command.split(), env=token).stdout == f"pinned  {real}\n"
    assert run("call", target, "greet", '"Ada"', env=token).stdout == '"Hello Ada"\n'


def test_only_what_is_pinned(platform: ServedPlatform, daemon: Program, run: Run) -> None:
    token = {"SIDEBAND_TOKEN": platform.first.token}
    words = ("call", platform.first.daemon_id, "greet", '"Ada"', "--trust", "pinned-only")
    refused = run(*words, env=token, code=4)
    assert "nothing is pinned" in refused.stderr
    assert FINGERPRINT.search(refused.stderr)
    run(*words[:4], env=token)
    assert run(*words, env=token).stdout == '"Hello Ada"\n'
    assert "accept-new or pinned-only" in run(*words[:4], "--trust", "auto", env=token, code=2).stderr


def test_a_fingerprint_that_is_none(run: Run) -> None:
    assert "32 pairs of hex digits" in run("pins", "verify", "d_x", "SHA256:AB", code=2).stderr
    assert "32 pairs of hex digits" in run("pins", "accept", "d_x", "x", code=2, env={"SIDEBAND_TOKEN": "x"}).stderr
