"""The example of failing over prints which way carried each message."""

import subprocess
import sys

from tests.support.served_platform import ROOT


def test_each_message_comes_by_the_way_that_is_left() -> None:
    command = [sys.executable, "-W", "error", ROOT / "examples/inbox_failover.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()] == [
        ["ws", "put while nothing was blocked"],
        ["sse", "put while ws was blocked"],
        ["long-poll", "put while ws and stream was blocked"],
    ]
