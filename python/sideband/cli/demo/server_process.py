"""The demo's control plane and relay: what `sideband serve` runs, with a tap on what the relay forwards."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from sideband.cli.demo.blindness import BlindnessTap, Samples
from sideband.cli.demo.child import Parent, run_child
from sideband.control.administration import Administration
from sideband.control.plane import open_store
from sideband.server.endpoints import Endpoints
from sideband.server.service import run
from sideband.server.settings import ListenSettings, PrivateSettings, ServerSettings

__all__ = ["main"]

TOKEN_SECONDS = 86_400


async def main(parent: Parent) -> None:
    """Serve until told to stop; tell what the relay forwarded when asked."""
    folder = Path(parent.config["folder"])
    tap = BlindnessTap(Samples.unpack(await asyncio.to_thread((folder / "samples").read_bytes)))
    made = await _provision(folder / "server")
    settings = ServerSettings(
        data_dir=folder / "server", listen=ListenSettings(port=0), private=PrivateSettings(enabled=False)
    )

    def ready(endpoints: Endpoints) -> None:
        parent.tell("ready", url=endpoints.url, **made)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run(settings, ready=ready, stop=asyncio.Event(), tap=tap))
        while True:
            await parent.commands.get()
            parent.tell("report", **tap.report())


async def _provision(data_dir: Path) -> dict[str, Any]:
    database, secret = await open_store(data_dir)
    try:
        administration = Administration(database, secret, actor="demo", now=int(time.time() * 1000))
        account = await administration.create_account("demo")
        daemon = await administration.create_daemon(account["id"], name="demo")
        user = await administration.create_user("demo", accounts=[account["id"]])
        token = await administration.create_user_token(user["id"], ttl_seconds=TOKEN_SECONDS)
        return {"daemon_id": daemon["id"], "api_key": daemon["apiKey"], "user_token": token["token"]}
    finally:
        await database.close()


if __name__ == "__main__":
    run_child(main)
