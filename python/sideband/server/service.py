"""One server process: builds everything in order, runs until told to stop, and takes it down in reverse."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sideband.control.app import control_routes
from sideband.control.plane import ControlPlane, open_store
from sideband.errors import StoreError
from sideband.relay.core import Relay
from sideband.relay.jwks import LocalKeys
from sideband.relay.server import create_verifier, mount_relay, runner_options
from sideband.relay.upgrade import remote_address
from sideband.server.admin_http import AdminHttp
from sideband.server.endpoints import Endpoints, control_config, endpoints_of
from sideband.server.listener import bind
from sideband.server.logs import log_requests
from sideband.server.planes import LocalRelay, StoreDirectory, StoreSids, Upkeep
from sideband.server.private import Readiness, create_private_app, load_admin_token
from sideband.server.settings import ServerSettings
from sideband.server.tls import CertificateFiles

if TYPE_CHECKING:
    from sideband.relay.forward import RelayTap

__all__ = ["run"]

_log = logging.getLogger("sideband.server")


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

        database, secret = await open_store(settings.data_dir, _database_url(settings))
        stack.push_async_callback(database.close)
        plane = await ControlPlane.open(control_config(settings, endpoints), database, secret)
        config = settings.relay_config(plane.config.issuer)
        relay = Relay(config, sids=StoreSids(database), directory=StoreDirectory(database), tap=tap)
        local = LocalRelay(plane, relay)
        await local.begin()

        app = web.Application(client_max_size=plane.config.max_request_bytes, middlewares=[log_requests])
        app.add_routes(control_routes(plane, address_of=lambda request: remote_address(relay, request)))
        mount_relay(app, relay, create_verifier(relay, LocalKeys(plane.keys.jwks)))
        background = _Background(local, Upkeep(plane), certificates)
        stack.push_async_callback(_take_back_presence, local)
        await _serve(stack, app, listener, runner_options(config), certificates)
        if private is not None:
            admin = AdminHttp(plane, load_admin_token(settings.data_dir), _allowed_hosts(settings), local.poke)
            private_app = create_private_app(Readiness(plane, relay), relay=relay, routes=admin.routes())
            await _serve(stack, private_app, private, {"access_log": None, "handle_signals": False})
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work) for work in background.work()]
            ready(endpoints)
            await stop.wait()
            for task in running:
                task.cancel()
        _log.info("stopping")


class _Background:
    """What goes on beside answering requests."""

    def __init__(self, local: LocalRelay, upkeep: Upkeep, certificates: CertificateFiles | None) -> None:
        self._local = local
        self._upkeep = upkeep
        self._certificates = certificates

    def work(self) -> list[Coroutine[Any, Any, None]]:
        work = [
            self._local.follow_orders(),
            self._local.report_regularly(),
            self._upkeep.follow_signing_keys(),
            self._upkeep.remove_regularly(),
        ]
        if self._certificates is not None:
            work.append(self._certificates.follow())
        return work


def _certificates(settings: ServerSettings) -> CertificateFiles | None:
    certificate, key = settings.listen.tls_certificate, settings.listen.tls_key
    return CertificateFiles(certificate, key) if certificate is not None and key is not None else None


def _database_url(settings: ServerSettings) -> str | None:
    return settings.database_url.get_secret_value() if settings.database_url else None


def _allowed_hosts(settings: ServerSettings) -> frozenset[str]:
    return frozenset({"localhost", "127.0.0.1", "::1", settings.private.host.lower(), *settings.private.allowed_hosts})


async def _serve(
    stack: AsyncExitStack,
    app: web.Application,
    listener: socket.socket,
    options: dict[str, Any],
    certificates: CertificateFiles | None = None,
) -> None:
    context: ssl.SSLContext | None = certificates.context if certificates else None
    runner = web.AppRunner(app, **options)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=context).start()


async def _take_back_presence(local: LocalRelay) -> None:
    try:
        await local.report(final=True)
    except StoreError:
        # It lapses by itself in 30 s.
        _log.warning("presence_not_taken_back")
