"""One server process: built in order, run until told to stop, taken down in reverse."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sideband.errors import ConfigError
from sideband.relay.internal import check_secret
from sideband.relay.server import runner_options
from sideband.server.compose import NO_CONTROL_URL, Process, compose_both, compose_control, compose_relay
from sideband.server.endpoints import Endpoints, endpoints_of
from sideband.server.first_account import make_first_account
from sideband.server.listener import bind
from sideband.server.private import create_private_app
from sideband.server.settings import ServerSettings
from sideband.server.tls import CertificateFiles

if TYPE_CHECKING:
    from sideband.relay.forward import RelayTap

__all__ = ["check", "run"]

_log = logging.getLogger("sideband.server")


def check(settings: ServerSettings) -> None:
    """Look at what the settings name: the TLS files and the internal secret. Nothing is opened for writing or bound.

    Raises:
        ConfigError: what is there cannot be used.
    """
    _certificates(settings)
    secret = settings.internal_secret()
    if secret is not None:
        check_secret(secret)
        if settings.planes == "relay" and settings.internal.control_url is None:
            raise ConfigError(NO_CONTROL_URL)


async def run(
    settings: ServerSettings,
    *,
    ready: Callable[[Endpoints], None],
    stop: asyncio.Event,
    tap: RelayTap | None = None,
) -> None:
    """Run the server until `stop` is set, then end it gracefully.

    Args:
        settings: everything it is told.
        ready: called once it listens, with its URLs.
        stop: ends it: nothing new is taken, connections are sent away with 1001, and what is left after
            `relay.shutdown_seconds` is cut.
        tap: sees every frame the relay forwards; for the demo's proof that they are ciphertext.

    Raises:
        ConfigError: an address is taken, or a setting contradicts what is found.
        StoreError: the store cannot be opened.
    """
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(bind(settings.listen.host, settings.listen.port))
        private = None
        if settings.private.enabled:
            private = stack.enter_context(bind(settings.private.host, settings.private.port))
        certificates = _certificates(settings)
        endpoints = endpoints_of(settings, listener, private)
        process = await _compose(stack, settings, endpoints, tap)
        if process.plane is not None and settings.first_account:
            await make_first_account(process.plane, settings.data_dir, settings.listen.host)

        # The private port is up first and down last, so that it tells of the time between.
        if private is not None:
            app = create_private_app(
                process.readiness,
                relay=process.relay,
                plane=process.plane,
                inbox=process.inbox,
                routes=process.private_routes,
                max_bytes=process.max_private_bytes,
            )
            await _serve(stack, app, private, {"access_log": None, "handle_signals": False})
        options = runner_options(settings.relay_config("https://settings.invalid"))
        await _serve(stack, process.app, listener, options, certificates)
        work = list(process.work)
        if certificates is not None:
            work.append(certificates.follow)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(start()) for start in work]
            ready(endpoints)
            await stop.wait()
            for task in running:
                task.cancel()
        _log.info("stopping")


async def _compose(
    stack: AsyncExitStack, settings: ServerSettings, endpoints: Endpoints, tap: RelayTap | None
) -> Process:
    match settings.planes:
        case "control":
            return await compose_control(stack, settings, endpoints)
        case "relay":
            return await compose_relay(stack, settings, endpoints, tap)
        case _:
            return await compose_both(stack, settings, endpoints, tap)


def _certificates(settings: ServerSettings) -> CertificateFiles | None:
    certificate, key = settings.listen.tls_certificate, settings.listen.tls_key
    return CertificateFiles(certificate, key) if certificate is not None and key is not None else None


async def _serve(
    stack: AsyncExitStack,
    app: web.Application,
    listener: socket.socket,
    options: dict[str, Any],
    certificates: CertificateFiles | None = None,
) -> None:
    runner = web.AppRunner(app, **options)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=certificates.context if certificates else None).start()
