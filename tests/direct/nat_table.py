"""Measures which NATs let peers reach each other, and what that takes.

As root, `python -m tests.direct.nat_table` writes the table of the guide anew.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.faults.processes import ROOT, Process
from tests.support.coturn import coturn
from tests.support.nat import NAT_KINDS, SERVER_ADDRESSES, Internet
from tests.support.token_issuer import Issuer

PAGE: Final = ROOT / "docs/guide/direct.md"
AT_ONCE: Final = 8
"""Pairs that are tried at a time: those that do not connect only wait."""

_RELAY = f"ws://{SERVER_ADDRESSES[0]}:8080/"
_SERVER = (SERVER_ADDRESSES[0], 3478)
_STUN = [f"stun:{_SERVER[0]}:{_SERVER[1]}"]
_TURN = f"turn:{_SERVER[0]}:{_SERVER[1]}"
_WRITTEN = re.compile(r"^\| client \\ daemon \|.*\n(?:\|.*\n)+", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pair:
    """A client and a daemon behind NATs of these kinds, and by what they may reach each other: one of `WAYS`."""

    client: str
    daemon: str
    way: str


WAYS: Final = ("none", "STUN", "TURN")
"""Every transport and no server; WebRTC with a STUN server; WebRTC with a TURN server as well."""


class Net:
    """An internet with a relay, and peers at homes.

    Attributes:
        servers: the process of the relay.
    """

    servers: Process

    def __init__(self, internet: Internet, folder: Path, stack: AsyncExitStack) -> None:
        self.internet = internet
        self.issuer = Issuer()
        self._folder = folder
        self._stack = stack
        self._processes: list[Process] = []

    async def start(self, name: str, module: str, prefix: tuple[str, ...], **config: Any) -> Process:
        """Start a process, which ends with this."""
        log = str(self._folder / f"{name}.jsonl")
        process = await Process.start(
            name, f"tests.direct.{module}", folder=self._folder, prefix=prefix, log=log, **config
        )
        self._processes.append(process)
        self._stack.push_async_callback(process.end)
        return process

    async def at_home(self, name: str, kind: str) -> Process:
        """Start a peer behind a NAT of its own."""
        home = await self.internet.home(kind)
        return await self.start(name.replace(" ", "-"), "nat_home_role", home.prefix, relay=_RELAY)

    def faults(self) -> dict[str, list[str]]:
        """What went wrong in any process."""
        return {process.name: faults for process in self._processes if (faults := process.faults())}


@asynccontextmanager
async def made_net(folder: Path) -> AsyncIterator[Net]:
    """An internet and its relay; everything ends with it, and must have gone well."""
    async with AsyncExitStack() as stack:
        internet = await stack.enter_async_context(Internet())
        net = Net(internet, folder, stack)
        net.servers = await net.start(
            "internet", "nat_internet_role", internet.prefix, jwks=net.issuer.jwks(), addresses=SERVER_ADDRESSES
        )
        await net.servers.expect("ready")
        yield net
    assert net.faults() == {}


async def measure(folder: Path) -> dict[Pair, str]:
    """Let every kind of home meet every kind, in every way, and return by which path each pair spoke in the end."""
    async with made_net(folder) as net, coturn(folder, *_SERVER, prefix=net.internet.prefix) as secret:
        net.servers.order("await_stun", server=_SERVER)
        await net.servers.expect("stun")
        policies: dict[str, dict[str, Any]] = {
            "none": {"transports": ["tcp", "quic", "webrtc"], "servers": []},
            "STUN": {"transports": ["webrtc"], "servers": [_STUN]},
            "TURN": {"transports": ["webrtc"], "servers": [_STUN, [_TURN, "peer", secret]]},
        }
        clients: dict[str, Process] = {}

        async def move_in(kind: str) -> None:
            clients[kind] = await net.at_home(f"client-{kind}", kind)
            daemon = await net.at_home(f"daemon-{kind}", kind)
            for way, policy in policies.items():
                daemon_id = _daemon_id(kind, way)
                daemon.order("serve", daemon_id=daemon_id, token=net.issuer.daemon(daemon_id), **policy)
            await daemon.until(lambda news: len(news) == len(policies))

        async def meet(pair: Pair) -> None:
            daemon_id = _daemon_id(pair.daemon, pair.way)
            async with places:
                client = clients[pair.client]
                token = net.issuer.client(daemon_id)
                client.order("meet", daemon_id=daemon_id, token=token, **policies[pair.way])
                [met] = await client.until(lambda news: [one for one in news if one["daemon_id"] == daemon_id])
            assert met["ours"] == met["theirs"], f"the sides of {pair} speak by two paths: {met}"
            measured[pair] = met["ours"]

        places = asyncio.Semaphore(AT_ONCE)
        measured: dict[Pair, str] = {}
        async with asyncio.TaskGroup() as tasks:
            for kind in NAT_KINDS:
                tasks.create_task(move_in(kind))
        async with asyncio.TaskGroup() as tasks:
            for way in WAYS:
                for client in NAT_KINDS:
                    for daemon in NAT_KINDS:
                        tasks.create_task(meet(Pair(client, daemon, way)))
    return measured


def table(measured: dict[Pair, str]) -> str:
    """Return the lines that tell for each pair the first of `WAYS` that leads away from the relay."""

    def least(client: str, daemon: str) -> str:
        return next((way for way in WAYS if measured[Pair(client, daemon, way)] != "relay"), "relay")

    lines = [f"| client \\ daemon | {' | '.join(NAT_KINDS)} |", f"|---|{'---|' * len(NAT_KINDS)}"]
    lines += [f"| {client} | {' | '.join(least(client, daemon) for daemon in NAT_KINDS)} |" for client in NAT_KINDS]
    return "\n".join(lines) + "\n"


def written() -> str:
    """Return the table as the guide has it."""
    [found] = _WRITTEN.findall(PAGE.read_text("utf-8"))
    return str(found)


def _daemon_id(kind: str, way: str) -> str:
    return f"d_{kind.replace(' ', '-')}-{way}"


def _write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = table(asyncio.run(measure(Path(folder))))
    PAGE.write_text(_WRITTEN.sub(lambda _: lines, PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    _write()
