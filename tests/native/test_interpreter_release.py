"""Bulk work lets other Python threads run; small work keeps the interpreter, because giving it away costs more."""

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from sideband import _native

KEYS = bytes(32), bytes(range(32))
LARGE = bytes(_native.RELEASE_THRESHOLD)
SMALL = bytes(_native.RELEASE_THRESHOLD - 29)


@pytest.fixture(autouse=True)
def _no_forced_switches() -> Iterator[None]:
    """Let a thread run only when another gives the interpreter away of its own accord."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(interval)


def client() -> _native.DaemonSession:
    return _native.DaemonSession(_native.SessionKeys.from_bytes(*KEYS))


def daemon() -> _native.ClientSession:
    return _native.ClientSession("c", _native.SessionKeys.from_bytes(*KEYS))


def another_thread_ran_during(calls: Iterator[object]) -> bool:
    """Wake a thread, exhaust `calls` or stop at the first that lets it run, and tell whether one did."""
    ran = threading.Event()
    gate = threading.Lock()
    gate.acquire()

    def wait() -> None:
        with gate:
            ran.set()

    thread = threading.Thread(target=wait)
    thread.start()
    gate.release()
    during = any(ran.is_set() for _ in calls)
    thread.join()
    return during


def repeated(count: int, call: Callable[[], object]) -> Iterator[object]:
    return (call() for _ in range(count))


def test_large_messages_and_batches_release_the_interpreter() -> None:
    # A wake-up may take longer than one call, so each has many chances; held throughout, none would ever succeed.
    sealer = client()
    assert another_thread_ran_during(repeated(20_000, lambda: sealer.seal(LARGE)))
    assert another_thread_ran_during(repeated(20_000, lambda: sealer.seal_frames(1, [b"", b""])))
    payload, frame = client().seal(LARGE), client().seal_frame(1, LARGE)
    assert another_thread_ran_during(repeated(20_000, lambda: daemon().open(payload)))
    assert another_thread_ran_during(repeated(20_000, lambda: daemon().open_frames([frame])))


def test_small_messages_keep_it() -> None:
    sealer = client()
    payload, frame = client().seal(SMALL), client().seal_frame(1, SMALL)
    for call in (
        lambda: sealer.seal(SMALL),
        lambda: sealer.seal_frame(1, SMALL),
        lambda: daemon().open(payload),
        lambda: daemon().open_frame(frame),
    ):
        assert not another_thread_ran_during(repeated(300, call))
