"""`sideband pipe` as users of nc know it: two processes, their standard input and output."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.transfers.conftest import Run
from tests.support.served_platform import SIDEBAND, ServedPlatform

DATA = os.urandom(3_000_000)
SECONDS = 60


class Listener:
    """`sideband pipe --listen` with a daemon of its own; its code is in `code`."""

    def __init__(self, platform: ServedPlatform, folder: Path, name: str) -> None:
        who = platform.add_daemon()
        given = platform.daemon_environment(f"pipe-{folder.name}", who)
        command = [*SIDEBAND, "pipe", "--listen", name, "--json", "--api-key-file", given["SIDEBAND_API_KEY_FILE"]]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **given},
            cwd=folder,
        )
        assert self.process.stderr is not None
        ready = json.loads(self.process.stderr.readline())
        assert (ready["event"], ready["stream"]) == ("ready", name)
        self.code = ready["code"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@pytest.fixture
def listen(platform: ServedPlatform, tmp_path: Path) -> object:
    made: list[Listener] = []

    def listen(name: str) -> Listener:
        made.append(Listener(platform, tmp_path, name))
        return made[-1]

    yield listen
    for one in made:
        one.close()


Listen = Callable[[str], Listener]


def connect(environment: dict[str, str], folder: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*SIDEBAND, "pipe", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=folder,
    )


def test_bytes_go_both_ways(listen: Listen, environment: dict[str, str], tmp_path: Path) -> None:
    listener = listen("both ways")
    with connect(environment, tmp_path, listener.code, "both ways") as client:
        assert listener.process.stdin is not None
        assert listener.process.stdout is not None
        listener.process.stdin.write(b"hello\n")
        listener.process.stdin.flush()
        assert client.stdout is not None
        assert client.stdout.readline() == b"hello\n"  # live, before any end
        listener.process.stdin.close()
        with ThreadPoolExecutor(1) as pool:
            arriving = pool.submit(listener.process.stdout.read)
            out, err = client.communicate(DATA, timeout=SECONDS)
            assert arriving.result(SECONDS) == DATA
        assert (out, client.returncode) == (b"", 0)
        assert err.startswith(b"sent 3,000,000 bytes, received 6 bytes")
        assert listener.process.wait(SECONDS) == 0


def test_a_reader_that_goes_away_ends_it(listen: Listen, environment: dict[str, str], tmp_path: Path) -> None:
    listener = listen("away")
    with connect(environment, tmp_path, listener.code, "away") as client:
        assert client.stdout is not None
        client.stdout.close()
        assert listener.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            while True:
                listener.process.stdin.write(DATA)
        assert client.wait(SECONDS) == 1
        assert listener.process.wait(SECONDS) == 1
        assert client.stderr is not None
        assert b"Traceback" not in client.stderr.read()


def test_ctrl_c_ends_both(listen: Listen, environment: dict[str, str], tmp_path: Path) -> None:
    listener = listen("ended")
    with connect(environment, tmp_path, listener.code, "ended", "--json") as client:
        assert client.stderr is not None
        assert json.loads(client.stderr.readline())["event"] == "ready"
        assert listener.process.stdin is not None
        listener.process.stdin.write(b"x")
        listener.process.stdin.flush()
        assert client.stdout is not None
        assert client.stdout.read(1) == b"x"
        client.send_signal(signal.SIGINT)
        assert client.wait(SECONDS) == 130
        assert json.loads(client.stderr.readlines()[-1])["event"] == "interrupted"
        assert listener.process.wait(SECONDS) == 1


def test_a_stream_that_nobody_offers_is_said(call: Run) -> None:
    assert "no stream 'nothing'" in call("pipe", "TARGET", "nothing", code=1).stderr


def test_a_listener_without_key_says_so(environment: dict[str, str], tmp_path: Path) -> None:
    with connect({**environment, "SIDEBAND_HOME": str(tmp_path)}, tmp_path, "--listen", "x") as listener:
        _, err = listener.communicate(timeout=SECONDS)
    assert listener.returncode == 2
    assert b"sideband init" in err
