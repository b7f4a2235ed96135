"""The relay as a process of its own: what forwarding, connections, idle connections and slow readers cost."""

import secrets
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from socket import socket

from benches.relay_load import Link, connect, discard_all, masked, upgrade_request
from sideband._native import encode_data, encode_ping
from sideband.bench.issuer import Issuer
from sideband.bench.measuring import Aim, Settings, SuiteResult, Table
from sideband.bench.processes import ServerProcess, started
from sideband.relay.config import RelayConfig

__all__ = ["TITLE", "run"]

TITLE = "The relay"

OURS, AIOHTTP, PICOWS = "ours", "bare aiohttp", "bare picows"
_RIVALS = {AIOHTTP: "benches.rivals.aiohttp_relay", PICOWS: "benches.rivals.picows_relay"}
SIZES = {"64 KiB": 65_536, "256 B": 256}
MIB = 1 << 20
_CONNECTION_BYTES = 16_384
_RECEIVE_BUFFER_BYTES = RelayConfig(issuer="any").receive_buffer_bytes
_DAEMON = "d_" + "b" * 22


def run(settings: Settings) -> SuiteResult:
    """Measure everything; a quick run does the same with little of each."""
    result = SuiteResult(tables=[])
    _forwarding(result, settings, scale=min(1.0, settings.sample_seconds / Settings.sample_seconds))
    quick = settings.sample_seconds < Settings.sample_seconds / 3
    _connections(result, count=100 if quick else 5000)
    _slow_consumers(result, clients=5 if quick else 100)
    _fairness(result, rounds=settings.rounds, mebibytes=1 if quick else 8)
    return result


def _forwarding(result: SuiteResult, settings: Settings, scale: float) -> None:
    issuer = Issuer()
    rows = []
    with _servers(issuer) as servers:
        for label, size in SIZES.items():
            links = [Link(server, issuer if server.name == OURS else None) for server in servers]
            frames = max(10, int(scale * (2000 if size > 1000 else 60_000)))
            for up in (True, False):
                name = f"{label}, {'client to daemon' if up else 'daemon to client'}"
                wall, cpu = _rounds(links, size, frames, settings.rounds, up=up)
                result.samples[f"{name}, seconds a frame"] = wall
                result.samples[f"{name}, processor seconds a frame"] = cpu
                rows.append(_forwarding_row(name, size, wall, cpu))
                result.aims += _forwarding_aims(name, cpu, large=size > 1000)
            for link in links:
                link.close()
    columns = ["frames", OURS, *_RIVALS]
    columns += [f"{name}, µs of CPU a frame" for name in (OURS, *_RIVALS)]
    note = "One sender, one receiver, frames masked beforehand. Our relay checks each frame and its session."
    result.tables.append(Table("Forwarding", columns, rows, note))


