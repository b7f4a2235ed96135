"""A daemon that shares a folder, through the proxy of the test."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sideband import cloud
from sideband.identity import FileIdentity
from sideband.peer import RetryPolicy
from sideband.sharing import Share, SharedTransfer
from tests.faults.role import Role, peak_bytes, run_role


async def main(role: Role) -> None:
    config = role.config

    def told(one: SharedTransfer) -> None:
        error = None if one.error is None else str(one.error)
        role.tell("transfer", direction=one.direction, path=one.path, error=error)

    share = Share(config["shared"], writable=True, on_transfer=told)
    identity = await asyncio.to_thread(FileIdentity, Path(config["identity"]))
    try:
        async with await cloud.listen(
            api_key=config["api_key"],
            identity_key_pair=identity,
            on_connection=share.serve,
            api_url=config["url"],
            relay_urls=[config["relay"]],
            retry=RetryPolicy(mode="on-error", initial=0.1, max=1.0),
        ):
            role.tell("ready")
            while True:
                await role.orders.get()
                role.tell("memory", peak=peak_bytes())
    finally:
        share.close()


if __name__ == "__main__":
    run_role(main)
