"""Commands whose sessions leave the relay: a daemon with `--direct` and its clients, each a process."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from sideband.peer.files import held_bytes
from tests.support.served_platform import SIDEBAND, Program, ServedPlatform

SECONDS = 60
CONTENT = bytes(range(256)) * 8192
LARGE_BYTES = 512 << 20
ONLY_TCP = (
    "import sys; sys.modules.update(qh3=None, wrtc=None)",
    "from sideband.cli.main import main; main()",
)
"""As where the extras are not installed: what is cut here has to be a connection of its own."""
PIDFD_GETFD = 438
Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPlatform]:
    with ServedPlatform(tmp_path_factory.mktemp("platform")) as platform:
        yield platform


@pytest.fixture(scope="module")
def daemon(platform: ServedPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "shared").mkdir()
    (folder / "shared" / "file").write_bytes(CONTENT)
    with (folder / "shared" / "large").open("wb") as large:
        large.truncate(LARGE_BYTES)
    given = platform.daemon_environment("daemon")
    options = ("--direct", "--share", "shared", "--writable", "--no-codes", "--json", "--api-key-file")
    with Program("daemon", (*SIDEBAND, "daemon", *options, given["SIDEBAND_API_KEY_FILE"]), folder, given) as program:
        assert json.loads(program.hear(""))["event"] == "ready"
        yield program


@pytest.fixture
def environment(platform: ServedPlatform, daemon: Program) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}
    return {**clean, **platform.client_environment("client")}


@pytest.fixture
def run(platform: ServedPlatform, environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs a command with `--json` against the daemon, and returns its events."""

    def run(command: str, *words: str, code: int = 0, stdin: str = "", **more: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [*SIDEBAND, command, platform.first.daemon_id, *words, "--json"],
            input=stdin,
            capture_output=True,
            text=True,
            env={**environment, **more},
            cwd=tmp_path,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.mark.parametrize(("way", "path"), [("--direct", "direct:"), ("--relay-only", "relay")])
def test_a_file_comes_by_the_way_that_was_asked_for(run: Run, tmp_path: Path, way: str, path: str) -> None:
    ready, *_, done = run("get", "file", way)
    assert ready["path"].startswith(path)
    assert (done["event"], done["size"]) == ("done", len(CONTENT))
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(("way", "path"), [("--direct", "direct:"), ("--relay-only", "relay")])
def test_a_file_goes_by_the_way_that_was_asked_for(
    run: Run, tmp_path: Path, daemon: Program, way: str, path: str
) -> None:
    (tmp_path / way).write_bytes(CONTENT)
    ready, *_, done = run("put", f"./{way}", way)
    assert ready["path"].startswith(path)
    assert (done["event"], done["size"]) == ("done", len(CONTENT))


def test_ping_tells_the_way_the_round_trip_and_the_rate(run: Run) -> None:
    ready, first, second, summary = run("ping", "-n", "2", "-i", "0", "--direct")
    assert all(one["path"].startswith("direct:") for one in (ready, first, second, summary))
    assert min(first["milliseconds"], second["milliseconds"], summary["bytes_per_second"]) > 0


@pytest.mark.parametrize(("way", "path"), [("--direct", "direct:"), ("--relay-only", "relay")])
@pytest.mark.parametrize(
    "words", [("ls",), ("call", "$sideband/info"), ("bench", "--size", "64KiB")], ids=lambda words: words[0]
)
def test_every_command_takes_the_way_that_was_asked_for(run: Run, words: tuple[str, ...], way: str, path: str) -> None:
    ready, *more = run(*words, way)
    assert ready["event"] == "ready"
    assert ready["path"].startswith(path)
    assert more


def test_connect_takes_the_way_that_was_asked_for(run: Run) -> None:
    ready, info = run("connect", "--direct", stdin="info\n")
    assert ready["path"].startswith("direct:")
    assert info["path"] == ready["path"]


def test_a_pipe_takes_the_way_that_was_asked_for(
    platform: ServedPlatform, environment: dict[str, str], tmp_path: Path
) -> None:
    given = platform.daemon_environment("piping", platform.add_daemon())
    (tmp_path / "photos").write_bytes(CONTENT)
    words = ("pipe", "--listen", "photos", "--direct", "--json", "--api-key-file", given["SIDEBAND_API_KEY_FILE"])
    with (tmp_path / "photos").open("rb") as photos, ExitStack() as stack:
        daemon = stack.enter_context(
            subprocess.Popen(
                (*SIDEBAND, *words),
                stdin=photos,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**environment, **given},
            )
        )
        stack.callback(daemon.kill)
        assert daemon.stderr is not None
        code = json.loads(daemon.stderr.readline())["code"]
        done = subprocess.run(
            (*SIDEBAND, "pipe", code, "photos", "--direct", "--json"),
            input=b"",
            capture_output=True,
            env=environment,
            timeout=SECONDS,
            check=True,
        )
        assert daemon.wait(SECONDS) == 0
    assert done.stdout == CONTENT
    assert json.loads(done.stderr.splitlines()[0])["path"].startswith("direct:")


