"""A real relay on loopback, with a clock that tests move."""

import asyncio
import heapq
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from sideband._native import decode_control, decode_frame
from sideband.errors import SbrpErrorCode
from sideband.jwks import LocalKeys
from sideband.relay.config import RelayConfig
from sideband.relay.core import Relay
from sideband.relay.server import create_relay_app, create_verifier, runner_options
from sideband.secure_relay.frames import FrameType
from sideband.transport import Connection, ConnectOptions, WebSocketTransport
from tests.support.token_issuer import ISSUER, Issuer


class ManualClock:
    """Time that stands still until `advance`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self._cancelled: set[int] = set()

    def monotonic(self) -> float:
        return self.now

    def unix(self) -> float:
        return 1_763_700_000.0 + self.now

    def call_later(self, seconds: float, callback: Callable[[], object]) -> "ManualTimer":
        self._count += 1
        heapq.heappush(self._timers, (self.now + seconds, self._count, callback))
        return ManualTimer(self._cancelled, self._count)

    def advance(self, seconds: float) -> None:
        """Move on, running what is due at its own time."""
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            when, number, callback = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if number not in self._cancelled:
                callback()
        self.now = until

    @property
    def pending(self) -> int:
        return sum(number not in self._cancelled for _, number, _ in self._timers)


@dataclass
class ManualTimer:
    cancelled: set[int]
    number: int

    def cancel(self) -> None:
        self.cancelled.add(self.number)


@dataclass
class Running:
    """One relay that is up."""

    relay: Relay
    clock: ManualClock
    issuer: Issuer
    runner: web.AppRunner
    url: str
    connections: list[Connection] = field(default_factory=list)
    ssl_context: ssl.SSLContext | None = None

    @property
    def port(self) -> int:
        return int(self.runner.addresses[0][1])

    async def connect(self, token: str, **headers: str) -> Connection:
        options = ConnectOptions(headers={"Authorization": f"Bearer {token}", **headers})
        connection = await WebSocketTransport(proxy="", ssl_context=self.ssl_context).connect(self.url, options)
        self.connections.append(connection)
        return connection

    async def daemon(self, daemon_id: str = "d_1", **claims: Any) -> Connection:
        before = self.relay.stats.accepted["daemon"]
        connection = await self.connect(self.issuer.daemon(daemon_id, **claims))
        await self.until(lambda: self.relay.stats.accepted["daemon"] > before and self.relay.is_online(daemon_id))
        return connection

    async def client(self, daemon_id: str = "d_1", sid: int | None = None, **claims: Any) -> Connection:
        before = self.relay.stats.accepted["client"]
        connection = await self.connect(self.issuer.client(daemon_id, sid, **claims))
        await self.until(lambda: self.relay.stats.accepted["client"] > before)
        return connection

    async def until(self, condition: Callable[[], object]) -> None:
        """Give the event loop turns until something holds."""
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110  (what is waited for has no event to wait on)
                await asyncio.sleep(0.001)

    async def settle(self, *connections: Connection) -> None:
        """Return once the relay has handled everything these connections sent so far."""
        for connection in connections:
            await connection.send(bytes([FrameType.PING]) + (8).to_bytes(4, "big") + bytes(8) + b"settled!")
            while await connection.receive() != (
                bytes([FrameType.PONG]) + (8).to_bytes(4, "big") + bytes(8) + b"settled!"
            ):
                continue


async def read_control(connection: Connection) -> tuple[SbrpErrorCode, int]:
    """Read the next message but pings, which is a Control frame; return its code and session id."""
    kind, session_id, payload = decode_frame(await connection.receive())
    while kind == FrameType.PING:
        kind, session_id, payload = decode_frame(await connection.receive())
    assert kind == FrameType.CONTROL, f"frame of type {kind:#x}"
    return SbrpErrorCode.from_wire(decode_control(payload)[0]), session_id


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def control() -> Callable[[Connection], Awaitable[tuple[SbrpErrorCode, int]]]:
    return read_control


StartRelay = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start_relay(clock: ManualClock) -> AsyncIterator[StartRelay]:
    """Start relays; settings by name, and `sids`, `directory`, `tap`, `keys` as the relay takes them."""
    running: list[Running] = []

    async def start(
        *, keys: Any = None, issuer: Issuer | None = None, tls: ssl.SSLContext | None = None, **settings: Any
    ) -> Running:
        issuer = issuer or Issuer(clock.unix)
        parts = {name: settings.pop(name) for name in ("sids", "directory", "tap") if name in settings}
        base = {
            "issuer": ISSUER,
            "loopback_listener": True,
            "shutdown_spread_seconds": 0.0,
            "close_timeout_seconds": 5.0,
        }
        config = RelayConfig(**{**base, **settings})
        relay = Relay(config, clock=clock, **parts)
        app = create_relay_app(relay, create_verifier(relay, keys or LocalKeys(issuer.jwks)))
        runner = web.AppRunner(app, **runner_options(config))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        one = Running(relay, clock, issuer, runner, f"ws://127.0.0.1:{runner.addresses[0][1]}/")
        running.append(one)
        return one

    yield start
    for one in running:
        await asyncio.gather(*(connection.close() for connection in one.connections))
        stopping = asyncio.ensure_future(one.runner.cleanup())
        while not stopping.done():
            clock.advance(1)
            await asyncio.sleep(0.001)
        await stopping
        assert not one.relay.connections


@pytest.fixture
async def running(start_relay: StartRelay) -> Running:
    """A relay with default limits on a loopback listener."""
    return await start_relay()
