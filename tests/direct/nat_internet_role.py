"""Where servers live: a relay, and what tells a home how its NAT maps and filters (RFC 5780 by hand)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web
from typing_extensions import override

from sideband.jwks import LocalKeys
from sideband.relay.config import RelayConfig
from sideband.relay.core import Relay
from sideband.relay.server import create_relay_app, create_verifier, runner_options
from tests.faults.role import Role, run_role
from tests.support.coturn import answering
from tests.support.token_issuer import ISSUER

ECHO_PORTS = (7001, 7002)


class Echo(asyncio.DatagramProtocol):
    """Tells whoever asks from which address it came, by each of the sockets that it names, in that order."""

    sockets: dict[tuple[str, int], asyncio.DatagramTransport] = {}  # noqa: RUF012  (one list for all sockets of the process)

    @override
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for host, port in json.loads(data):
            told = json.dumps({"from": [host, port], "you": addr})
            self.sockets[host, port].sendto(told.encode(), addr)


async def main(role: Role) -> None:
    config = RelayConfig(issuer=ISSUER, loopback_listener=True, shutdown_spread_seconds=0.0, close_timeout_seconds=1.0)
    relay = Relay(config)
    keys: dict[str, Any] = role.config["jwks"]
    runner = web.AppRunner(
        create_relay_app(relay, create_verifier(relay, LocalKeys(lambda: keys))), **runner_options(config)
    )
    await runner.setup()
    loop = asyncio.get_running_loop()
    try:
        await web.TCPSite(runner, role.config["addresses"][0], 8080).start()
        for host in role.config["addresses"]:
            for port in ECHO_PORTS:
                transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=(host, port))
                Echo.sockets[host, port] = transport
        role.tell("ready")
        while True:
            order = await role.orders.get()
            await answering(*order["server"])
            role.tell("stun")
    finally:
        for transport in Echo.sockets.values():
            transport.close()
        await runner.cleanup()


if __name__ == "__main__":
    run_role(main)
