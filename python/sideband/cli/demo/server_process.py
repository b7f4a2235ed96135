"""The demo's control plane and relay: those of `sideband serve`, with a tap on what the relay forwards."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from aiohttp import web

from sideband.cli.demo.blindness import BlindnessTap, Samples
from sideband.cli.demo.child import Parent, run_child
from sideband.control.administration import Administration
from sideband.control.app import control_routes
from sideband.control.config import ControlConfig
from sideband.control.plane import ControlPlane, open_store
from sideband.relay.config import RelayConfig
from sideband.relay.core import Relay
from sideband.relay.jwks import LocalKeys
from sideband.relay.server import create_verifier, mount_relay, runner_options
from sideband.server.listener import bind, host_and_port

__all__ = ["main"]


async def main(parent: Parent) -> None:
    """Serve until told to stop; tell what the relay forwarded when asked."""
    folder = Path(parent.config["folder"])
    tap = BlindnessTap(Samples.unpack(await asyncio.to_thread((folder / "samples").read_bytes)))
    database, secret = await open_store(folder / "server")
    try:
        administration = Administration(database, secret, actor="demo", now=int(time.time() * 1000))
        account = await administration.create_account("demo")
        daemon = await administration.create_daemon(account["id"], name="demo")
        user = await administration.create_user("demo", accounts=[account["id"]])
        token = await administration.create_user_token(user["id"], ttl_seconds=86_400)
        with bind("127.0.0.1", 0) as listener:
            url = f"http://{host_and_port(listener)}"
            relay_url = f"ws://{host_and_port(listener)}/relay"
            control = ControlConfig(public_url=url, relay_url=relay_url, issuer=url)
            plane = await ControlPlane.open(control, database, secret)
            relay = Relay(RelayConfig(issuer=url, loopback_listener=True), tap=tap)
            app = web.Application(client_max_size=control.max_request_bytes)
            app.add_routes(control_routes(plane))
            mount_relay(app, relay, create_verifier(relay, LocalKeys(plane.keys.jwks)))
            runner = web.AppRunner(app, **runner_options(relay.config))
            await runner.setup()
            try:
                await web.SockSite(runner, listener).start()
                parent.tell(
                    "ready", url=url, daemon_id=daemon["id"], api_key=daemon["apiKey"], user_token=token["token"]
                )
                while True:
                    await parent.commands.get()
                    parent.tell("report", **tap.report())
            finally:
                await runner.cleanup()
    finally:
        await database.close()


if __name__ == "__main__":
    run_child(main)
