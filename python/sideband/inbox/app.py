"""An inbox as an aiohttp application, or as routes of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from sideband.inbox.bridges import BridgeRoutes
from sideband.inbox.config import InboxConfig
from sideband.inbox.openapi import describe_inbox
from sideband.inbox.routes import AddressOf, InboxRoutes, peer_address
from sideband.inbox.service import Inbox
from sideband.inbox.store import InboxStore
from sideband.inbox.wire import json_answer

__all__ = ["OPENAPI_PATH", "create_inbox_app", "inbox_routes", "mount_inbox"]

OPENAPI_PATH = "/v1/inbox/openapi.json"


def create_inbox_app(
    store: InboxStore, config: InboxConfig | None = None, *, address_of: AddressOf | None = None
) -> web.Application:
    """Return an application with an inbox's routes: to be served, or mounted by `add_subapp` of another.

    Args:
        store: an opened store; the caller closes it.
        config: every limit; the defaults if None.
        address_of: tells a request's client address; by default the connection's, which behind a proxy is the proxy's.
    """
    app = web.Application()
    mount_inbox(app, Inbox(store, config), address_of=address_of)
    return app


def mount_inbox(app: web.Application, inbox: Inbox, *, address_of: AddressOf | None = None) -> None:
    """Add an inbox's routes to `app`; it starts and ends with the application.

    Args:
        app: gets the routes.
        inbox: does the work; the caller closes its store.
        address_of: tells a request's client address; by default the connection's.
    """
    find_address = address_of or peer_address
    bridges = BridgeRoutes(inbox, find_address)

    async def follow(_app: web.Application) -> AsyncIterator[None]:
        upkeep = asyncio.create_task(inbox.purge_regularly(), name="inbox upkeep")
        yield
        upkeep.cancel()
        await asyncio.wait([upkeep])
        inbox.presence.close()

    async def stop(_app: web.Application) -> None:
        bridges.close()

    app.add_routes([*inbox_routes(inbox, find_address), *bridges.routes()])
    app.cleanup_ctx.append(follow)
    app.on_shutdown.append(stop)


def inbox_routes(inbox: Inbox, address_of: AddressOf = peer_address) -> list[web.RouteDef]:
    """Return the routes that are no bridges."""

    async def openapi(_request: web.Request) -> web.Response:
        return json_answer(200, describe_inbox(inbox.config))

    return [web.get(OPENAPI_PATH, openapi), *InboxRoutes(inbox, address_of).routes()]
