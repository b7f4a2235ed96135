"""The live byte pipe, as its user runs it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.served_platform import ServedPlatform

SHOUT = "import sys\nfor line in sys.stdin:\n    print(line.strip().upper(), flush=True)"


def test_what_is_typed_comes_back_at_once(platform: ServedPlatform, tmp_path: Path) -> None:
    environment = platform.daemon_environment("daemon")
    with platform.running("daemon", "pipe_daemon.py", sys.executable, "-c", SHOUT, **environment) as daemon:
        code = daemon.hear("code").partition(" ")[0]
        with platform.running("one", "pipe_client.py", **platform.client_environment("one")) as one:
            one.type("hello")
            assert one.hear("") == "HELLO"
            with platform.running("two", "pipe_client.py", **platform.client_environment("two", code=code)) as two:
                two.type("from elsewhere")
                assert two.hear("") == "FROM ELSEWHERE"
                two.finish()  # the end of its standard input ends the command
            one.type("and once more")
            assert one.hear("") == "AND ONCE MORE"
            one.finish()
        daemon.interrupt()


def test_a_command_that_ends_ends_the_pipe(platform: ServedPlatform, tmp_path: Path) -> None:
    environment = platform.daemon_environment("daemon")
    with platform.running(
        "daemon", "pipe_daemon.py", sys.executable, "-c", "print('x' * 300_000)", **environment
    ) as it:
        it.hear("code")
        with platform.running("client", "pipe_client.py", **platform.client_environment("client")) as client:
            assert client.hear("") == "x" * 300_000
            assert client.process.wait(30) == 0
        it.interrupt()


def test_wrong_use_is_said(platform: ServedPlatform) -> None:
    with platform.running("daemon", "pipe_daemon.py") as daemon:
        daemon.finish(1)
        assert daemon.errors().startswith("usage: ")
