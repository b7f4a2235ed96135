"""`sideband daemon` as a process, on a terminal and for a program, with a real server and real clients."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sideband import cloud
from sideband.cli import config
from sideband.identity import MemoryIdentityKeyStore
from sideband.peer import Peer
from sideband.sharing import get_file, list_folder
from tests.support.pseudo_terminal import Terminal
from tests.support.served_platform import ROOT, SIDEBAND, Program, ServedPlatform

sys.path.insert(0, str(Path(__file__).parent))
from test_qr import read_qr

SECONDS = 60


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPlatform]:
    with ServedPlatform(tmp_path_factory.mktemp("platform"), relay__grace_seconds="20") as platform:
        yield platform


Start = Callable[..., Any]


@pytest.fixture
def start(platform: ServedPlatform, tmp_path: Path) -> Start:
    """Starts `sideband daemon` for a daemon of its own."""
    count = 0

    @contextmanager
    def begin(*options: str, who: Any = None, **environment: str) -> Iterator[Program]:
        nonlocal count
        count += 1
        given = {**_environment(platform, tmp_path, who or platform.first), **environment}
        with Program(f"daemon {count}", (*SIDEBAND, "daemon", *options), tmp_path, given) as program:
            yield program

    return begin


def _environment(platform: ServedPlatform, folder: Path, who: Any) -> dict[str, str]:
    home = folder / f"home of {who.daemon_id}"
    home.mkdir(mode=0o700, exist_ok=True)
    return {"SIDEBAND_API_URL": platform.url, "SIDEBAND_API_KEY": who.api_key, "SIDEBAND_HOME": str(home)}


def _events(program: Program, *names: str) -> list[dict[str, Any]]:
    """Wait for events of these names, in any order, and return them."""
    found: dict[str, dict[str, Any]] = {}
    while set(found) != set(names):
        event: dict[str, Any] = json.loads(program.hear(""))
        assert event["v"] == 1
        if event["event"] in names:
            found[event["event"]] = event
    return [found[name] for name in names]


def _event(program: Program, name: str) -> dict[str, Any]:
    return _events(program, name)[0]


def _connect(platform: ServedPlatform, **more: Any) -> Peer:
    return cloud.connect(api_url=platform.url, identity_key_store=MemoryIdentityKeyStore(), **more)


def _account(platform: ServedPlatform, who: Any) -> dict[str, Any]:
    return {"daemon_id": who.daemon_id, "get_access_token": lambda: who.token}


async def test_events_of_a_daemon_that_shares_a_folder(platform: ServedPlatform, start: Start, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "note.txt").write_text("hello")
    with start("--json", "--share", "shared", "--name", "attic") as daemon:
        first = json.loads(await asyncio.to_thread(daemon.hear, ""))
        assert (first["event"], first["daemon_id"], first["name"]) == ("ready", platform.first.daemon_id, "attic")
        assert first["share"] == {"root": str(shared), "writable": False, "hidden": False}
        code = await asyncio.to_thread(_event, daemon, "code")
        assert code["url"] == f"{platform.url}/connect#qc={code['code']}"
        async with _connect(platform, quick_connect_code=code["code"]) as peer:
            assert [entry.name for entry in await list_folder(peer)] == ["note.txt"]
            await get_file(peer, "note.txt", tmp_path / "got.txt")
            connected, new, transfer = await asyncio.to_thread(_events, daemon, "connected", "code", "transfer")
            assert (connected["subject"], connected["path"]) == ("quick-connect", "relay")
            assert connected["fingerprint"] == first["fingerprint"] == peer.fingerprint
            assert new["reason"] == "used"
            assert new["code"] != code["code"]
            assert (transfer["direction"], transfer["path"], transfer["size"]) == ("get", "note.txt", 5)
            await get_file(peer, "note.txt", tmp_path / "again.txt")
        # Whichever is first: a client may be gone before the end of its transfer is told.
        gone, transfer = await asyncio.to_thread(_events, daemon, "disconnected", "transfer")
        assert (gone["connection"], transfer["connection"], transfer["size"]) == (1, 1, 5)
        daemon.process.send_signal(signal.SIGTERM)
        assert json.loads(daemon.finish(0)[-1]) == {"v": 1, "event": "stopping", "reason": "SIGTERM"}
        assert (tmp_path / "got.txt").read_text() == "hello"


async def test_its_clients_come_back_after_a_restart(platform: ServedPlatform, start: Start) -> None:
    who = platform.add_daemon()
    with start("--json", who=who) as daemon:
        _event(daemon, "ready")
        peer = _connect(platform, **_account(platform, who))
        async with peer:
            daemon.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(daemon.finish)
            with start("--json", "--no-codes", who=who) as again:
                await asyncio.to_thread(_event, again, "ready")
                assert await peer.rpc.call("$sideband/echo", "back", timeout=SECONDS) == "back"
                again.process.send_signal(signal.SIGINT)
                await asyncio.to_thread(again.finish, 130)


async def test_a_second_one_with_the_same_key_ends_the_first(platform: ServedPlatform, start: Start) -> None:
    who = platform.add_daemon()
    with start("--json", who=who) as first:
        _event(first, "ready")
        with start("--json", who=who) as second:
            _event(second, "ready")
            error = _event(first, "error")
            assert "another process" in error["message"]
            first.finish(2)
            second.process.send_signal(signal.SIGTERM)
            second.finish()


async def test_two_daemons_and_five_clients(platform: ServedPlatform, start: Start) -> None:
    owners = [platform.add_daemon(), platform.add_daemon()]
    with start("--json", who=owners[0]) as first, start("--json", who=owners[1]) as second:
        for daemon in (first, second):
            _event(daemon, "ready")
        clients = [(owners[n % 2], _connect(platform, **_account(platform, owners[n % 2]))) for n in range(5)]
        await asyncio.gather(*(peer.when_ready() for _, peer in clients))
        answers = await asyncio.gather(*(peer.rpc.call("$sideband/info") for _, peer in clients))
        assert [one["daemonId"] for one in answers] == [owner.daemon_id for owner, _ in clients]
        stats = await asyncio.gather(*(peer.rpc.call("$sideband/stats") for _, peer in clients))
        assert [one["connections"] for one in stats] == [3, 2, 3, 2, 3]
        await asyncio.gather(*(peer.disconnect() for _, peer in clients))
        for daemon, count in ((first, 3), (second, 2)):
            daemon.process.send_signal(signal.SIGHUP)
            said = [json.loads(line)["event"] for line in await asyncio.to_thread(daemon.finish)]
            assert said.count("connected") == said.count("disconnected") == count
            assert said[-1] == "stopping"


async def test_once(platform: ServedPlatform, start: Start) -> None:
    with start("--json", "--once", who=platform.add_daemon()) as daemon:
        code = _event(daemon, "code")["code"]
        async with _connect(platform, quick_connect_code=code) as peer:
            assert await peer.rpc.call("$sideband/echo", 1) == 1
        said = await asyncio.to_thread(daemon.finish, 0)
        assert json.loads(said[-1])["reason"] == "once"


def test_without_a_terminal_there_is_no_code(platform: ServedPlatform, start: Start) -> None:
    who = platform.add_daemon()
    with start(who=who) as daemon:
        assert daemon.hear("daemon").strip() == who.daemon_id
        assert daemon.hear("key").strip().startswith("SHA256:")
        assert daemon.hear("relay").strip() == platform.url.replace("http", "ws") + "/relay"
        daemon.process.send_signal(signal.SIGTERM)
        said = "\n".join(daemon.finish())
        assert "sideband connect" not in said
        assert "ends (SIGTERM)" in said


def test_the_service_manager_is_told(platform: ServedPlatform, start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(SECONDS)
        with start(who=platform.add_daemon(), NOTIFY_SOCKET=str(tmp_path / "notify")) as daemon:
            assert manager.recv(1000).startswith(b"READY=1\n")
            daemon.process.send_signal(signal.SIGTERM)
            assert manager.recv(1000) == b"STOPPING=1"
            daemon.finish()


def test_the_journal_gets_priorities_in_place_of_times(start: Start) -> None:
    with start(SIDEBAND_API_URL="http://127.0.0.1:9", JOURNAL_STREAM="8:1") as daemon:
        _wait_for(lambda: daemon.errors().count("\n") > 0)
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.finish() == []
        assert re.match(
            r"<4>the control plane cannot be asked \(connection_refused: .*next attempt in", daemon.errors()
        )


def test_ctrl_c_while_it_waits_for_the_server(start: Start) -> None:
    with start(SIDEBAND_API_URL="http://127.0.0.1:9") as daemon:
        _wait_for(lambda: "next attempt" in daemon.errors())
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.finish(130) == []


def test_nobody_reads_what_it_tells(platform: ServedPlatform, start: Start) -> None:
    with start("--json", who=platform.add_daemon()) as daemon:
        _event(daemon, "code")
        assert daemon.process.stdout is not None
        daemon.process.stdout.close()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(SECONDS) == 1
        assert daemon.errors() == ""


# Bad input


def test_a_key_that_is_refused(start: Start) -> None:
    key = "sbnd_dak_" + "x" * 43
    with start(SIDEBAND_API_KEY=key) as daemon:
        daemon.finish(3)
        assert "unknown or revoked" in daemon.errors()
        assert key not in daemon.errors()


def test_another_identity_than_the_registered_one(platform: ServedPlatform, start: Start, tmp_path: Path) -> None:
    who = platform.add_daemon()
    with start(who=who) as daemon:
        daemon.hear("relay")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.finish()
    identity = Path(_environment(platform, tmp_path, who)["SIDEBAND_HOME"]) / "identity.json"
    identity.unlink()
    with start(who=who) as daemon:
        daemon.finish(4)
        assert "another identity key" in daemon.errors()
        assert f"of {identity}" in daemon.errors()


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        ((), {"SIDEBAND_API_KEY": ""}, "there is no API key"),
        (("--api-key-file", "nowhere"), {}, "cannot be read from nowhere"),
        ((), {"SIDEBAND_API_KEY": "two words"}, "api_key has to be one word"),
        (("--share", "nowhere"), {}, "--share takes a folder"),
        (("--writable",), {}, "name it with --share"),
        (("--api", "http://control.example"), {}, "use https"),
        (("--api", "nonsense"), {}, "API address"),
        (("--log-level", "loud"), {}, "--log-level is one of"),
    ],
)
def test_what_makes_no_sense(start: Start, options: tuple[str, ...], environment: dict[str, str], said: str) -> None:
    with start(*options, **environment) as daemon:
        assert daemon.finish(2) == []
        assert said in daemon.errors()
        assert "Traceback" not in daemon.errors()


def test_an_identity_that_others_can_read(platform: ServedPlatform, start: Start, tmp_path: Path) -> None:
    who = platform.add_daemon()
    home = Path(_environment(platform, tmp_path, who)["SIDEBAND_HOME"])
    (home / "identity.json").write_text("{}")
    (home / "identity.json").chmod(0o644)
    with start(who=who) as daemon:
        daemon.finish(1)
        assert "identity.json" in daemon.errors()


def test_the_key_comes_from_a_file_or_standard_input(platform: ServedPlatform, start: Start, tmp_path: Path) -> None:
    who = platform.add_daemon()
    (tmp_path / "key").write_text(who.api_key + "\n")
    with start("--api-key-file", "key", who=who, SIDEBAND_API_KEY="wrong") as daemon:
        daemon.hear("daemon")
        command_line = Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes()
        assert who.api_key.encode() not in command_line
        daemon.process.send_signal(signal.SIGTERM)
        daemon.finish()
    with start("--api-key-file", "-", who=who, SIDEBAND_API_KEY="") as daemon:
        daemon.type(who.api_key)
        daemon.hear("daemon")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.finish()
        assert who.api_key not in daemon.errors()


def test_what_init_stored_will_do(
    platform: ServedPlatform, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = platform.add_daemon()
    monkeypatch.setenv("SIDEBAND_HOME", _environment(platform, tmp_path, who)["SIDEBAND_HOME"])
    config.save_config(api_url=platform.url, api_key=who.api_key)
    with start(who=who, SIDEBAND_API_KEY="", SIDEBAND_API_URL="") as daemon:
        assert daemon.hear("daemon").strip() == who.daemon_id
        daemon.process.send_signal(signal.SIGTERM)
        daemon.finish()


# On a terminal


@pytest.fixture
def terminal(platform: ServedPlatform, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(*options: str, columns: int = 100, who: Any = None) -> Terminal:
        environment = _environment(platform, tmp_path, who or platform.add_daemon())
        opened.append(Terminal((*SIDEBAND, "daemon", *options), environment, tmp_path, columns=columns))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def _code(lines: list[str]) -> str | None:
    """The last code on the screen, once the line after it is there too."""
    found = [re.search(r"/connect#qc=(\S+)$", line) for line in lines[:-1]]
    return next((one[1] for one in reversed(found) if one), None)


def _drawn(lines: list[str]) -> list[str]:
    return [line for line in lines if line and set(line) <= set("█▀▄ ")]


async def test_what_people_see(platform: ServedPlatform, terminal: Callable[..., Terminal]) -> None:
    who = platform.add_daemon()
    daemon = terminal("--share", ".", "--name", "the attic", who=who)
    await asyncio.to_thread(daemon.until, lambda lines: _code(lines) and len(_drawn(lines)) > 15)
    code = _code(daemon.lines)
    assert f"daemon  {who.daemon_id} (the attic)" in daemon.lines
    assert any(line.startswith("key     SHA256:") for line in daemon.lines)
    commands = (f"ls {code}", f"get {code} FILE", f"connect {code}")
    assert [line for line in daemon.lines if line.startswith("  sideband ")] == [
        f"  sideband {command} --api {platform.url}" for command in commands
    ]
    assert read_qr(_drawn(daemon.lines)) == f"{platform.url}/connect#qc={code}"
    async with _connect(platform, quick_connect_code=str(code)) as peer:
        key = peer.fingerprint
        await asyncio.to_thread(daemon.until, lambda lines: _code(lines) not in (None, code))
        assert any(line.endswith(f"+ #1 a guest with a code, relay, shown {key}") for line in daemon.lines)
    await asyncio.to_thread(
        daemon.until, lambda lines: any("- #1 a guest with a code, after 0 s" in line for line in lines)
    )
    daemon.type("\x03")
    assert await asyncio.to_thread(daemon.finish) == 130
    assert any(line.endswith("ends (SIGINT)") for line in daemon.lines)


def test_a_narrow_terminal_gets_the_code_without_a_picture(terminal: Callable[..., Terminal]) -> None:
    daemon = terminal(columns=30)
    daemon.until(_code)
    daemon.type("\x03")
    assert daemon.finish() == 130
    assert _drawn(daemon.lines) == []


def test_pictures_can_be_left_out(terminal: Callable[..., Terminal]) -> None:
    daemon = terminal("--no-qr")
    daemon.until(_code)
    daemon.type("\x03")
    assert daemon.finish() == 130
    assert _drawn(daemon.lines) == []


# As a service


@pytest.mark.servers
def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    (tmp_path / ".local/bin").mkdir(parents=True)
    (tmp_path / ".local/bin/sideband").symlink_to(Path(sys.executable).parent / "sideband")
    unit = ROOT / "deploy/systemd/sideband-daemon.service"
    checked = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def _wait_for(condition: Callable[[], object]) -> None:
    """Look again and again: what is waited for is in a file, which has no event."""
    for _ in range(SECONDS * 50):
        if condition():
            return
        select.select([], [], [], 0.02)
    raise AssertionError("it did not come about")
