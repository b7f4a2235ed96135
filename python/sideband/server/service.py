"""One server process: builds everything in order, runs until told to stop, and takes it down in reverse."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

from aiohttp import web

from sideband.control.app import control_routes
from sideband.control.plane import ControlPlane, open_store
from sideband.server.endpoints import Endpoints, control_config, endpoints_of
from sideband.server.listener import bind
from sideband.server.settings import ServerSettings

__all__ = ["run"]

SHUTDOWN_SECONDS = 30.0
"""How long requests and connections under way may take to end."""

_log = logging.getLogger("sideband.server")


async def run(settings: ServerSettings, *, ready: Callable[[Endpoints], None], stop: asyncio.Event) -> None:
    """Run the server until `stop` is set.

    Args:
        settings: everything it is told.
        ready: called once it listens, with its URLs.
        stop: ends it gracefully.

    Raises:
        ConfigError: an address is taken, or a setting contradicts what is found.
        StoreError: the store cannot be opened.
    """
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(bind(settings.listen.host, settings.listen.port))
        private = None
        if settings.private.enabled:
            private = stack.enter_context(bind(settings.private.host, settings.private.port))
        endpoints = endpoints_of(settings, listener, private)
        database, secret = await open_store(settings.data_dir, _database_url(settings))
        stack.push_async_callback(database.close)
        plane = await ControlPlane.open(control_config(settings, endpoints), database, secret)
        app = web.Application(client_max_size=plane.config.max_request_bytes)
        app.add_routes(control_routes(plane))
        await _serve(stack, app, listener)
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(_follow_store(plane))
            ready(endpoints)
            await stop.wait()
            following.cancel()


def _database_url(settings: ServerSettings) -> str | None:
    return settings.database_url.get_secret_value() if settings.database_url else None


async def _serve(stack: AsyncExitStack, app: web.Application, listener: socket.socket) -> None:
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listener).start()


async def _follow_store(plane: ControlPlane) -> None:
    while True:
        await asyncio.sleep(plane.config.refresh_seconds)
        await plane.keys.refresh()
