"""A process that is killed in the middle of a move: the other side has what came, once and in order, and goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sideband import direct
from sideband.identity import IdentityKeyPair
from sideband.peer import Peer, PeerOptions
from tests.support.relay_harness import PAUSE, QUICK, World, until

ROLE = Path(__file__).with_name("upgrade_role.py")
ROOT = ROLE.parents[2]
OURS = direct.DirectPolicy(transports=("tcp",), loopback=True)
OPTIONS = PeerOptions(connection=PAUSE, retry=QUICK, upgrade=direct.upgrades(OURS))


@asynccontextmanager
async def killed_at(step: str, order: dict[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that plays one side; at the end it has been killed, by itself if it came to the step."""
    when, _, name = step.partition(" ")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(ROLE)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(order | {"step": name, "after": when == "after"}).encode() + b"\n")
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process.stdin.close()


def in_order(got: list[bytes]) -> list[int]:
    numbers = [int.from_bytes(data[:4], "big") for data in got]
    assert numbers == list(range(len(numbers)))
    return numbers


@pytest.mark.parametrize("step", ["before say answer", "before choose", "after switch", "after moved"])
async def test_a_daemon_that_is_killed(world: World, step: str) -> None:
    seed = world.identity.private_bytes().hex()
    order = {"side": "daemon", "relay": world.daemon_network.url, "token": world.relay.issuer.daemon(), "seed": seed}
    got: list[bytes] = []
    async with killed_at(step, order) as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"serving\n"
        peer = world.client(options=OPTIONS)
        peer.on_message("app/n", got.append)
        await peer.connect()
        assert await process.wait() == -signal.SIGKILL
        in_order(got)
        # The next daemon by that name knows nothing of the session: the peer makes a new one, which moves as well.
        world.identity = IdentityKeyPair.from_private_bytes(bytes.fromhex(seed))
        await world.daemon(lambda far: far.rpc.handle("echo", lambda value: value), options=OPTIONS)
        assert await peer.rpc.call("echo", step) == step
        await direct.when_direct(peer)
        assert await peer.rpc.call("echo", 2) == 2
        in_order(got)


@pytest.mark.parametrize("step", ["before try", "after say use", "after say switched", "after moved"])
async def test_a_client_that_is_killed(world: World, step: str) -> None:
    got: list[list[bytes]] = []

    def serve(far: Peer) -> None:
        got.append([])
        far.on_message("app/n", got[-1].append)
        far.rpc.handle("echo", lambda value: value)

    server = await world.daemon(serve, options=OPTIONS)
    order = {"side": "client", "relay": world.client_network.url, "token": world.relay.issuer.client()}
    async with killed_at(step, order) as process:
        assert await process.wait() == -signal.SIGKILL
    async with world.client(options=OPTIONS) as peer:
        assert await peer.rpc.call("echo", step) == step
        await direct.when_direct(peer)
        assert await peer.rpc.call("echo", 2) == 2
    for numbers in got:
        in_order(numbers)
    await until(lambda: len(got) >= 1)
    await server.close()