def test_ls_and_call_stay_on_the_relay_unless_told_otherwise(run: Run) -> None:
    assert all(run(*words)[0]["path"] == "relay" for words in (("ls",), ("call", "$sideband/info")))


def test_a_client_that_tells_no_address_dials_those_of_the_daemon(run: Run) -> None:
    assert run("ls", "--direct", "--no-host-candidates")[0]["path"].startswith("direct:")


def test_ping_shows_the_relay_and_then_the_direct_way(platform: ServedPlatform, environment: dict[str, str]) -> None:
    command = (*SIDEBAND, "ping", platform.first.daemon_id, "-n", "100000", "-i", "0.05", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as ping:
        assert ping.stdout is not None
        assert json.loads(ping.stdout.readline())["path"] == "relay"
        paths = (json.loads(line)["path"] for line in ping.stdout)
        assert any(path.startswith("direct:") for path in paths)
        ping.send_signal(signal.SIGINT)
        ping.stdout.read()
    assert ping.returncode == 130


def test_a_transfer_outlives_the_direct_way(
    platform: ServedPlatform, daemon: Program, environment: dict[str, str], tmp_path: Path
) -> None:
    program = (sys.executable, "-W", "error", "-c", "; ".join(ONLY_TCP))
    command = (*program, "get", platform.first.daemon_id, "large", str(tmp_path / "copy"), "--json")
    with ExitStack() as stack:
        get = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        )
        stack.callback(get.kill)
        assert get.stdout is not None
        assert get.stderr is not None
        events = (json.loads(line) for line in get.stdout)
        assert next(event for event in events if event["event"] == "path")["path"] == "direct:tcp"
        get.send_signal(signal.SIGSTOP)
        assert 0 <= held_bytes(tmp_path / "copy") < LARGE_BYTES
        _cut(get.pid, platform)
        get.send_signal(signal.SIGCONT)
        told = list(events)
        assert get.stderr.read() == ""
    assert next(event["path"] for event in told if event["event"] == "path") == "relay"
    assert (told[-1]["event"], told[-1]["size"], told[-1]["resumed_at"]) == ("done", LARGE_BYTES, 0)
    copy = tmp_path / "copy"
    assert copy.stat().st_size == LARGE_BYTES
    copy.unlink()
    while json.loads(daemon.hear("")).get("path") != "direct:tcp":
        pass


def _cut(pid: int, platform: ServedPlatform) -> None:
    """Shut down all connections of a process but those to the server, as a network does that goes away."""
    server = int(platform.url.rpartition(":")[2])
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(pid)
    try:
        found = [one for one in psutil.Process(pid).net_connections("tcp") if one.raddr and one.raddr.port != server]
        assert found, "there is a direct connection"
        for one in found:
            with socket.socket(fileno=libc.syscall(PIDFD_GETFD, process, one.fd, 0)) as held:
                held.shutdown(socket.SHUT_RDWR)
    finally:
        os.close(process)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ping", ("--ice-server", "turn:192.0.2.1")),
        ("get", ("file", "--ice-server", "stun://192.0.2.1")),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_sent(run: Run, command: str, words: tuple[str, ...]) -> None:
    [told] = run(command, *words, code=2)
    assert "--ice-server" in told["message"]


def test_a_daemon_that_is_not_direct_has_no_use_for_servers(platform: ServedPlatform, tmp_path: Path) -> None:
    given = platform.daemon_environment("idle")
    words = ("daemon", "--no-host-candidates", "--no-codes", "--api-key-file", given["SIDEBAND_API_KEY_FILE"])
    done = subprocess.run(
        (*SIDEBAND, *words), capture_output=True, text=True, env={**os.environ, **given}, timeout=SECONDS, check=False
    )
    assert done.returncode == 2
    assert "--direct" in done.stderr


def test_a_wrong_server_is_told_before_anything_is_sent(run: Run) -> None:
    assert [one["event"] for one in run("ping", code=2, SIDEBAND_ICE_SERVERS="stun.example:3478")] == ["error"]
