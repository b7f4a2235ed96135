"""Remote functions on several workers: each a process, and the one that uses them another."""

from __future__ import annotations

import re
import signal
import sys
from contextlib import ExitStack

import pytest

from tests.support.served_platform import ROOT, Program, ServedPlatform

PRIMES_BELOW = {0: 0, 2: 0, 3: 1, 100: 25, 10_000_000: 664_579}


@pytest.fixture
def workers(platform: ServedPlatform) -> list[tuple[str, dict[str, str]]]:
    """The ids and the environments of two workers."""
    second = platform.add_daemon()
    return [
        (platform.first.daemon_id, platform.daemon_environment("first")),
        (second.daemon_id, platform.daemon_environment("second", second)),
    ]


def _start(stack: ExitStack, platform: ServedPlatform, workers: list[tuple[str, dict[str, str]]]) -> list[Program]:
    started = [
        stack.enter_context(platform.running(f"worker {number}", "functions_daemon.py", **environment))
        for number, (_, environment) in enumerate(workers)
    ]
    for (daemon_id, _), worker in zip(workers, started, strict=True):
        assert worker.hear("worker").startswith(daemon_id)
    return started


def test_two_workers_share_the_work(platform: ServedPlatform, workers: list[tuple[str, dict[str, str]]]) -> None:
    with ExitStack() as stack:
        started = _start(stack, platform, workers)
        with platform.running("client", "functions_client.py", **platform.client_environment("client")) as client:
            said = client.finish()
        assert said[-1] == f"{PRIMES_BELOW[10_000_000]} primes below 10000000"
        parts = dict(re.fullmatch(r"(\S+) did (\d+) parts", line).groups() for line in said[:-1])  # type: ignore[union-attr]
        assert set(parts) <= {daemon_id for daemon_id, _ in workers}
        assert sum(map(int, parts.values())) == 16
        for worker in started:
            worker.interrupt()


def test_the_others_take_over_from_a_worker_that_is_lost(
    platform: ServedPlatform, workers: list[tuple[str, dict[str, str]]]
) -> None:
    with ExitStack() as stack:
        first, second = _start(stack, platform, workers)
        environment = platform.client_environment("client")
        second.process.send_signal(signal.SIGSTOP)  # so that the first gets some of the work in any case
        with platform.running("client", "functions_client.py", "90000000", **environment) as client:
            first.hear("counts")
            first.kill()
            second.process.send_signal(signal.SIGCONT)
            said = client.finish()
            assert f"{workers[0][0]} is lost, others take over" in client.errors()
        assert said[-1] == "5216954 primes below 90000000"
        second.interrupt()


def test_what_a_worker_refuses_is_said(platform: ServedPlatform, workers: list[tuple[str, dict[str, str]]]) -> None:
    with ExitStack() as stack:
        _start(stack, platform, workers[:1])
        environment = platform.client_environment("client")
        with platform.running("client", "functions_client.py", "100000001", **environment) as client:
            client.finish(1)
            assert "expected 0 <= start <= stop <= 100000000" in client.errors()
            assert "Traceback" not in client.errors()


def test_no_worker_is_no_result(platform: ServedPlatform) -> None:
    with platform.running("client", "functions_client.py", **platform.client_environment("client")) as client:
        client.finish(1)
        assert "no worker is online" in client.errors()


@pytest.mark.parametrize(("stop", "count"), PRIMES_BELOW.items())
def test_the_function_itself(stop: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.delitem(sys.modules, "functions_daemon", raising=False)
    import functions_daemon

    assert functions_daemon.count_primes(0, stop) == count
    middle = stop // 3
    assert functions_daemon.count_primes(0, middle) + functions_daemon.count_primes(middle, stop) == count
