"""Two sides that know each other, and what connects them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sideband import direct
from sideband.identity import MemoryIdentityKeyStore, NoiseKeyPair
from sideband.peer import Peer
from sideband.peer.server import Server
from tests.support.relay_harness import World


class Sides:
    """A laptop that dials and a studio that listens; each has the other pinned."""

    def __init__(self) -> None:
        self.laptop = NoiseKeyPair.generate()
        self.studio = NoiseKeyPair.generate()
        self.laptop_pins = MemoryIdentityKeyStore({"studio": self.studio.public_key})
        self.studio_pins = MemoryIdentityKeyStore({"laptop": self.laptop.public_key})
        self.peers: list[Peer] = []

    async def listen(self, endpoint: str = "tcp://127.0.0.1:0", on: Callable[[Peer], Any] | None = None, **more: Any):
        def on_connection(peer: Peer) -> Any:
            self.peers.append(peer)
            peer.rpc.handle("echo", lambda value: value)
            return None if on is None else on(peer)

        settings = {"name": "studio", "key": self.studio, "identity_key_store": self.studio_pins} | more
        return await direct.listen(endpoint, on_connection, **settings)

    def dial(self, server: Server | str, **more: Any) -> Peer:
        address = server if isinstance(server, str) else server.address
        known = {"name": "laptop", "key": self.laptop, "remote_name": "studio", "identity_key_store": self.laptop_pins}
        return direct.connect(address, **(known | more))


@pytest.fixture
def sides() -> Sides:
    return Sides()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as made:
        yield made
