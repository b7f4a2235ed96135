"""ICE by a real STUN and TURN server: Debian's coturn."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sideband import direct
from sideband.direct.channels import own_addresses
from sideband.peer import Peer, PeerOptions
from tests.support.relay_harness import PAUSE, QUICK, World

pytestmark = pytest.mark.servers


@pytest.fixture
async def turn(tmp_path: Path) -> AsyncIterator[direct.IceServer]:
    """A TURN server at this machine's own address, with a user of its own."""
    program = shutil.which("turnserver")
    assert program is not None, "coturn is not installed: apt-get install coturn"
    address = next(address for address in own_addresses(loopback=True) if ":" not in address)
    with socket.socket() as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    secret = secrets.token_hex(8)
    (tmp_path / "turn.conf").write_text(
        f"listening-ip={address}\nrelay-ip={address}\nlistening-port={port}\nuser=peer:{secret}\nlt-cred-mech\n"
        f"realm=test\nno-tls\nno-dtls\nno-cli\nallow-loopback-peers\nfingerprint\nlog-file=stdout\nsimple-log\n"
        f"pidfile={tmp_path / 'turn.pid'}\nuserdb={tmp_path / 'turn.db'}\n"
    )
    command = (program, "-c", str(tmp_path / "turn.conf"))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    try:
        await answering(address, port)
        yield direct.IceServer(f"turn:{address}:{port}", "peer", secret)
    finally:
        process.terminate()
        await process.wait()


async def answering(address: str, port: int) -> None:
    """Ask for a binding (RFC 8489) until there is an answer."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.connect((address, port))
        request = bytes.fromhex("000100002112a442") + secrets.token_bytes(12)
        async with asyncio.timeout(20):
            while True:
                try:
                    await loop.sock_sendall(asking, request)
                    async with asyncio.timeout(0.1):
                        await loop.sock_recv(asking, 1024)
                    return
                except (ConnectionRefusedError, TimeoutError):
                    continue


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
