"""Sealing and opening Data frames: ours, one at a time and in batches, against the same session in Python."""

import os
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

from sideband._native import (
    ClientSession,
    DaemonSession,
    SessionKeys,
    batch_threads,
    seal_websocket_frames,
    set_batch_threads,
)
from sideband.bench.measuring import Contestant
from sideband.bench.openssl_session import CLIENT_TO_DAEMON, DAEMON_TO_CLIENT, OpensslSession
from sideband.bench.pure_session import PureSession

__all__ = [
    "BATCH",
    "ONE_THREAD",
    "OPENSSL",
    "OURS",
    "OURS_BATCH",
    "PURE",
    "SIZES",
    "TWO_THREADS",
    "Action",
    "check_agreement",
    "contestants",
    "threads",
]

Action: TypeAlias = Literal["seal", "open"]

SIZES = (64, 1024, 16_384, 65_508)
BATCH = 32
"""Frames that are sealed or opened in one call, where one call takes several."""
OURS, OURS_BATCH, OPENSSL, PURE = "ours", f"ours, batch of {BATCH}", "Python over `cryptography`", "pure Python"
ONE_THREAD, TWO_THREADS = "one thread", "two threads"
_SESSION_ID = 0x1122334455667788
_MEMORY_PER_SAMPLE = 16 * 1024 * 1024


class _Side(Protocol):
    def seal_frame(self, session_id: int, plaintext: bytes, /) -> bytes: ...
    def open_frame(self, frame: bytes, /) -> bytes: ...


def contestants(action: Action, size: int) -> list[Contestant]:
    """Return the four ways to do it, for `measure`; messages have `size` bytes."""
    return _sealing(size) if action == "seal" else _opening(size)


def threads(action: Action, size: int) -> list[Contestant]:
    """Return batches by one thread and by two, for `measure` by the clock; sealed as they go to a WebSocket, masked."""
    return [_by_threads(name, count, action, size) for name, count in ((ONE_THREAD, 1), (TWO_THREADS, 2))]


def check_agreement() -> None:
    """Fail unless all contestants make the same bytes and open each other's: else they would not do the same work.

    Raises:
        AssertionError: they do not.
    """
    keys = _keys()
    message = os.urandom(1000)
    clients = [make(*keys) for make in (_our_client, _openssl_client, _pure_client)]
    sealed = {client.seal_frame(_SESSION_ID, message) for client in clients}
    if len(sealed) != 1:
        raise AssertionError("the contestants seal one message to different bytes")
    frame = sealed.pop()
    for make in (_our_daemon, _openssl_daemon, _pure_daemon):
        if make(*keys).open_frame(frame) != message:
            raise AssertionError(f"{make.__name__} does not open what the others seal")


def _sealing(size: int) -> list[Contestant]:
    message = os.urandom(size)
    limit = max(BATCH, _MEMORY_PER_SAMPLE // (size + 64))

    def single(make: Callable[[bytes, bytes], _Side]) -> Callable[[int], Callable[[], object]]:
        def prepare(count: int) -> Callable[[], object]:
            seal = make(*_keys()).seal_frame

            def call() -> None:
                for _ in range(count):
                    seal(_SESSION_ID, message)

            return call

        return prepare

    def batch(count: int) -> Callable[[], object]:
        seal = _our_client(*_keys()).seal_frames
        messages = [message] * BATCH

        def call() -> None:
            for _ in range(count // BATCH):
                seal(_SESSION_ID, messages)

        return call

    return [
        Contestant(OURS, single(_our_client), max_operations=limit),
        Contestant(OURS_BATCH, batch, per_call=BATCH, max_operations=limit),
        Contestant(OPENSSL, single(_openssl_client), max_operations=limit),
        Contestant(PURE, single(_pure_client), max_operations=limit),
    ]


def _opening(size: int) -> list[Contestant]:
    message = os.urandom(size)
    limit = max(BATCH, _MEMORY_PER_SAMPLE // (size + 64))

    def frames(keys: tuple[bytes, bytes], count: int) -> list[bytes]:
        return _our_client(*keys).seal_frames(_SESSION_ID, [message] * count)

    def single(make: Callable[[bytes, bytes], _Side]) -> Callable[[int], Callable[[], object]]:
        def prepare(count: int) -> Callable[[], object]:
            keys = _keys()
            sealed = frames(keys, count)
            open_frame = make(*keys).open_frame

            def call() -> None:
                for frame in sealed:
                    open_frame(frame)

            return call

        return prepare

    def batch(count: int) -> Callable[[], object]:
        keys = _keys()
        sealed = frames(keys, count)
        batches = [sealed[start : start + BATCH] for start in range(0, count, BATCH)]
        open_frames = _our_daemon(*keys).open_frames

        def call() -> None:
            for one in batches:
                open_frames(one)

        return call

    return [
        Contestant(OURS, single(_our_daemon), max_operations=limit),
        Contestant(OURS_BATCH, batch, per_call=BATCH, max_operations=limit),
        Contestant(OPENSSL, single(_openssl_daemon), max_operations=limit),
        Contestant(PURE, single(_pure_daemon), max_operations=limit),
    ]


def _by_threads(name: str, count: int, action: Action, size: int) -> Contestant:
    messages = [os.urandom(size)] * BATCH

    def prepare(operations: int) -> Callable[[], object]:
        keys = _keys()
        sender = _our_client(*keys)
        batches = operations // BATCH
        sealed = [sender.seal_frames(_SESSION_ID, messages) for _ in range(batches)] if action == "open" else []
        open_frames = _our_daemon(*keys).open_frames

        def call() -> None:
            before = batch_threads()
            set_batch_threads(count)
            if action == "seal":
                for _ in range(batches):
                    seal_websocket_frames(sender, _SESSION_ID, messages, masked=True)
            else:
                for frames in sealed:
                    open_frames(frames)
            set_batch_threads(before)

        return call

    return Contestant(name, prepare, per_call=BATCH, max_operations=max(BATCH, _MEMORY_PER_SAMPLE // (size + 64)))


def _keys() -> tuple[bytes, bytes]:
    return os.urandom(32), os.urandom(32)


def _our_client(to_daemon: bytes, to_client: bytes) -> DaemonSession:
    return DaemonSession(SessionKeys.from_bytes(to_daemon, to_client))


def _our_daemon(to_daemon: bytes, to_client: bytes) -> ClientSession:
    return ClientSession("bench", SessionKeys.from_bytes(to_daemon, to_client))


def _openssl_client(to_daemon: bytes, to_client: bytes) -> OpensslSession:
    return OpensslSession(to_daemon, to_client, CLIENT_TO_DAEMON, DAEMON_TO_CLIENT)


def _openssl_daemon(to_daemon: bytes, to_client: bytes) -> OpensslSession:
    return OpensslSession(to_client, to_daemon, DAEMON_TO_CLIENT, CLIENT_TO_DAEMON)


def _pure_client(to_daemon: bytes, to_client: bytes) -> PureSession:
    return PureSession(to_daemon, to_client, CLIENT_TO_DAEMON, DAEMON_TO_CLIENT)


def _pure_daemon(to_daemon: bytes, to_client: bytes) -> PureSession:
    return PureSession(to_client, to_daemon, DAEMON_TO_CLIENT, CLIENT_TO_DAEMON)
