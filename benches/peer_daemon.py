"""A daemon as a process of its own: the first line of its input is JSON with its relay, its token and its limits."""

import asyncio
import gc
import json
import logging
import sys

from sideband.identity import generate_identity_key_pair
from sideband.peer import (
    ConnectionParams,
    ConnectionPolicy,
    Peer,
    PeerOptions,
    RetryPolicy,
    listen,
    relay_daemon_negotiator,
)
from sideband.secure_relay.limits import DaemonLimits
from sideband.transport import WebSocketTransport

__all__ = ["RETRY_SECONDS"]

RETRY_SECONDS = 0.05


def _serve(peer: Peer) -> None:
    peer.rpc.handle("echo", lambda value: value)
    # Else collections would come when chance wants them, and their garbage would count as a session's.
    peer.rpc.handle("collect", lambda: gc.collect())


async def _main() -> None:
    logging.getLogger("sideband").setLevel(logging.ERROR)  # that it was cut off is the point
    told = json.loads(sys.stdin.readline())
    headers = {"Authorization": f"Bearer {told['token']}"}
    negotiator = relay_daemon_negotiator(
        told["daemon_id"],
        generate_identity_key_pair(),
        get_connection_params=lambda: ConnectionParams(headers=headers),
        limits=DaemonLimits(sessions=100_000, half_open=10_000, handshakes_per_second=100_000),
    )
    options = PeerOptions(
        connection=ConnectionPolicy(on_disconnect="pause"),
        retry=RetryPolicy(mode="on-error", initial=RETRY_SECONDS, max=RETRY_SECONDS, jitter=0.0),
    )
    transport = WebSocketTransport(proxy="", close_timeout_seconds=1.0)
    async with await listen(told["url"], _serve, negotiator=negotiator, transport=transport, options=options):
        print(0, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main())
