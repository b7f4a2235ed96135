"""The inbox: puts and deliveries a second, latency beside a bare push, idle clients, catching up."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benches.inbox_server import OWNER
from sideband._native import IdentityKeyPair
from sideband.bench.machine import percentile
from sideband.bench.measuring import Aim, Settings, SuiteResult, Table
from sideband.bench.processes import MEASURES_PROCESSES, ServerProcess, started
from sideband.inbox.signing import sign_fields

__all__ = ["TITLE", "run"]

TITLE = "Inbox"

SIZE = 512
BATCH = 64
_SENDER = IdentityKeyPair.from_private_bytes(bytes(32))
_KINDS = ("ws", "stream", "poll")
_NAMES = {"ws": "WebSocket", "stream": "SSE", "poll": "long-poll"}


def run(settings: Settings) -> SuiteResult:
    """Measure everything; a quick run does the same with little of each."""
    return asyncio.run(_run(settings.rounds, quick=settings.sample_seconds < Settings.sample_seconds / 3))


async def _run(rounds: int, *, quick: bool) -> SuiteResult:
    result = SuiteResult(tables=[])
    with tempfile.TemporaryDirectory() as folder:
        await _latency(result, rounds, 20 if quick else 300)
        await _rates(result, Path(folder), 200 if quick else 4_000)
        await _catch_up(result, Path(folder), 500 if quick else 100_000)
        if MEASURES_PROCESSES:
            await _idle(result, 20 if quick else 5_000)
    return result


# Latency


async def _latency(result: SuiteResult, rounds: int, count: int) -> None:
    seconds: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(_inbox("memory:"))
        bare = await stack.enter_async_context(_client(stack.enter_context(_server("bare push", None))))
        await ours.register("bob", OWNER)
        paths: dict[str, tuple[Callable[[], AsyncIterator[Any]], Callable[[bytes], Awaitable[None]]]] = {
            "bare WebSocket push": (lambda: bare.sockets("/ws", {}), bare.push),
            "bare SSE push": (lambda: bare.events("/stream", {}), bare.push),
            **{_NAMES[kind]: (lambda kind=kind: ours.messages(kind), ours.put) for kind in _KINDS},  # type: ignore[misc]
        }
        for _ in range(rounds):
            for name, (messages, put) in paths.items():
                async with aclosing(messages()) as coming:  # type: ignore[type-var]  # an async generator
                    await anext(coming)
                    for _ in range(count // rounds + 1):
                        content = os.urandom(SIZE)
                        began = time.perf_counter()
                        putting = asyncio.ensure_future(put(content))
                        await anext(coming)
                        seconds.setdefault(name, []).append(time.perf_counter() - began)
                        await putting
    p50 = {name: statistics.median(taken) for name, taken in seconds.items()}
    result.samples["seconds from put to handler"] = seconds
    rows = [
        [name, f"{p50[name] * 1e6:,.0f} µs", f"{percentile(taken, 0.99) * 1e6:,.0f} µs"]
        for name, taken in seconds.items()
    ]
    note = (
        f"From the beginning of a put of {SIZE} B until the message is in the receiver's hands, store in memory. The "
        "bare push is aiohttp alone with the same JSON: nothing is signed, verified, hashed or kept."
    )
    result.tables.append(Table("Latency", ["way", "p50", "p99"], rows, note))
    for kind, rival in (("WebSocket", "bare WebSocket push"), ("SSE", "bare SSE push")):
        aim = f"{kind}, put to handler, p50 against a bare {kind} push"
        result.aims.append(Aim(aim, p50[kind] / p50[rival], 2.0, at_least=False))
    beyond = (p50["long-poll"] - p50["SSE"]) * 1e3
    result.aims.append(Aim("long-poll, put to handler, p50 beyond SSE's", beyond, 5.0, at_least=False, unit=" ms"))


# Rates


async def _rates(result: SuiteResult, folder: Path, count: int) -> None:
    rows = []
    stores = {"memory": "memory:", "SQLite": f"sqlite:///{folder / 'rates.db'}"}
    for variable, name in (("SIDEBAND_TEST_POSTGRES_URL", "PostgreSQL"), ("SIDEBAND_TEST_NATS_URL", "NATS JetStream")):
        if variable in os.environ:
            stores[name] = os.environ[variable]
    for name, url in stores.items():
        async with _inbox(url) as inbox:
            address = f"rates-{os.urandom(4).hex()}"
            await inbox.register(address, OWNER)
            began = time.perf_counter()
            await inbox.put_many(address, count)
            puts = count / (time.perf_counter() - began)
            delivered = {}
            for kind in _KINDS:
                began = time.perf_counter()
                await inbox.take(kind, address, count)
                delivered[kind] = count / (time.perf_counter() - began)
            result.samples[f"{name}, a second"] = {"puts": puts, **delivered}
            rows.append([name, f"{puts:,.0f}", *(f"{delivered[kind]:,.0f}" for kind in _KINDS)])
    note = (
        f"{count:,} messages of {SIZE} B. Puts are requests of their own, signed and verified, {BATCH} at a time from "
        "one process; deliveries are what one client reads of what is stored, in pages of 50."
    )
    columns = ["store", "puts/s", *(f"{_NAMES[kind]}, messages/s" for kind in _KINDS)]
    result.tables.append(Table("Puts and deliveries", columns, rows, note))


async def _catch_up(result: SuiteResult, folder: Path, count: int) -> None:
    rates = {}
    async with _inbox(f"sqlite:///{folder / 'filled.db'}", filled=count) as inbox:
        for kind in _KINDS:
            began = time.perf_counter()
            await inbox.take(kind, "bob", count)
            rates[kind] = count / (time.perf_counter() - began)
    result.samples["catching up, messages a second"] = rates
    rows = [[_NAMES[kind], f"{rate:,.0f}/s", f"{count / rate:.1f} s"] for kind, rate in rates.items()]
    note = f"{count:,} stored messages of {SIZE} B from SQLite to one client, in order, in another process."
    result.tables.append(Table("Catching up", ["way", "rate", "all of it"], rows, note))
    best = max(rates.values())
    result.aims.append(Aim(f"Catching up with {count:,} messages from SQLite, a second", best, 20_000))


# Memory


async def _idle(result: SuiteResult, count: int) -> None:
    rows = []
    for kind in ("stream", "poll"):
        with _server("inbox", "memory:") as server:
            async with AsyncExitStack() as stack:
                inbox = await stack.enter_async_context(_client(server))
                await inbox.register("bob", OWNER)
                await inbox.idle(stack, kind, max(5, count // 20))
                before = server.resident_bytes()
                await inbox.idle(stack, kind, count)
                each = (server.resident_bytes() - before) / count
        result.samples[f"bytes of an idle {_NAMES[kind]} client"] = [each]
        rows.append([_NAMES[kind], f"{count:,}", f"{each / 1024:.1f} KiB"])
        aim = f"Memory of each of {count:,} idle {_NAMES[kind]} clients"
        result.aims.append(Aim(aim, each / 1024, 24.0, at_least=False, unit=" KiB"))
    note = "Private memory of the server's process over what it had with a twentieth of them."
    result.tables.append(Table("Memory of idle clients", ["way", "clients", "each"], rows, note))


# A client without comforts: what it costs is little beside what is measured


class _Client:
    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self._cursor = 0

    async def register(self, address: str, identity: IdentityKeyPair) -> None:
        fields = {"address": address, "signingKey": _base64(identity.public_key)}
        async with self._http.post(f"{self._url}/v1/inbox/register", json=_signed(identity, fields)) as response:
            if response.status not in (200, 201):
                raise RuntimeError(await response.text())

    async def put(self, content: bytes, address: str = "bob") -> None:
        fields = {"address": address, "ciphertext": _base64(content), "senderSigningKey": _base64(_SENDER.public_key)}
        async with self._http.put(f"{self._url}/v1/inbox/{address}", json=_signed(_SENDER, fields)) as response:
            answer = await response.json()
            self._cursor = answer["receivedAt"]

    async def put_many(self, address: str, count: int) -> None:
        left = count

        async def one_after_the_other() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await self.put(os.urandom(SIZE), address)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(BATCH):
                tasks.create_task(one_after_the_other())

    async def push(self, content: bytes) -> None:
        message = {
            "type": "envelope",
            "msgId": "0" * 64,
            "ciphertext": _base64(content),
            "receivedAt": 1,
            "expiresAt": 1_790_000_000_000,
            "from": "0" * 16,
        }
        async with self._http.put(f"{self._url}/put", json=message) as response:
            await response.read()

    async def take(self, kind: str, address: str, count: int) -> None:
        """Receive what is stored, beginning with the first."""
        left = count
        async with aclosing(self.messages(kind, address, 0)) as coming:  # type: ignore[type-var]  # an async generator
            await anext(coming)
            while left > 0:
                left -= len(await anext(coming))

    async def messages(self, kind: str, address: str = "bob", since: int | None = None) -> AsyncIterator[list[Any]]:
        """Yield nothing once connected, and then messages as they come."""
        cursor = self._cursor if since is None else since
        if kind == "poll":
            async for page in self._polls(address, cursor):
                yield page
            return
        ways = {"ws": self.sockets, "stream": self.events}
        async for message in ways[kind](f"/v1/bridge/{kind}", _query(address, kind, cursor)):
            yield message

    async def sockets(self, path: str, query: dict[str, str]) -> AsyncIterator[list[Any]]:
        async with self._http.ws_connect(self._url + path, params=query) as socket:
            if query:
                await socket.receive_json()
            yield []
            async for message in socket:
                yield [json.loads(message.data)]

    async def events(self, path: str, query: dict[str, str]) -> AsyncIterator[list[Any]]:
        async with self._http.get(self._url + path, params=query) as response:
            yield [await response.content.readline()][:0]
            async for line in response.content:
                if line.startswith(b"data: "):
                    yield [json.loads(line[6:])]

    async def _polls(self, address: str, cursor: int) -> AsyncIterator[list[Any]]:
        yield []
        while True:
            query = _query(address, "poll", cursor)
            async with self._http.get(f"{self._url}/v1/bridge/poll", params=query) as response:
                page = await response.json()
            cursor = page["cursor"]
            if page["messages"]:
                yield page["messages"]

    async def idle(self, stack: AsyncExitStack, kind: str, count: int) -> None:
        """Open connections that wait, and leave them open until the stack is closed."""
        port = int(self._url.rpartition(":")[2])
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.push_async_callback(_cut, writer)
            query = "&".join(f"{name}={value}" for name, value in _query("bob", kind, self._cursor).items())
            path = f"/v1/bridge/{kind}?{query.replace('+', '%2B').replace('/', '%2F')}"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            if kind == "stream":
                await reader.readuntil(b":\n\n")
        if kind == "poll":
            # They have no answer that could be waited for; this request is served after theirs.
            await self.register("bob", OWNER)


async def _cut(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def _signed(identity: IdentityKeyPair, fields: dict[str, Any]) -> dict[str, Any]:
    stamped = {**fields, "signedAt": int(time.time() * 1000)}
    return {**stamped, "signature": sign_fields(identity, stamped)}


def _query(address: str, kind: str, since: int) -> dict[str, str]:
    fields = _signed(OWNER, {"address": address, "kind": kind, "since": since})
    return {name: str(value) for name, value in fields.items()}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@contextmanager
def _server(name: str, store: str | None, filled: int = 0) -> Iterator[ServerProcess]:
    with started(name, "benches.inbox_server", json.dumps({"store": store, "filled": filled, "size": SIZE})) as server:
        yield server


@asynccontextmanager
async def _client(server: ServerProcess) -> AsyncIterator[_Client]:
    limits = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=limits, read_bufsize=2**21) as http:
        yield _Client(http, f"http://127.0.0.1:{server.port}")


@asynccontextmanager
async def _inbox(store: str, filled: int = 0) -> AsyncIterator[_Client]:
    with _server("inbox", store, filled) as server:
        async with _client(server) as client:
            yield client
