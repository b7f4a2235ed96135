"""A peer at home: the daemon of some ids, the client of some daemons, or a socket that asks about its NAT."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from contextlib import AsyncExitStack
from typing import Any

from sideband import direct
from sideband.identity import IdentityTrust, MemoryIdentityKeyStore, generate_identity_key_pair
from sideband.peer import Peer, PeerOptions, create_peer
from sideband.peer.listening import listen
from sideband.peer.relay_negotiators import relay_client_negotiator, relay_daemon_negotiator
from sideband.transport import WebSocketTransport
from tests.faults.role import Role, run_role
from tests.support.relay_harness import bearer

ATTEMPT_SECONDS = 10.0
"""The policy's default; a pair that needs longer counts as one that does not connect."""


def options(order: dict[str, Any]) -> PeerOptions:
    servers = tuple(direct.IceServer(*server) for server in order["servers"])
    policy = direct.DirectPolicy(transports=tuple(order["transports"]), ice_servers=servers, timeout=ATTEMPT_SECONDS)
    return PeerOptions(upgrade=direct.upgrades(policy))


async def serve(role: Role, stack: AsyncExitStack, order: dict[str, Any]) -> None:
    """Be the daemon of this id."""

    def on_connection(peer: Peer) -> None:
        peer.rpc.handle("path", lambda _: peer.path)

    daemon_id, token = order["daemon_id"], order["token"]
    negotiator = relay_daemon_negotiator(
        daemon_id, generate_identity_key_pair(), get_connection_params=lambda: bearer(token)
    )
    server = await listen(
        role.config["relay"],
        on_connection,
        negotiator=negotiator,
        transport=WebSocketTransport(proxy=""),
        options=options(order),
    )
    await stack.enter_async_context(server)
    role.tell("serving", daemon_id=daemon_id)


async def meet(role: Role, order: dict[str, Any]) -> None:
    """Be a client of this daemon, and tell by which path each side speaks once there was time to find one."""
    daemon_id, token = order["daemon_id"], order["token"]
    negotiator = relay_client_negotiator(
        daemon_id,
        trust=IdentityTrust(MemoryIdentityKeyStore(), "accept-new"),
        get_connection_params=lambda: bearer(token),
    )
    peer = create_peer(
        role.config["relay"],
        negotiator=negotiator,
        transport=WebSocketTransport(proxy=""),
        options=options(order),
    )
    async with peer:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ATTEMPT_SECONDS + 2):
                await direct.when_direct(peer)
        theirs = await peer.rpc.call("path", "x" * 100_000)
        ours = peer.path
    # Once everything is closed: who hears it may end this process.
    role.tell("met", daemon_id=daemon_id, ours=ours, theirs=theirs)


async def ask(role: Role, order: dict[str, Any]) -> None:
    """From a fresh socket speak to the first of these addresses, and tell who gets through to it.

    The one that was spoken to answers last: what was to come before has come by then.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.bind(("", 0))
        spoken, *others = ((host, port) for host, port in order["addresses"])
        came = await _answers(loop, asking, spoken, [*others, spoken])
        seen = [tuple(answer["you"]) for answer in came if tuple(answer["from"]) == spoken]
        for other in others:
            seen += [tuple(answer["you"]) for answer in await _answers(loop, asking, other, [other])]
        role.tell("asked", through=[answer["from"] for answer in came], mappings=len(set(seen)))


async def _answers(
    loop: asyncio.AbstractEventLoop, asking: socket.socket, to: tuple[str, int], by: list[tuple[str, int]]
) -> list[dict[str, Any]]:
    await loop.sock_sendto(asking, json.dumps(by).encode(), to)
    came: list[dict[str, Any]] = []
    while not came or tuple(came[-1]["from"]) != by[-1]:
        came.append(json.loads(await loop.sock_recv(asking, 1024)))
    return came


async def main(role: Role) -> None:
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as meetings:
        while True:
            order = await role.orders.get()
            if order["order"] == "serve":
                await serve(role, stack, order)
            elif order["order"] == "meet":
                meetings.create_task(meet(role, order))
            else:
                await ask(role, order)


if __name__ == "__main__":
    run_role(main)
