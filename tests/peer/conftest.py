"""Worlds with a relay and without, and the other side of a session frame by frame."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sideband.peer import Peer, listen
from tests.support.memory_world import ENDPOINT, MemoryWorld
from tests.support.raw_end import Raw, handshake
from tests.support.relay_harness import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as made:
        yield made


@pytest.fixture
async def memory() -> AsyncIterator[MemoryWorld]:
    async with MemoryWorld() as made:
        yield made


@pytest.fixture
async def raw(memory: MemoryWorld) -> AsyncIterator[Raw]:
    server_transport = memory.transport

    def on_connection(peer: Peer) -> None:
        peer.rpc.handle("echo", lambda value: value)
        memory.peers.append(peer)

    memory.server = await listen(ENDPOINT, on_connection, transport=server_transport, options=memory.options())
    connection = await server_transport.connect(ENDPOINT)
    yield Raw(connection, memory)
    await connection.close()
    await memory.server.close()


@pytest.fixture
async def open_raw(raw: Raw) -> Raw:
    await raw.send(handshake(caps=["frag/1", "bin/1"]))
    assert (await raw.frame()).op == 0
    return raw
