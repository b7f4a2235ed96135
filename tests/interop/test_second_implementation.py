"""Our client and our daemon with another implementation of both, through the real control plane and relay.

It is the one in the folder `node`: SBRP and SBP written in JavaScript from docs/protocol alone, over nothing but the
cryptography that Node.js brings. It stands in for the public TypeScript SDK, whose package is not on the registry that
this project builds from. Like that SDK it lists no optional capability, so it sees plain SBP only.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sideband import (
    ConnectionParams,
    IdentityKeyPair,
    IdentityRefusedError,
    IdentityTrust,
    MemoryIdentityKeyStore,
    Peer,
    RelayServer,
    RetryPolicy,
    RpcPeerError,
    compute_fingerprint,
    create_peer,
    generate_identity_key_pair,
    listen,
    relay_client_negotiator,
    relay_daemon_negotiator,
)
from sideband.cli.demo.api import call
from sideband.peer import PeerOptions
from tests.support.relay_harness import CuttingProxy
from tests.support.served_platform import Credentials, ServedPlatform

pytestmark = pytest.mark.servers

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors"
PATIENCE = 60.0
QUICK = PeerOptions(retry=RetryPolicy(mode="on-error", initial=0.05, max=0.2))
SESSION_EXPIRED, SESSION_PAUSED, SESSION_RESUMED, SESSION_PENDING = 0x0302, 0x1001, 0x1002, 0x1004


class Node:
    """A program of the other implementation, which tells what happens as lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def tells(self, name: str) -> Any:
        """Wait for what it tells under a name; it must not have been refused meanwhile."""
        while True:
            told = await self._next()
            if name in told:
                return told[name]
            assert "refused" not in told, told

    async def rest(self) -> list[dict[str, Any]]:
        """Return all that it still tells, and see that it ended well."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        told = []
        async with asyncio.timeout(PATIENCE):
            assert self.process.stdout is not None
            told = [json.loads(line) async for line in self.process.stdout]
            assert await self.process.wait() == 0
        return told

    async def _next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self.process.stdout.readline()
        assert line, f"it ended with {await self.process.wait()}"
        told: dict[str, Any] = json.loads(line)
        return told


@asynccontextmanager
async def node(script: str, **environment: str) -> AsyncIterator[Node]:
    found = shutil.which("node")
    assert found, "Node.js 18 or newer is needed; make test-servers installs it"
    process = await asyncio.create_subprocess_exec(
        found,
        str(HERE / "node" / script),
        str(VECTORS),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **environment},
    )
    try:
        yield Node(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPlatform]:
    # The relay asks a daemon for a sign of life as soon as it has been silent for this long.
    with ServedPlatform(tmp_path_factory.mktemp("platform"), relay__keepalive_seconds="1") as platform:
        yield platform


@pytest.fixture
def daemon(platform: ServedPlatform) -> Credentials:
    """A daemon of its own for each test: a key is registered once."""
    return platform.add_daemon()


@asynccontextmanager
async def our_daemon(
    platform: ServedPlatform, daemon: Credentials, identity: IdentityKeyPair, on_connection: Callable[[Peer], None]
) -> AsyncIterator[tuple[RelayServer, CuttingProxy]]:
    public_key = {"identityPublicKey": base64_of(identity)}
    await call(platform.url, "daemon.register", daemon.api_key, public_key)

    async def params() -> ConnectionParams:
        made = await call(platform.url, "daemon.renewToken", daemon.api_key, {"resume": True})
        return ConnectionParams(headers={"Authorization": f"Bearer {made['presenceToken']}"})

    negotiator = relay_daemon_negotiator(daemon.daemon_id, identity, get_connection_params=params)
    async with (
        CuttingProxy(int(platform.url.rpartition(":")[2])) as network,
        await listen(network.url, on_connection, negotiator=negotiator, options=QUICK) as server,
    ):
        yield server, network


def our_client(platform: ServedPlatform, daemon: Credentials, pins: MemoryIdentityKeyStore) -> Peer:
    async def params() -> ConnectionParams:
        made = await call(platform.url, "relay.createSession", daemon.token, {"daemonId": daemon.daemon_id})
        return ConnectionParams(endpoint=made["relayUrl"], headers={"Authorization": f"Bearer {made['token']}"})

    trust = IdentityTrust(pins, "accept-new")
    return create_peer(negotiator=relay_client_negotiator(daemon.daemon_id, trust=trust, get_connection_params=params))


def client_environment(platform: ServedPlatform, daemon: Credentials, pinned: IdentityKeyPair) -> dict[str, str]:
    return {
        "SIDEBAND_API_URL": platform.url,
        "SIDEBAND_TOKEN": daemon.token,
        "SIDEBAND_DAEMON": daemon.daemon_id,
        "PINNED_KEY": base64_of(pinned),
    }


def base64_of(identity: IdentityKeyPair) -> str:
    return base64.b64encode(identity.public_key).decode()


async def test_the_other_implementation_agrees_with_the_vectors() -> None:
    """Or else what it agrees on with ours would prove nothing."""
    async with node("vectors.mjs") as other:
        assert other.process.stdout is not None
        checked = int(await other.process.stdout.readline())
    handshakes = json.loads((VECTORS / "sbrp-handshake.json").read_text())["cases"]
    messages = json.loads((VECTORS / "sbrp-data.json").read_text())["conversation"]
    assert checked == len(handshakes) + len(messages) > 10


async def test_another_client_with_our_daemon(platform: ServedPlatform, daemon: Credentials) -> None:
    notes: list[Any] = []
    left = asyncio.Event()

    def on_connection(peer: Peer) -> None:
        def fail(_: Any) -> None:
            raise ValueError("on purpose")

        async def call_back(number: int) -> Any:
            return await peer.rpc.call("double", number)

        def noted(_: Any) -> list[Any]:
            peer.events.emit("heard", len(notes))
            return notes

        assert peer.remote_id == "node-client"
        assert peer.capabilities == frozenset()
        peer.rpc.handle("echo", lambda value: value)
        peer.rpc.handle("fail", fail)
        peer.rpc.handle("call back", call_back)
        peer.rpc.handle("noted", noted)
        peer.events.on("note", notes.append)
        peer.on("disconnected", lambda *_: left.set())

    identity = generate_identity_key_pair()
    async with our_daemon(platform, daemon, identity, on_connection) as (server, network):
        environment = client_environment(platform, daemon, pinned=identity)
        async with node("client.mjs", **environment) as other:
            assert await other.tells("fingerprint") == server.fingerprint
            assert await other.tells("echo") == {"text": "grüße", "list": [1, None, True]}
            assert await other.tells("long") == 60_000
            assert await other.tells("failure") == [2000, "on purpose"]
            assert await other.tells("unknown") == 1101
            assert await other.tells("doubled") == 42
            assert await other.tells("events") == {"noted": [{"number": 7}], "heard": [["heard", 1]]}
            network.cut()
            for code in (SESSION_PAUSED, SESSION_PENDING, SESSION_RESUMED):
                assert await other.tells("control") == code
            assert await other.tells("after the cut") == "same keys"
            assert await other.rest() == [{"control": SESSION_EXPIRED}, {"closed": 1000}]
        async with asyncio.timeout(PATIENCE):
            await left.wait()
        assert server.connections == ()


async def test_another_client_that_pinned_another_key(platform: ServedPlatform, daemon: Credentials) -> None:
    async with our_daemon(platform, daemon, generate_identity_key_pair(), lambda peer: None) as (server, _):
        environment = client_environment(platform, daemon, pinned=generate_identity_key_pair())
        async with node("client.mjs", **environment) as other:
            assert await other.rest() == [{"refused": "identity_key_changed"}, {"closed": 1000}]
        assert server.connections == ()


async def test_our_client_with_another_daemon(platform: ServedPlatform, daemon: Credentials) -> None:
    pins = MemoryIdentityKeyStore()
    environment = {"SIDEBAND_API_URL": platform.url, "SIDEBAND_API_KEY": daemon.api_key}
    async with node("daemon.mjs", **environment) as other:
        fingerprint = await other.tells("ready")
        async with our_client(platform, daemon, pins) as peer:
            assert peer.fingerprint == fingerprint
            pinned = await pins.get(daemon.daemon_id)
            assert pinned is not None
            assert compute_fingerprint(pinned) == fingerprint
            assert peer.remote_id == "node-daemon"
            assert await peer.rpc.call("echo", {"text": "grüße"}) == {"text": "grüße"}
            calls = [peer.rpc.call("echo", "y" * 60_000) for _ in range(50)]
            assert {len(text) for text in await asyncio.gather(*calls)} == {60_000}
            with pytest.raises(RpcPeerError, match="on purpose") as caught:
                await peer.rpc.call("fail")
            assert caught.value.rpc_code == 2000
            with pytest.raises(RpcPeerError) as caught:
                await peer.rpc.call("no such method")
            assert caught.value.rpc_code == 1101
            events = peer.events.subscribe("emitted")
            await peer.rpc.call("emit back", [1, 2])
            assert (await anext(events)).data == [1, 2]
            peer.events.emit("seen", {"a": 1})
            assert await other.tells("event") == ["seen", {"a": 1}]
            # The relay gives a daemon up after two pings without a sign of life.
            for _ in range(3):
                await other.tells("ping")
            assert await peer.rpc.call("echo", "still there") == "still there"
        told = [one for one in await other.rest() if "ping" not in one]
        assert told == [{"farewell": ""}, {"ended": 0}, {"closed": 1000}]


async def test_our_client_that_pinned_another_key(platform: ServedPlatform, daemon: Credentials) -> None:
    other_key = generate_identity_key_pair().public_key
    pins = MemoryIdentityKeyStore({daemon.daemon_id: other_key})
    environment = {"SIDEBAND_API_URL": platform.url, "SIDEBAND_API_KEY": daemon.api_key}
    async with node("daemon.mjs", **environment) as other:
        await other.tells("ready")
        with pytest.raises(IdentityRefusedError):
            await our_client(platform, daemon, pins).connect()
        assert await pins.get(daemon.daemon_id) == other_key
        assert await other.tells("ended") == 0