def _rounds(
    links: list[Link], size: int, frames: int, rounds: int, *, up: bool
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    wall: dict[str, list[float]] = {link.server.name: [] for link in links}
    cpu: dict[str, list[float]] = {link.server.name: [] for link in links}
    for link in links:
        link.run(size, frames // 4, up=up)
    for _ in range(rounds):
        for link in links:
            seconds, processor_seconds = link.run(size, frames, up=up)
            wall[link.server.name].append(seconds)
            cpu[link.server.name].append(processor_seconds)
    return wall, cpu


def _forwarding_row(name: str, size: int, wall: dict[str, list[float]], cpu: dict[str, list[float]]) -> list[str]:
    rates = [1 / statistics.median(samples) for samples in wall.values()]
    costs = [statistics.median(samples) * 1e6 for samples in cpu.values()]
    return [
        name,
        *(f"{rate:,.0f}/s, {rate * size / 1e9:.2f} GB/s" for rate in rates),
        *(f"{cost:.2f}" for cost in costs),
    ]


def _forwarding_aims(name: str, cpu: dict[str, list[float]], *, large: bool) -> list[Aim]:
    ours, aiohttp, picows = (statistics.median(cpu[server]) for server in (OURS, AIOHTTP, PICOWS))
    if large:
        measure = f"Relay, {name}: processor time a frame against aiohttp"
        return [Aim(measure, ours / aiohttp, 0.6, at_least=False)]
    measure = f"Relay, {name}: frames a processor second against {{}}"
    return [Aim(measure.format("aiohttp"), aiohttp / ours, 2.0), Aim(measure.format("picows"), picows / ours, 1.0)]


def _connections(result: SuiteResult, count: int) -> None:
    issuer = Issuer()
    rows = []
    with _servers(issuer) as servers:
        for server in servers[:2]:
            if server.name == OURS:
                daemon = [connect(server.port, upgrade_request(token=issuer.daemon(_DAEMON)))]
                requests = [upgrade_request(token=issuer.client(_DAEMON, n + 1)) for n in range(count + 50)]
            else:
                daemon = []
                requests = [upgrade_request(f"/?pair={n}") for n in range(count + 50)]
            warm, seconds, cpu = _open_all(server, requests[:50])
            before = server.resident_bytes()
            held, seconds, cpu = _open_all(server, requests[50:])
            each = (server.resident_bytes() - before) / count
            for connection in daemon + warm + held:
                connection.close()
            result.samples[f"{server.name}, bytes an idle connection"] = [each]
            result.samples[f"{server.name}, processor seconds a new connection"] = [cpu / count]
            rows.append([server.name, f"{count:,}", f"{each / 1024:.1f} KiB", f"{count / seconds:,.0f}/s"])
            rows[-1].append(f"{cpu / count * 1e6:,.0f} µs")
            if server.name == OURS:
                aim = f"Memory of each of {count:,} idle connections"
                result.aims.append(Aim(aim, each / 1024, 16.0, at_least=False, unit=" KiB"))
    columns = ["relay", "idle connections", "memory each", "new connections", "CPU for a new one"]
    note = "Ours verifies a token for each; the bare relay has none. Memory is the process's own, over its base."
    result.tables.append(Table("Connections", columns, rows, note))


def _open_all(server: ServerProcess, requests: list[bytes]) -> tuple[list[socket], float, float]:
    cpu, start = server.cpu_seconds(), time.perf_counter()
    with ThreadPoolExecutor(8) as threads:
        connections = list(threads.map(lambda request: connect(server.port, request), requests))
    return connections, time.perf_counter() - start, server.cpu_seconds() - cpu


def _slow_consumers(result: SuiteResult, clients: int) -> None:
    issuer = Issuer()
    hard_limit = 2 * MIB
    rows = []
    for label, size in SIZES.items():
        told = issuer.told(queue_bound_bytes=MIB, queue_hard_limit_bytes=hard_limit)
        with started(OURS, "sideband.bench.relay_process", told) as server:
            daemon = connect(server.port, upgrade_request(token=issuer.daemon(_DAEMON)))
            requests = [upgrade_request(token=issuer.client(_DAEMON, n + 1)) for n in range(clients)]
            slow = [connect(server.port, request, receive_buffer=4096) for request in requests]
            base = server.resident_bytes()
            peak, at_limit = _flood(server, daemon, clients, size, hard_limit)
            for connection in [*slow, daemon]:
                connection.close()
        bound = clients * (hard_limit + _CONNECTION_BYTES) + _RECEIVE_BUFFER_BYTES
        result.samples[f"slow consumers, frames of {label}, bytes over the base"] = [at_limit - base, peak - base]
        grown = (peak - base) / bound
        rows.append(
            [label, str(clients), *(f"{size / MIB:,.0f} MiB" for size in (bound, at_limit - base, peak - base))]
        )
        aim = f"{clients} clients that do not read, frames of {label}: memory against the bound"
        result.aims.append(Aim(aim, grown, 1.0, at_least=False))
    columns = ["frames", "clients that do not read", "bound", "grown at twice the limit each", "at most"]
    note = (
        "A daemon sends to each in turn as fast as it can, four times the limit of 2 MiB a client. The kernel takes "
        "some of it, and a client over its limit is cut. The bound is that limit and 16 KiB for each connection, and "
        "the one receive buffer."
    )
    result.tables.append(Table("Slow consumers", columns, rows, note))


def _flood(server: ServerProcess, daemon: socket, clients: int, size: int, limit: int) -> tuple[int, int]:
    burst = max(1, 16_384 // size)
    turn = b"".join(masked(encode_data(n + 1, bytes(size))) * burst for n in range(clients))
    turns = limit // (burst * size)
    done = threading.Event()
    peak = 0

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, server.resident_bytes())

    with ThreadPoolExecutor(1) as threads:
        watching = threads.submit(watch)
        for _ in range(2 * turns):
            daemon.sendall(turn)
        _settle(daemon)
        at_limit = server.resident_bytes()
        for _ in range(2 * turns):
            daemon.sendall(turn)
        _settle(daemon)
        done.set()
        watching.result()
    return max(peak, at_limit), at_limit


def _settle(connection: socket) -> None:
    """Wait until the relay has read all that was sent so far."""
    token = secrets.token_bytes(8)
    connection.sendall(masked(encode_ping(token)))
    seen = b""
    while token not in seen:
        seen = seen[-8:] + connection.recv(65_536)


def _drain(connection: socket) -> None:
    # What the relay sends after the shutdown is answered with a reset, which ends it too.
    with suppress(ConnectionResetError):
        while connection.recv(65_536):
            pass


def _fairness(result: SuiteResult, rounds: int, mebibytes: int) -> None:
    issuer = Issuer()
    times: dict[str, list[float]] = {"all read": [], "one does not": []}
    told = issuer.told(queue_bound_bytes=MIB, queue_hard_limit_bytes=4 * MIB)
    with started(OURS, "sideband.bench.relay_process", told) as server:
        daemon = connect(server.port, upgrade_request(token=issuer.daemon(_DAEMON)))
        with ThreadPoolExecutor(2) as threads:
            draining = threads.submit(_drain, daemon)
            # A round is short and is timed by the clock, so whatever else the machine does falls on one of a pair.
            for turn in range(2 * rounds + 1):
                for name in sorted(times, reverse=turn % 2 == 1):
                    times[name].append(_fan_out(server, issuer, daemon, threads, mebibytes, slow=name != "all read"))
            daemon.shutdown(2)
            draining.result()
        daemon.close()
    result.samples["fairness, seconds"] = times
    cost = statistics.median(slow / base for base, slow in zip(*times.values(), strict=True)) - 1
    rows = [[name, f"{statistics.median(samples):.3f} s"] for name, samples in times.items()]
    result.tables.append(
        Table("Fairness", ["20 clients of a daemon", f"{mebibytes} MiB for each of the other 19"], rows)
    )
    result.aims.append(
        Aim("What one slow client among 20 costs the others", cost * 100, 10.0, at_least=False, unit=" %")
    )


def _fan_out(
    server: ServerProcess, issuer: Issuer, daemon: socket, threads: ThreadPoolExecutor, mebibytes: int, *, slow: bool
) -> float:
    sids = [secrets.randbits(63) + 1 for _ in range(20)]
    clients = [connect(server.port, upgrade_request(token=issuer.client(_DAEMON, sid))) for sid in sids]
    frames = [masked(encode_data(sid, bytes(16_000))) for sid in sids]
    turn = b"".join(frames)
    turns = mebibytes * MIB // 16_000
    start = time.perf_counter()
    sending = threads.submit(_send_turns, daemon, turn, turns)
    discard_all(clients[1:] if slow else clients, turns * (16_000 + 13 + 4))
    seconds = time.perf_counter() - start
    sending.result()
    for client in clients:
        client.close()
    return seconds


def _send_turns(daemon: socket, turn: bytes, turns: int) -> None:
    for _ in range(turns):
        daemon.sendall(turn)


@contextmanager
def _servers(issuer: Issuer) -> Iterator[list[ServerProcess]]:
    with ExitStack() as stack:
        told = issuer.told(max_connections=100_000, max_sessions_per_daemon=100_000)
        ours = stack.enter_context(started(OURS, "sideband.bench.relay_process", told))
        yield [ours, *(stack.enter_context(started(name, module)) for name, module in _RIVALS.items())]
