"""Our relay as a process of its own: the first line of its input is JSON with the keys and settings it takes."""

import asyncio
import json
import sys

from aiohttp import web

from sideband.allocator import tune_allocator
from sideband.bench.processes import serve_until_stdin_closes
from sideband.jwks import LocalKeys
from sideband.relay.config import RelayConfig
from sideband.relay.core import Relay
from sideband.relay.server import create_relay_app, create_verifier, runner_options

__all__: list[str] = []


async def _main() -> None:
    told = json.loads(sys.stdin.readline())
    config = RelayConfig(**told["config"])
    relay = Relay(config)
    app = create_relay_app(relay, create_verifier(relay, LocalKeys(lambda: told["jwks"])))
    await serve_until_stdin_closes(web.AppRunner(app, **runner_options(config)))


if __name__ == "__main__":
    tune_allocator()  # as the commands do
    asyncio.run(_main())
