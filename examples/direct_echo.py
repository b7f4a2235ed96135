"""The same program over a relay, TCP, QUIC and WebRTC: `python direct_echo.py relay|tcp|quic|webrtc`.

Both sides run in this one process; what lies between them is real. Over a relay, and for WebRTC, it takes the API key
of a daemon and the token of a user from the environment, as the other examples do.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from environment import daemon, token

from sideband import cloud, direct
from sideband.identity import MemoryIdentityKeyStore, generate_static_key_pair
from sideband.peer import ConnectionPolicy, Peer, PeerOptions, RetryPolicy


def serve(peer: Peer) -> None:
    """What the listening side offers, whatever leads to it."""
    peer.rpc.handle("greet", lambda name: f"Hello {name}")


async def use(peer: Peer) -> None:
    """What the other side does with it."""
    print(await peer.rpc.call("greet", "Ada"), "by", peer.path, flush=True)


@asynccontextmanager
async def by_address(scheme: str) -> AsyncIterator[Peer]:
    """Two peers that know each other's keys and addresses."""
    studio, laptop = generate_static_key_pair(), generate_static_key_pair()
    guests = MemoryIdentityKeyStore({"laptop": laptop.public_key})
    pins = MemoryIdentityKeyStore({"studio": studio.public_key})
    async with await direct.listen(
        f"{scheme}://127.0.0.1:0", serve, name="studio", key=studio, identity_key_store=guests
    ) as server:
        peer = direct.connect(server.address, name="laptop", key=laptop, remote_name="studio", identity_key_store=pins)
        async with peer:
            yield peer


@asynccontextmanager
async def by_relay(*, webrtc: bool = False) -> AsyncIterator[Peer]:
    """A daemon and its client, who leave the relay by a data channel where they are told to."""
    policy = direct.DirectPolicy(mode="prefer" if webrtc else "forbid", transports=("webrtc",))
    options = PeerOptions(
        connection=ConnectionPolicy(on_disconnect="pause"),
        retry=RetryPolicy(mode="on-error"),
        upgrade=direct.upgrades(policy),
    )
    async with await cloud.listen(**daemon(), on_connection=serve, options=options) as server:
        peer = cloud.connect(
            daemon_id=server.daemon_id,
            get_access_token=token,
            identity_key_store=MemoryIdentityKeyStore(),
            options=options,
        )
        async with peer:
            if webrtc:
                await direct.when_direct(peer)
            yield peer


async def main(way: str) -> None:
    """Reach the other side by this way."""
    opened = by_address(way) if way in ("tcp", "quic") else by_relay(webrtc=way == "webrtc")
    async with opened as peer:
        await use(peer)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2] or ["relay"]))
