"""`sideband inbox` as its users type it: real processes, a real server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "sideband"]


class Machine:
    """A home of its own, and commands in it."""

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}
        self.environment |= {"SIDEBAND_HOME": str(home), "SIDEBAND_API_URL": url}

    def run(self, *words: str, code: int = 0, text: bytes | None = None) -> tuple[str, str]:
        done = subprocess.run(
            [*COMMAND, "inbox", *words], env=self.environment, input=text, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout.decode(), done.stderr.decode()

    def events(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run(*words, "--json", code=code)[0].splitlines()]

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, "inbox", *words], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}
    environment["SIDEBAND_SERVER_INBOX__ENABLED"] = "true"
    words = ["serve", "--data-dir", str(tmp_path_factory.mktemp("data")), "--port", "0", "--no-private", "--json"]
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()


@pytest.fixture
def bob(server: str, tmp_path: Path) -> Machine:
    return Machine(tmp_path / "bob", server)


@pytest.fixture
def alice(server: str, tmp_path: Path) -> Machine:
    return Machine(tmp_path / "alice", server)


def test_a_message_from_one_machine_to_another(alice: Machine, bob: Machine) -> None:
    [ready] = bob.events("register", "bob1")
    assert ready["created"]
    assert not bob.events("register", "bob1")[0]["created"]
    assert "first message to bob1: " + ready["fingerprint"] in alice.run("send", "bob1", "back at \x1b[31mnoon")[1]
    alice.run("send", "bob1", text=b"\x00\xff from standard input")
    out, _ = bob.run("recv")
    assert [line.partition("  ")[2] for line in out.splitlines()] == [
        "back at \\x1b[31mnoon",
        "\\x00\\udcff from standard input",
    ]
    assert out.startswith("SHA256:")
    assert "nothing new" in bob.run("recv")[1]
    everything = bob.events("recv", "--all", "--delete")
    assert [event["event"] for event in everything] == ["message", "message"]
    assert bob.events("recv", "--all") == []


@pytest.mark.parametrize("transport", ["auto", "long-poll"])
def test_watch_shows_messages_as_they_come(alice: Machine, bob: Machine, transport: str) -> None:
    address = f"watcher-{transport}"
    bob.run("register", address)
    with bob.start("watch", "--transport", transport, "--json") as watching:
        assert watching.stdout is not None
        ready = json.loads(watching.stdout.readline())
        assert ready["transport"] == ("ws" if transport == "auto" else transport)
        alice.run("send", address, "one")
        assert json.loads(watching.stdout.readline())["data"] == "b25l"
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 130
    assert bob.events("recv") == []  # the cursor was kept


def test_a_changed_or_unexpected_key_is_refused(alice: Machine, bob: Machine) -> None:
    fingerprint = bob.events("register", "bob2")[0]["fingerprint"]
    alice.run("send", "bob2", "x", "--fingerprint", fingerprint)
    other = fingerprint[:-2] + ("00" if fingerprint[-2:] != "00" else "01")
    assert "another key" in alice.run("send", "bob2", "x", "--fingerprint", other, code=4)[1]
    pins = alice.home / "inbox/pins.json"
    pins.write_text(pins.read_text().replace(fingerprint, other))
    assert "has changed" in alice.run("send", "bob2", "x", code=4)[1]


def test_refusals_have_their_exit_codes(alice: Machine, bob: Machine) -> None:
    bob.run("register", "bob3")
    assert "registered to another key" in alice.run("register", "bob3", code=3)[1]
    alice.run("send", "nobody", "x", code=1)
    alice.run("register", "no address", code=2)
    alice.run("recv", code=2)
    alice.run("watch", "--transport", "pigeon", code=2)
    alice.run("send", "bob3", text=bytes(1024 * 1024), code=2)
    alice.run("register", "alice3", "--url", "http://127.0.0.1:9", code=5)


def test_files_are_their_owners_alone(bob: Machine, alice: Machine) -> None:
    bob.run("register", "bob4")
    alice.run("send", "bob4", "x")
    bob.run("recv")
    for machine in (bob, alice):
        modes = {path.name: path.stat().st_mode & 0o077 for path in (machine.home / "inbox").iterdir()}
        assert set(modes.values()) == {0}, modes


def test_a_message_that_does_not_open_keeps_no_other_away(alice: Machine, bob: Machine) -> None:
    bob.run("register", "bob5")
    alice.run("send", "bob5", "to the old key")
    (bob.home / "inbox/envelope.json").unlink()
    bob.run("register", "bob5")
    alice.run("send", "bob5", "to the new key")
    assert [event["event"] for event in bob.events("recv")] == ["unreadable", "message"]
