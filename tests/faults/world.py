"""A server, a daemon behind a network that can be cut, and a crowd of clients: each a process of its own."""

from __future__ import annotations

import socket
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sideband.control.administration import Administration
from sideband.control.plane import open_store
from tests.faults.ledger import Ledger
from tests.faults.network import Namespace
from tests.faults.processes import Process
from tests.support.relay_harness import CuttingProxy

FLOWING = 10
"""Answers of a client that show that its calls and events are under way."""


class FaultWorld:
    """Everything of one test. The daemon goes through `proxy`, or lives in a network namespace of its own.

    Args:
        folder: where stores, logs and errors are kept.
        clients: how many.
        keepalive: seconds between pings, at the relay and at both ends.
        workers: calls that each client has under way, besides two that wait for `release`.
        namespace: where the daemon lives; None puts it behind `proxy`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clients: int,
        keepalive: float = 5.0,
        workers: int = 2,
        namespace: Namespace | None = None,
    ) -> None:
        self.clients = clients
        self.proxy: CuttingProxy
        self.server: Process
        self.daemon: Process
        self.crowd: Process
        self._folder = folder
        self._keepalive = keepalive
        self._workers = workers
        self._namespace = namespace
        self._host = "127.0.0.1" if namespace is None else namespace.host_address
        self._port = _free_port(self._host)
        self._made: dict[str, str] = {}
        self._daemons = 0
        self._processes: list[Process] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._made = await _provision(self._folder / "server")
        self.proxy = await self._stack.enter_async_context(CuttingProxy(self._port))
        try:
            await self.start_server()
            await self.start_daemon()
            await self._start_clients()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()
        if error is None:
            assert {one.name: faults for one in self._processes if (faults := one.faults())} == {}

    @property
    def url(self) -> str:
        """The control plane."""
        return f"http://{self._host}:{self._port}"

    @property
    def relay_url(self) -> str:
        """The relay."""
        return f"ws://{self._host}:{self._port}/relay"

    @property
    def made(self) -> dict[str, str]:
        """The daemon's id and everybody's credentials."""
        return self._made

    # Processes

    async def start_server(self) -> None:
        """Start control plane and relay; again at the same address, on the same store."""
        self.server = await self._start(
            "server",
            "tests.faults.server_role",
            *("serve", "--json", "--no-private", "--config", str(self._server_config())),
        )
        await self.server.expect("ready")

    async def start_daemon(self) -> None:
        """Start the daemon, or one more process of it, and wait until it stands at its relay."""
        self._daemons += 1
        relay = self.relay_url if self._namespace is not None else f"{self.proxy.url}relay"
        self.daemon = await self._start(
            f"daemon{self._daemons}",
            "tests.faults.daemon_role",
            prefix=() if self._namespace is None else self._namespace.prefix,
            log=str(self._folder / f"daemon{self._daemons}.jsonl"),
            identity=str(self._folder / "identity.json"),
            url=self.url,
            relay=relay,
            keepalive=self._keepalive,
            **self._made,
        )
        await self.daemon.expect("ready")

    async def _start_clients(self) -> None:
        self.crowd = await self._start(
            "clients",
            "tests.faults.client_role",
            log=str(self._folder / "clients.jsonl"),
            url=self.url,
            relay=self.relay_url,
            keepalive=self._keepalive,
            clients=self.clients,
            workers=self._workers,
            **self._made,
        )
        await self.all_reach("active")

    async def _start(
        self, name: str, module: str, *arguments: str, prefix: tuple[str, ...] = (), **config: Any
    ) -> Process:
        process = await Process.start(name, module, *arguments, folder=self._folder, prefix=prefix, **config)
        self._processes.append(process)
        return process

    # What the clients do

    async def load(self) -> None:
        """Begin calls and events, and wait until those of every client are under way."""
        self.crowd.order("load")
        await self.flow_from(Counter())

    def answered(self) -> Counter[int]:
        """How many calls of each client were answered, as far as told."""
        return _answered(self.crowd.news)

    async def flow_from(self, before: Counter[int]) -> None:
        """Wait until every client has got answers to more calls."""
        wanted = {client: before[client] + FLOWING for client in range(self.clients)}

        def flowing(news: list[dict[str, Any]]) -> bool:
            now = _answered(news)
            return all(now[client] >= least for client, least in wanted.items())

        await self.crowd.until(flowing)

    async def all_reach(self, state: str, *, times: int = 1, seconds: float = 60.0) -> dict[int, dict[str, Any]]:
        """Wait until every client has entered `state` so many times; return the news of the last time, by client."""

        def reached(news: list[dict[str, Any]]) -> dict[int, dict[str, Any]] | None:
            entered: dict[int, list[dict[str, Any]]] = {}
            for one in news:
                if one["event"] == "state" and one["state"] == state:
                    entered.setdefault(one["client"], []).append(one)
            enough = {client: found[times - 1] for client, found in entered.items() if len(found) >= times}
            return enough if len(enough) == self.clients else None

        try:
            found: dict[int, dict[str, Any]] = await self.crowd.until(reached, seconds)
        except AssertionError as error:
            missing = {client: states for client, states in self.states().items() if states.count(state) < times}
            raise AssertionError(f"not {state} for the {times}. time: {missing}") from error
        return found

    async def one_reaches(self, state: str, *, times: int) -> None:
        """Wait until some client has entered `state` so many times."""
        await self.crowd.until(lambda _: max(states.count(state) for states in self.states().values()) >= times)

    async def stalled(self) -> None:
        """Wait until no call is answered any more: all that can be sent is sent, and waits on its way."""
        totals: list[int] = [-2, -1]
        while totals[-1] != totals[-2]:
            self.crowd.order("tally", number=len(totals))
            told = await self.crowd.until(
                lambda news: [one for one in news if one["event"] == "tally" and one["number"] == len(totals)]
            )
            totals.append(told[0]["answered"])

    def states(self) -> dict[int, list[str]]:
        """The states of every client so far, in order."""
        found: dict[int, list[str]] = {client: [] for client in range(self.clients)}
        for one in self.crowd.news:
            if one["event"] == "state":
                found[one["client"]].append(one["state"])
        return found

    async def finish(self) -> dict[int, dict[str, Any]]:
        """Let every call end, and return what each client told at the end: nothing hangs."""
        self.daemon.order("release")
        self.crowd.order("finish")

        def finished(news: list[dict[str, Any]]) -> dict[int, dict[str, Any]] | None:
            found = {one["client"]: one for one in news if one["event"] == "finished"}
            return found if len(found) == self.clients else None

        told: dict[int, dict[str, Any]] = await self.crowd.until(finished)
        assert {client: one["error"] for client, one in told.items() if one["settled"] != "settled"} == {}
        return told

    async def counters(self) -> dict[str, list[int]]:
        """The daemon's counters, by session id."""
        self.daemon.order("counters")
        told = await self.daemon.expect("counters")
        sessions: dict[str, list[int]] = told["sessions"]
        return sessions

    def ledger(self) -> Ledger:
        """What all processes have logged so far."""
        return Ledger.read(
            self._folder / "clients.jsonl",
            [self._folder / f"daemon{number + 1}.jsonl" for number in range(self._daemons)],
        )

    # Private

    def _server_config(self) -> Path:
        path = self._folder / "server.toml"
        keepalive = self._keepalive
        path.write_text(
            f"""
data_dir = "{self._folder / "server"}"
public_url = "{self.url}"
[listen]
host = "{self._host}"
port = {self._port}
allow_plain_http = true
[log]
level = "warning"
[relay]
keepalive_seconds = {keepalive}
shutdown_spread_seconds = 0.5
close_timeout_seconds = 1.0
upgrade_burst = {4 * self.clients + 50}
upgrades_per_second = {4 * self.clients + 50}
""",
            "utf-8",
        )
        return path

    async def _end(self) -> None:
        async with self._stack:
            failures = []
            for process in reversed(self._processes):
                try:
                    await process.end()
                except AssertionError as error:
                    failures.append(error)
            if failures:
                raise failures[0]


def _answered(news: list[dict[str, Any]]) -> Counter[int]:
    found: Counter[int] = Counter()
    for one in news:
        if one["event"] in ("progress", "state"):
            found[one["client"]] = max(found[one["client"]], one["answered"])
    return found


async def _provision(data_dir: Path) -> dict[str, str]:
    database, secret = await open_store(data_dir)
    try:
        administration = Administration(database, secret, actor="test", now=int(time.time() * 1000))
        account = await administration.create_account("faults")
        daemon = await administration.create_daemon(account["id"], name="faults")
        user = await administration.create_user("faults", accounts=[account["id"]])
        token = await administration.create_user_token(user["id"])
    finally:
        await database.close()
    return {"daemon_id": daemon["id"], "api_key": daemon["apiKey"], "user_token": token["token"]}


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
