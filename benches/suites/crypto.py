"""Sealing and opening Data frames: ours, one at a time and in batches, against the same session in Python."""

import os
from collections.abc import Callable
from typing import Protocol

from sideband._native import ClientSession, DaemonSession, SessionKeys
from sideband.bench.measuring import Aim, Contestant, Settings, SuiteResult, Table, measure, median, spread
from sideband.bench.openssl_session import CLIENT_TO_DAEMON, DAEMON_TO_CLIENT, OpensslSession
from sideband.bench.pure_session import PureSession

__all__ = ["TITLE", "run"]

TITLE = "Seal and open Data frames"

SIZES = (64, 1024, 16_384, 65_508)
_SMALL, _LARGE = (64,), (16_384, 65_508)
BATCH = 32
SESSION_ID = 0x1122334455667788
OURS, OURS_BATCH, OPENSSL, PURE = "ours", f"ours, batch of {BATCH}", "Python over `cryptography`", "pure Python"
_NOTE = (
    "Time a message and plaintext rate; ratios above 1 mean that ours is faster. Processor time of one thread. "
    "A batch of 32 large messages makes up to 2 MiB of new objects at once, and glibc returns that memory to the "
    "system after each batch, to take it again page by page; with MALLOC_TRIM_THRESHOLD_=100000000 in the environment "
    "a batch costs no more than its messages one by one. So a sender does best with batches under 256 KiB."
)
_MEMORY_PER_SAMPLE = 16 * 1024 * 1024


class _Side(Protocol):
    def seal_frame(self, session_id: int, plaintext: bytes, /) -> bytes: ...
    def open_frame(self, frame: bytes, /) -> bytes: ...


def run(settings: Settings) -> SuiteResult:
    """Measure every size in both directions and return the two tables."""
    _check_agreement()
    result = SuiteResult(tables=[])
    pure_ratios: list[float] = []
    for action, contestants in (("seal", _sealing), ("open", _opening)):
        rows = []
        for size in SIZES:
            samples = measure(contestants(size), settings)
            result.samples[f"{action} {size}"] = dict(samples)
            ours, batch, openssl, pure = (median(samples, name) for name in (OURS, OURS_BATCH, OPENSSL, PURE))
            against = f"{action.capitalize()} {size:,} B{{}}, rate against Python over `cryptography`"
            if size in _SMALL:
                result.aims.append(Aim(against.format(" one at a time"), openssl / ours, 3.0))
                result.aims.append(Aim(against.format(f", {BATCH} at a time"), openssl / batch, 4.0))
            elif size in _LARGE:
                result.aims.append(Aim(against.format(" one at a time"), openssl / ours, 1.0))
            pure_ratios.append(pure / ours)
            rows.append(
                [
                    f"{size:,}",
                    *(_rate(seconds, size) for seconds in (ours, batch, openssl, pure)),
                    f"{openssl / ours:.2f}",
                    f"{openssl / batch:.2f}",
                    f"{pure / ours:,.0f}",
                    f"{max(spread(samples, name) for name in samples):.0%}",
                ]
            )
        columns = ["bytes", OURS, OURS_BATCH, OPENSSL, PURE, "ours / cryptography", "batch / cryptography"]
        columns += ["ours / pure Python", "widest spread"]
        result.tables.append(
            Table(
                f"{action.capitalize()}: header, nonce, {'sequence' if action == 'seal' else 'replay check'}, cipher",
                columns,
                rows,
                _NOTE if action == "seal" else "As above.",
            )
        )
    result.aims.append(Aim("Any size either way, rate against pure Python, the least", min(pure_ratios), 300.0))
    return result


def _sealing(size: int) -> list[Contestant]:
    message = os.urandom(size)
    limit = max(BATCH, _MEMORY_PER_SAMPLE // (size + 64))

    def single(make: Callable[[bytes, bytes], _Side]) -> Callable[[int], Callable[[], object]]:
        def prepare(count: int) -> Callable[[], object]:
            seal = make(*_keys()).seal_frame

            def call() -> None:
                for _ in range(count):
                    seal(SESSION_ID, message)

            return call

        return prepare

    def batch(count: int) -> Callable[[], object]:
        seal = _our_client(*_keys()).seal_frames
        messages = [message] * BATCH

        def call() -> None:
            for _ in range(count // BATCH):
                seal(SESSION_ID, messages)

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
        return _our_client(*keys).seal_frames(SESSION_ID, [message] * count)

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


def _check_agreement() -> None:
    """Fail unless all contestants make the same bytes and open each other's: else they would not do the same work."""
    keys = _keys()
    message = os.urandom(1000)
    clients = [make(*keys) for make in (_our_client, _openssl_client, _pure_client)]
    sealed = {client.seal_frame(SESSION_ID, message) for client in clients}
    if len(sealed) != 1:
        raise AssertionError("the contestants seal one message to different bytes")
    frame = sealed.pop()
    for make in (_our_daemon, _openssl_daemon, _pure_daemon):
        if make(*keys).open_frame(frame) != message:
            raise AssertionError(f"{make.__name__} does not open what the others seal")


def _rate(seconds: float, size: int) -> str:
    time = f"{seconds * 1e9:,.0f} ns" if seconds < 1e-5 else f"{seconds * 1e6:,.0f} µs"
    rate = size / seconds / 1e6
    return f"{time}, {rate:,.0f} MB/s" if rate >= 10 else f"{time}, {rate:.2f} MB/s"
