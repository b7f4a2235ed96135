"""Peers through the relay: what a call costs beside a bare WebSocket path, how soon sessions resume, what they hold."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import aiohttp

from benches.gate import Gate
from sideband.bench.daemon_process import RETRY_SECONDS
from sideband.bench.issuer import Issuer
from sideband.bench.machine import percentile
from sideband.bench.measuring import Aim, Settings, SuiteResult, Table
from sideband.bench.processes import ServerProcess, started
from sideband.identity import IdentityKeyStore, IdentityTrust, MemoryIdentityKeyStore
from sideband.peer import ConnectionParams, ConnectionPolicy, Peer, create_peer, relay_client_negotiator
from sideband.transport import WebSocketTransport

__all__ = ["TITLE", "run"]

TITLE = "Peers through the relay"

OURS, BARE = "call through our relay", "bare aiohttp echo"
SIZE = 256
IN_FLIGHT = 64
SESSIONS = 50
_DAEMON = "d_" + "p" * 22


class Echo(Protocol):
    """Sends a message and returns what comes back."""

    async def __call__(self, message: bytes) -> object:
        """Do it once."""


def run(settings: Settings) -> SuiteResult:
    """Measure everything; a quick run does the same with little of each."""
    quick = settings.sample_seconds < Settings.sample_seconds / 3
    return asyncio.run(_run(settings.rounds, quick=quick))


async def _run(rounds: int, *, quick: bool) -> SuiteResult:
    result = SuiteResult(tables=[])
    await _calls(result, rounds, latencies=50 if quick else 1_000, messages=200 if quick else 5_000)
    await _resume(result, rounds, sessions=5 if quick else SESSIONS)
    await _memory(result, sessions=20 if quick else 1_000)
    return result


# Calls


async def _calls(result: SuiteResult, rounds: int, latencies: int, messages: int) -> None:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(_world())
        (peer,) = await world.clients(1)
        bare = await stack.enter_async_context(_bare())
        message = os.urandom(SIZE)

        async def call(message: bytes) -> object:
            return await peer.rpc.call("echo", message)

        paths: dict[str, tuple[Echo, Callable[[bytes, int], Awaitable[float]]]] = {
            OURS: (call, _calls_at_once(peer)),
            BARE: (bare.echo, bare.echoes_at_once),
        }
        medians: dict[str, list[float]] = {name: [] for name in paths}
        tails: dict[str, list[float]] = {name: [] for name in paths}
        rates: dict[str, list[float]] = {name: [] for name in paths}
        for name, (echo, at_once) in paths.items():
            if await echo(message) != message:
                raise AssertionError(f"{name} does not echo")
            await at_once(message, messages // 4)
        for _ in range(rounds):
            for name, (echo, at_once) in paths.items():
                seconds = await _latencies(echo, message, latencies)
                medians[name].append(statistics.median(seconds))
                tails[name].append(percentile(seconds, 0.99))
                rates[name].append(messages / await at_once(message, messages))
    result.samples |= {"latency p50, seconds": medians, "latency p99, seconds": tails, "echoes a second": rates}
    p50, p99, rate = ({name: statistics.median(of[name]) for name in of} for of in (medians, tails, rates))
    rows = [
        [name, f"{p50[name] * 1e6:,.0f} µs", f"{p99[name] * 1e6:,.0f} µs", f"{rate[name]:,.0f}/s"] for name in paths
    ]
    rows.append(
        ["ratio", f"{p50[OURS] / p50[BARE]:.2f}", f"{p99[OURS] / p99[BARE]:.2f}", f"{rate[OURS] / rate[BARE]:.2f}"]
    )
    columns = [f"echo of {SIZE} B", "latency p50", "latency p99", f"{IN_FLIGHT} in flight"]
    note = (
        "Three processes on either path: client, relay or forwarder, daemon or echo. Ours encrypts end to end, matches "
        "answers to calls, and keeps what a cut would lose; the bare path is WebSocket messages as they come."
    )
    result.tables.append(Table("Calls", columns, rows, note))
    result.aims += [
        Aim(f"Call of {SIZE} B, p50 against the bare path's", p50[OURS] / p50[BARE], 1.5, at_least=False),
        Aim(f"Calls a second, {IN_FLIGHT} in flight, against the bare path's messages", rate[OURS] / rate[BARE], 0.5),
    ]


async def _latencies(echo: Echo, message: bytes, count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        await echo(message)
        seconds.append(time.perf_counter() - began)
    return seconds


def _calls_at_once(peer: Peer) -> Callable[[bytes, int], Awaitable[float]]:
    async def run(message: bytes, count: int) -> float:
        left = count

        async def caller() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await peer.rpc.call("echo", message)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(IN_FLIGHT):
                tasks.create_task(caller())
        return time.perf_counter() - began

    return run


class _BarePath:
    def __init__(self, websocket: aiohttp.ClientWebSocketResponse[Any]) -> None:
        self._websocket = websocket

    async def echo(self, message: bytes) -> object:
        await self._websocket.send_bytes(message)
        return await self._websocket.receive_bytes()

    async def echoes_at_once(self, message: bytes, count: int) -> float:
        websocket = self._websocket
        began = time.perf_counter()
        for _ in range(min(IN_FLIGHT, count)):
            await websocket.send_bytes(message)
        for received in range(1, count + 1):
            await websocket.receive_bytes()
            if received + IN_FLIGHT <= count:
                await websocket.send_bytes(message)
        return time.perf_counter() - began


@asynccontextmanager
async def _bare() -> AsyncIterator[_BarePath]:
    with started("forwarder", "benches.rivals.aiohttp_relay") as forwarder:
        url = f"ws://127.0.0.1:{forwarder.port}/?pair=1"
        with started("echo", "benches.rivals.aiohttp_echo", url):
            async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=0) as websocket:
                yield _BarePath(websocket)


# Resume


async def _resume(result: SuiteResult, rounds: int, sessions: int) -> None:
    resumed: list[list[float]] = []
    answered: list[list[float]] = []
    async with _world(gated=True) as world:
        peers = await world.clients(sessions)
        for _ in range(rounds):
            paused = [_next(peer, "session_paused") for peer in peers]
            active = [_next(peer, "session_resumed") for peer in peers]
            world.gate.shut()
            async with asyncio.timeout(60):
                await asyncio.gather(*paused)
            # Made during the pause: they leave as soon as the session is back.
            calls = [asyncio.create_task(_timed(peer.rpc.call("echo", b"x"))) for peer in peers]
            async with asyncio.timeout(60):
                back = await world.gate.open()
                resumed.append([at - back for at in await asyncio.gather(*active)])
                answered.append([at - back for at in await asyncio.gather(*calls)])
    result.samples |= {"resume, seconds": resumed, "first answer after it, seconds": answered}
    rows = []
    for name, samples in (("session active again", resumed), ("first call answered", answered)):
        every = [seconds for one in samples for seconds in one]
        rows.append([name, *(f"{percentile(every, share) * 1000:,.1f} ms" for share in (0.5, 0.99, 1.0))])
    columns = [f"{sessions} sessions, {rounds} cuts", "p50", "p99", "longest"]
    note = (
        "From the moment at which the daemon's connection arrives at the relay; before it lies the back-off, here "
        f"{RETRY_SECONDS * 1000:.0f} ms. One client process holds all sessions."
    )
    result.tables.append(Table("Resume after a cut of the daemon's connection", columns, rows, note))
    p99 = percentile([seconds for one in resumed for seconds in one], 0.99)
    result.aims.append(Aim(f"Resume of {sessions} sessions, p99", p99 * 1000, 250.0, at_least=False, unit=" ms"))


def _next(peer: Peer, event: Any) -> asyncio.Future[float]:
    happened: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def note() -> None:
        remove()
        happened.set_result(time.perf_counter())

    remove = peer.on(event, note)
    return happened


async def _timed(work: Awaitable[object]) -> float:
    await work
    return time.perf_counter()


# Memory


async def _memory(result: SuiteResult, sessions: int) -> None:
    async with _world() as world:
        warm = await world.clients(max(5, sessions // 10))
        await warm[0].rpc.call("collect")
        before = world.daemon.resident_bytes()
        for peer in await world.clients(sessions):
            await peer.rpc.call("echo", b"x")
        await warm[0].rpc.call("collect")
        each = (world.daemon.resident_bytes() - before) / sessions
    result.samples["bytes of an idle session"] = [each]
    rows = [[f"{sessions:,}", f"{each / 1024:.1f} KiB"]]
    note = "Private memory of its process over what it had with a tenth of them; each session has answered one call."
    result.tables.append(Table("Memory on the daemon", ["idle sessions", "each"], rows, note))
    aim = f"Memory of each of {sessions:,} idle sessions on the daemon"
    result.aims.append(Aim(aim, each / 1024, 24.0, at_least=False, unit=" KiB"))


# Ours


class _World:
    def __init__(self, issuer: Issuer, relay: ServerProcess, daemon: ServerProcess, gate: Gate) -> None:
        self.daemon = daemon
        self.gate = gate
        self._issuer = issuer
        self._url = f"ws://127.0.0.1:{relay.port}/"
        self._store: IdentityKeyStore = MemoryIdentityKeyStore()
        self._peers: list[Peer] = []

    async def clients(self, count: int) -> list[Peer]:
        """Connect so many more, some at a time."""
        made = [self._client(len(self._peers) + n + 1) for n in range(count)]
        self._peers += made
        for start in range(0, count, 25):
            await asyncio.gather(*(peer.connect() for peer in made[start : start + 25]))
        return made

    async def close(self) -> None:
        await asyncio.gather(*(peer.disconnect() for peer in self._peers))

    def _client(self, session_id: int) -> Peer:
        headers = {"Authorization": f"Bearer {self._issuer.client(_DAEMON, session_id)}"}
        return create_peer(
            self._url,
            negotiator=relay_client_negotiator(
                _DAEMON,
                trust=IdentityTrust(self._store, "accept-new"),
                get_connection_params=lambda: ConnectionParams(headers=headers, session_id=session_id),
            ),
            transport=WebSocketTransport(proxy="", close_timeout_seconds=1.0),
            connection=ConnectionPolicy(on_disconnect="pause"),
        )


@asynccontextmanager
async def _world(*, gated: bool = False) -> AsyncIterator[_World]:
    issuer = Issuer()
    told = issuer.told(max_connections=100_000, max_sessions_per_daemon=100_000)
    with started("relay", "sideband.bench.relay_process", told) as relay:
        async with Gate(relay.port) as gate:
            url = f"ws://127.0.0.1:{gate.port if gated else relay.port}/"
            line = json.dumps({"url": url, "daemon_id": _DAEMON, "token": issuer.daemon(_DAEMON)})
            # In threads, since what the daemon sends may have to go through the gate of this loop.
            process = started("daemon", "sideband.bench.daemon_process", line)
            daemon = await asyncio.to_thread(process.__enter__)
            world = _World(issuer, relay, daemon, gate)
            try:
                yield world
            finally:
                await world.close()
                await asyncio.to_thread(process.__exit__, None, None, None)
