"""ICE by a real STUN and TURN server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sideband import direct
from sideband.direct.candidates import own_addresses
from sideband.peer import Peer, PeerOptions
from tests.support.coturn import answering, coturn
from tests.support.relay_harness import PAUSE, QUICK, World

pytestmark = pytest.mark.servers


@pytest.fixture
async def turn(tmp_path: Path) -> AsyncIterator[direct.IceServer]:
    """A TURN server at this machine's own address, with a user of its own."""
    address = next(address for address in own_addresses(loopback=True) if ":" not in address)
    with socket.socket() as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    async with coturn(tmp_path, address, port) as secret:
        await answering(address, port)
        yield direct.IceServer(f"turn:{address}:{port}", "peer", secret)


def options(name: str, servers: tuple[direct.IceServer, ...]) -> PeerOptions:
    policy = direct.DirectPolicy(transports=("webrtc",), host_candidates=False, ice_servers=servers)
    return PeerOptions(peer_id=name, connection=PAUSE, retry=QUICK, upgrade=direct.upgrades(policy))


async def test_two_sides_that_tell_no_address_of_their_own_meet_by_what_a_server_tells_them(turn: Any) -> None:
    served: list[Peer] = []

    def serve(peer: Peer) -> None:
        served.append(peer)
        peer.rpc.handle("echo", lambda value: value)

    async with World() as world:
        await world.daemon(serve, options=options("daemon", (turn,)))
        async with world.client(options=options("client", (turn,))) as peer:
            async with asyncio.timeout(30):
                await direct.when_direct(peer)
            assert peer.path == "direct:webrtc"
            assert await peer.rpc.call("echo", "x" * 100_000) == "x" * 100_000


async def test_a_credential_of_a_server_is_never_shown() -> None:
    server = direct.IceServer("turn:192.0.2.1:3478", "peer", "very secret")
    assert "very secret" not in repr(server)
    assert "very secret" not in repr(direct.DirectPolicy(ice_servers=(server,)))
