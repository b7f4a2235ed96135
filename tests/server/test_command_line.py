"""`sideband serve` and `sideband admin` as processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sideband.cli.main import app

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}


def sideband(*words: object, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "sideband", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**ENVIRONMENT, "COLUMNS": "200", **environment},
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def admin(data: Path, *words: str, code: int = 0) -> list[dict[str, Any]]:
    """Run an admin command in this process, which spares a second of imports each time."""
    done = CliRunner().invoke(app, ["admin", *words, "--data-dir", str(data), "--json"])
    assert done.exit_code == code, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(line["v"] == 1 for line in found)
    if not code:
        assert found[0]["event"] == "ready"
        if "entries" in found[0]:
            assert found[0]["entries"] == len(found) - 1
            return found[1:]
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def server(data: Path) -> Iterator[subprocess.Popen[str]]:
    words = ["serve", "--data-dir", str(data), "--port", "0", "--private-port", "0", "--json"]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "sideband", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        yield process
        if process.poll() is None:
            process.terminate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_serve_tells_where_it_is_and_ends_cleanly(
    server: subprocess.Popen[str], data: Path, number: signal.Signals, code: int
) -> None:
    assert server.stdout is not None
    ready = json.loads(server.stdout.readline())
    assert (ready["v"], ready["event"]) == (1, "ready")
    assert ready["url"].startswith("http://127.0.0.1:")
    assert not ready["url"].endswith(":0")
    assert ready["relay_url"] == "ws" + ready["url"].removeprefix("http") + "/relay"
    assert ready["private_url"].startswith("http://127.0.0.1:")
    assert ready["data_dir"] == str(data)
    server.send_signal(number)
    out, err = server.communicate(timeout=60)
    assert server.returncode == code
    assert out == ""
    assert "Traceback" not in err
    assert all(json.loads(line) for line in err.splitlines()), "logs are JSON when nobody watches"


def test_bootstrap_is_enough_to_begin(data: Path) -> None:
    [made] = admin(data, "bootstrap", "--account", "home", "--user", "me", "--daemon", "nas")
    assert set(made) == {"v", "event", "done", "accountId", "userId", "token", "daemonId", "keyId", "apiKey"}
    assert made["apiKey"].startswith("sbnd_dak_")
    assert made["token"].startswith("sbnd_usr_")
    assert [row["name"] for row in admin(data, "daemon", "list")] == ["nas"]
    assert [row["users"] for row in admin(data, "account", "list")] == [["me"]]


def test_everything_an_admin_does(data: Path) -> None:
    admin(data, "account", "create", "home")
    admin(data, "user", "create", "me", "--account", "home")
    [token] = admin(data, "user", "create-token", "me", "--ttl-days", "7")
    [daemon] = admin(data, "daemon", "create", "home", "--name", "nas")
    [second] = admin(data, "key", "create", "nas")
    [revoked] = admin(data, "key", "revoke", second["id"])
    assert revoked["changed"] is True
    [rotated] = admin(data, "key", "rotate", "nas")
    assert rotated["revoked"] == [daemon["keyId"]]
    for words in (
        ("account", "disable", "home"),
        ("account", "enable", "home"),
        ("account", "remove-user", "home", "me"),
        ("account", "add-user", "home", "me"),
        ("user", "disable", "me"),
        ("user", "enable", "me"),
        ("user", "revoke-token", token["id"]),
        ("daemon", "disable", "nas"),
        ("daemon", "enable", "nas"),
        ("daemon", "kick", "nas"),
        ("signing-key", "rotate", "--now"),
    ):
        assert len(admin(data, *words)) == 1, words
    assert len(admin(data, "key", "list")) == 3
    assert len(admin(data, "user", "list")) == 1
    assert len(admin(data, "user", "tokens")) == 1
    assert len(admin(data, "signing-key", "list")) == 1
    assert admin(data, "session", "list") == []
    trail = admin(data, "audit", "list", "--limit", "100")
    assert trail[0]["action"] == "signingKey.rotate"
    assert {row["actor"].partition(":")[0] for row in trail} == {"cli"}
    for secret in (token["token"], daemon["apiKey"], second["apiKey"], rotated["apiKey"]):
        assert secret not in str(trail) + str(admin(data, "key", "list")) + str(admin(data, "user", "tokens"))


def test_tables_are_for_people(data: Path) -> None:
    made = sideband("admin", "daemon", "create", admin(data, "account", "create", "home")[0]["id"], "--data-dir", data)
    assert "sbnd_dak_" in made.stdout
    assert "not shown again" in made.stdout
    listed = sideband("admin", "daemon", "list", "--data-dir", data)
    assert "d_" in listed.stdout
    assert "home" in listed.stdout
    assert "{" not in listed.stdout


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("account", "create", "home"), 2, "is taken"),
        (("account", "create", " x"), 2, "a name has"),
        (("daemon", "create", "nowhere"), 1, "no such account"),
        (("key", "revoke", "dk_nothing"), 1, "no such API key"),
        (("user", "create", "x", "--oidc-issuer", "https://x"), 2, "OIDC"),
        (("session", "kick", "AAAAAAAAAAE"), 1, "no live session"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_refusals_have_their_exit_code(data: Path, words: tuple[str, ...], code: int, text: str) -> None:
    admin(data, "account", "create", "home")
    [told] = admin(data, *words, code=code)
    assert told["event"] == "error"
    assert text in told["message"]


def test_a_refusal_goes_to_standard_error(data: Path) -> None:
    done = sideband("admin", "key", "revoke", "dk_nothing", "--data-dir", data, code=1)
    assert done.stdout == ""
    assert done.stderr.startswith("error: there is no such API key")


def test_check_prints_what_is_in_force_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("database_url = 'postgresql://u:hunter2@db/x'\n[relay]\ngrace_seconds = 30\n")
    done = sideband("serve", "--config", file, "--check", "--port", 7, SIDEBAND_SERVER_LOG__LEVEL="debug")
    told = json.loads(done.stdout)
    assert told["relay"]["grace_seconds"] == 30
    assert told["listen"]["port"] == 7
    assert told["log"]["level"] == "debug"
    assert told["control"]["client_token_seconds"] == 120
    assert "hunter2" not in done.stdout
    assert not (tmp_path / "data").exists()


def test_check_refuses_what_serve_would_refuse(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("colour = 'red'\n")
    done = sideband("serve", "--config", file, "--check", code=2)
    assert "colour: unknown key" in done.stderr
    sideband("serve", "--relay-only", "--control-only", code=2)
    sideband("serve", "--relay-only", "--check", code=2)
    sideband("serve", "--control-only", "--check", code=2)
    file.write_text(f"[internal]\nsecret_file = '{tmp_path / 'nowhere'}'\n")
    assert "nowhere" in sideband("serve", "--config", file, "--check", code=2).stderr
    file.write_text("[internal]\nsecret = 'short'\n")
    assert "32 are the least" in sideband("serve", "--config", file, "--check", code=2).stderr
    file.write_text(f"[listen]\ntls_certificate = '{file}'\ntls_key = '{file}'\n")
    assert "cannot be used" in sideband("serve", "--config", file, "--check", code=2).stderr


def test_help_has_examples() -> None:
    done = sideband("serve", "--help")
    assert "Examples" in done.stdout
    assert "--relay-only" in done.stdout
