"""What a process is made of: both planes, or one of them, ready to be served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from sideband.client_limits import address_key, client_address
from sideband.control.app import control_routes
from sideband.control.internal import MAX_REPORT_BYTES, InternalInterface
from sideband.control.oidc import OidcTokens
from sideband.control.plane import ControlPlane, open_store
from sideband.control.secrets import private_folder
from sideband.database import sqlite_url
from sideband.errors import ConfigError
from sideband.inbox.app import mount_inbox
from sideband.inbox.service import Inbox
from sideband.inbox.store import open_inbox_store
from sideband.jwks import FetchedKeys, LocalKeys, fetch_over_http
from sideband.relay.config import RelayConfig
from sideband.relay.core import Relay
from sideband.relay.internal import InternalReporter, kick_routes
from sideband.relay.server import create_verifier, mount_relay
from sideband.relay.sids import SqliteSpentSids
from sideband.server.admin_http import AdminHttp
from sideband.server.endpoints import Endpoints, control_config
from sideband.server.logs import log_requests
from sideband.server.planes import LocalRelay, StoreDirectory, StoreSids, Upkeep
from sideband.server.private import Readiness, load_admin_token
from sideband.server.settings import ServerSettings

if TYPE_CHECKING:
    from sideband.relay.forward import RelayTap

__all__ = ["NO_CONTROL_URL", "Process", "compose_both", "compose_control", "compose_relay"]

NO_CONTROL_URL = "internal.control_url is needed: where the control plane's private port is reached"

SIDS_FILE = "relay.db"
"""In the data folder of a relay on its own: the session ids that were used."""

INBOX_FILE = "inbox.db"
"""In the data folder: the inboxes, unless they are elsewhere. A file of its own, so that a full inbox keeps no login
waiting for the lock."""

Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass
class Process:
    """What is served, and what goes on beside.

    Attributes:
        app: the public listener's application.
        readiness: what /readyz tells.
        relay: the relay of this process, or None.
        plane: the control plane of this process, or None.
        inbox: the inboxes of this process, or None.
        private_routes: what the private port serves beside health and metrics.
        work: runs until the process stops.
        max_private_bytes: longest body on the private port.
    """

    app: web.Application
    readiness: Readiness
    relay: Relay | None = None
    plane: ControlPlane | None = None
    inbox: Inbox | None = None
    private_routes: list[web.RouteDef] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)
    max_private_bytes: int = 1024**2


async def compose_both(
    stack: AsyncExitStack, settings: ServerSettings, endpoints: Endpoints, tap: RelayTap | None
) -> Process:
    """Return both planes in one process, on one store."""
    plane = await _open_plane(stack, settings, endpoints)
    config = settings.relay_config(plane.config.issuer)
    relay = Relay(config, sids=StoreSids(plane.database), directory=StoreDirectory(plane.database), tap=tap)
    local = LocalRelay(plane, relay)
    await local.begin()
    stack.push_async_callback(local.take_back)

    process = Process(await _control_app(stack, plane, config), Readiness(plane, relay), relay, plane)
    mount_relay(process.app, relay, create_verifier(relay, LocalKeys(plane.keys.jwks)))
    await _add_inbox(stack, settings, process, config)
    upkeep = Upkeep(plane)
    process.work += [
        local.follow_orders,
        local.report_regularly,
        upkeep.follow_signing_keys,
        upkeep.remove_regularly,
    ]
    process.private_routes += _admin(settings, plane, local.poke, local.report).routes()
    return process


async def compose_control(stack: AsyncExitStack, settings: ServerSettings, endpoints: Endpoints) -> Process:
    """Return a control plane whose relays are other processes."""
    secret = settings.internal_secret()
    plane = await _open_plane(stack, settings, endpoints)
    session = await stack.enter_async_context(aiohttp.ClientSession())
    config = settings.relay_config(plane.config.issuer)
    process = Process(await _control_app(stack, plane, config), Readiness(plane, None), plane=plane)
    await _add_inbox(stack, settings, process, config)
    upkeep = Upkeep(plane)
    process.work += [upkeep.follow_signing_keys, upkeep.remove_regularly]
    poke: Callable[[], None] = _nothing
    if secret is not None:
        interface = InternalInterface(plane, secret, session)
        process.private_routes += interface.routes()
        process.work.append(interface.follow_orders)
        process.max_private_bytes = MAX_REPORT_BYTES
        poke = interface.poke
    process.private_routes += _admin(settings, plane, poke).routes()
    return process


async def compose_relay(
    stack: AsyncExitStack, settings: ServerSettings, endpoints: Endpoints, tap: RelayTap | None
) -> Process:
    """Return a relay whose control plane is another process, known by its JWKS and the internal interface."""
    config = settings.relay_config(settings.issuer or endpoints.url)
    sids = await stack.enter_async_context(await SqliteSpentSids.open(private_folder(settings.data_dir) / SIDS_FILE))
    session = await stack.enter_async_context(aiohttp.ClientSession())
    keys = FetchedKeys(
        fetch_over_http(session, config.issuer),
        fresh_seconds=config.jwks_fresh_seconds,
        retry_seconds=config.jwks_retry_seconds,
        stale_seconds=config.jwks_stale_seconds,
    )
    relay = Relay(config, sids=sids, tap=tap)
    app = web.Application(middlewares=[log_requests])
    mount_relay(app, relay, create_verifier(relay, keys))
    process = Process(app, Readiness(None, relay), relay)
    # A control plane that is not up yet is no reason not to start: upgrades are 503 and /readyz says why.
    await keys.refresh()

    async def has_keys() -> bool:
        return keys.usable or await keys.refresh()

    process.readiness.add("keys", has_keys)
    secret = settings.internal_secret()
    if secret is not None:
        if settings.internal.control_url is None:
            raise ConfigError(NO_CONTROL_URL)
        reporter = InternalReporter(
            relay, session, settings.internal.control_url, secret, kick_url=settings.internal.kick_url
        )
        process.work.append(reporter.run)
        process.private_routes += kick_routes(relay, secret)
        stack.push_async_callback(reporter.report, final=True)
    return process


async def _open_plane(stack: AsyncExitStack, settings: ServerSettings, endpoints: Endpoints) -> ControlPlane:
    database, secret = await open_store(
        settings.data_dir, settings.store_url(), wait_seconds=settings.database_wait_seconds
    )
    stack.push_async_callback(database.close)
    return await ControlPlane.open(control_config(settings, endpoints), database, secret)


async def _control_app(stack: AsyncExitStack, plane: ControlPlane, config: RelayConfig) -> web.Application:
    oidc = None
    if plane.config.oidc is not None:
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=True))
        oidc = OidcTokens(plane.config.oidc, session, plane.clock)

    app = web.Application(client_max_size=plane.config.max_request_bytes, middlewares=[log_requests])
    app.add_routes(control_routes(plane, oidc=oidc, address_of=_address_of(config)))
    return app


async def _add_inbox(stack: AsyncExitStack, settings: ServerSettings, process: Process, config: RelayConfig) -> None:
    if not settings.inbox.enabled:
        return
    url = settings.inbox.store_address()
    if url is None:
        shared = settings.store_url() or ""
        own = sqlite_url(private_folder(settings.data_dir) / INBOX_FILE)
        url = shared if shared.startswith("postgresql") else own
    store = await open_inbox_store(url, wait_seconds=settings.database_wait_seconds)
    stack.push_async_callback(store.close)

    async def answers() -> bool:
        await store.check()
        return True

    process.inbox = Inbox(store, settings.inbox_config())
    process.readiness.add("inbox", answers)
    mount_inbox(process.app, process.inbox, address_of=_address_of(config))


def _address_of(config: RelayConfig) -> Callable[[web.Request], str]:
    def address_of(request: web.Request) -> str:
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        address = peer[0] if isinstance(peer, tuple) else "local"
        forwarded = request.headers.getall("X-Forwarded-For", [])
        return address_key(client_address(address, forwarded, config.trusted_proxies))

    return address_of


def _admin(
    settings: ServerSettings,
    plane: ControlPlane,
    poke: Callable[[], None],
    report: Callable[[], Awaitable[None]] | None = None,
) -> AdminHttp:
    hosts = {"localhost", "127.0.0.1", "::1", settings.private.host.lower(), *settings.private.allowed_hosts}
    return AdminHttp(plane, load_admin_token(settings.data_dir), frozenset(hosts), poke, report)


def _nothing() -> None:
    """There is no relay to tell; it hears of changes by the JWKS alone."""
