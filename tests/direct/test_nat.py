"""Which NATs let peers reach each other: real ones, in network namespaces, with a real STUN and TURN server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.processes import ROOT, Process
from tests.support.coturn import coturn
from tests.support.nat import NAT_KINDS, SERVER_ADDRESSES, Home, Internet
from tests.support.token_issuer import Issuer

pytestmark = pytest.mark.servers

PAGE = ROOT / "docs/guide/direct.md"
RELAY = f"ws://{SERVER_ADDRESSES[0]}:8080/"
SERVER = (SERVER_ADDRESSES[0], 3478)
STUN = [f"stun:{SERVER_ADDRESSES[0]}:3478"]
TURN = f"turn:{SERVER_ADDRESSES[0]}:3478"
SPOKEN, SAME_ADDRESS, ELSEWHERE = [SERVER_ADDRESSES[0], 7001], [SERVER_ADDRESSES[0], 7002], [SERVER_ADDRESSES[1], 7001]

# Who gets through to a socket that has only spoken to the first, and how many addresses three of them see.
BEHAVIOUR = {
    "open": ([SAME_ADDRESS, ELSEWHERE, SPOKEN], 1),
    "full cone": ([SAME_ADDRESS, ELSEWHERE, SPOKEN], 1),
    "restricted": ([SAME_ADDRESS, SPOKEN], 1),
    "port-restricted": ([SPOKEN], 1),
    "symmetric": ([SPOKEN], 3),
}


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
        home: Home = await self.internet.home(kind)
        return await self.start(name, "nat_home_role", home.prefix, relay=RELAY)

    def faults(self) -> dict[str, list[str]]:
        """What went wrong in any process."""
        return {process.name: faults for process in self._processes if (faults := process.faults())}


@asynccontextmanager
async def made_net(folder: Path) -> AsyncIterator[Net]:
    async with AsyncExitStack() as stack:
        internet = await stack.enter_async_context(Internet())
        net = Net(internet, folder, stack)
        net.servers = await net.start(
            "internet", "nat_internet_role", internet.prefix, jwks=net.issuer.jwks(), addresses=SERVER_ADDRESSES
        )
        await net.servers.expect("ready")
        yield net
    assert net.faults() == {}


async def test_the_nats_are_what_they_are_called(tmp_path: Path) -> None:
    async with made_net(tmp_path) as net:
        seen = {}
        for kind in NAT_KINDS:
            home = await net.at_home(kind.replace(" ", "-"), kind)
            home.order("ask", addresses=[SPOKEN, SAME_ADDRESS, ELSEWHERE])
            asked = await home.expect("asked")
            seen[kind] = (asked["through"], asked["mappings"])
    assert seen == BEHAVIOUR
    page = PAGE.read_text(encoding="utf-8")
    assert "".join(f"| {kind} | {meaning} |\n" for kind, meaning in NAT_KINDS.items()) in page


async def test_the_guide_tells_which_nats_reach_each_other(tmp_path: Path) -> None:
    measured: dict[tuple[str, str], str] = {}
    async with made_net(tmp_path) as net, coturn(tmp_path, *SERVER, prefix=net.internet.prefix) as secret:
        ways = {"stun": [STUN], "turn": [STUN, [TURN, "peer", secret]]}
        net.servers.order("await_stun", server=SERVER)
        await net.servers.expect("stun")

        async def serve(kind: str) -> None:
            daemon = await net.at_home(f"daemon-{kind}".replace(" ", "-"), kind)
            for way, servers in ways.items():
                daemon_id = _daemon_id(kind, way)
                daemon.order("serve", daemon_id=daemon_id, token=net.issuer.daemon(daemon_id), servers=servers)
            await daemon.until(lambda news: len(news) == len(ways))

        async def meet(kind: str) -> None:
            client = await net.at_home(f"client-{kind}".replace(" ", "-"), kind)
            for other in NAT_KINDS:
                measured[kind, other] = "relay"
                for way, servers in ways.items():
                    daemon_id = _daemon_id(other, way)
                    client.order("meet", daemon_id=daemon_id, token=net.issuer.client(daemon_id), servers=servers)
                    met = await client.until(lambda news, to=daemon_id: [one for one in news if one["daemon_id"] == to])
                    paths = {met[0]["ours"], met[0]["theirs"]}
                    assert len(paths) == 1, f"the sides of one session speak by {paths}"
                    if paths == {"direct:webrtc"}:
                        measured[kind, other] = way.upper()
                        break
                    assert paths == {"relay"}

        async with asyncio.TaskGroup() as tasks:
            for kind in NAT_KINDS:
                tasks.create_task(serve(kind))
        async with asyncio.TaskGroup() as tasks:
            for kind in NAT_KINDS:
                tasks.create_task(meet(kind))
    table = _table(measured)
    assert table in PAGE.read_text(encoding="utf-8"), f"{PAGE.name} should tell:\n\n{table}"


def _daemon_id(kind: str, way: str) -> str:
    return f"d_{kind.replace(' ', '-')}-{way}"


def _table(measured: dict[tuple[str, str], str]) -> str:
    lines = [f"| client \\ daemon | {' | '.join(NAT_KINDS)} |", f"|---|{'---|' * len(NAT_KINDS)}"]
    lines += [f"| {client} | {' | '.join(measured[client, daemon] for daemon in NAT_KINDS)} |" for client in NAT_KINDS]
    return "\n".join(lines) + "\n"
