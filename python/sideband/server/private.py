"""The private port: health, readiness, metrics, and admin HTTP.

Health and metrics are open to whoever reaches the port; admin needs the bearer token of `admin.token` in the data
folder, and a Host header that names this port, so that no web page can reach it through a browser (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest

from sideband.control.metrics import ControlCollector
from sideband.control.plane import ControlPlane
from sideband.control.secrets import private_text
from sideband.errors import StoreError
from sideband.inbox.metrics import InboxCollector
from sideband.inbox.service import Inbox
from sideband.relay.core import Relay
from sideband.relay.metrics import RelayCollector

__all__ = ["ADMIN_TOKEN_FILE", "Readiness", "create_private_app", "load_admin_token", "require_admin"]

ADMIN_TOKEN_FILE = "admin.token"  # noqa: S105  (a file's name)
"""Name of the file in the data folder that holds the admin's bearer token, mode 0600."""

READY_SECONDS = 2.0
"""How long a part may take to say that it is ready."""

Check = Callable[[], Awaitable[bool]]


class Readiness:
    """Whether this process can do its work, by part.

    Args:
        plane: the control plane of this process, or None.
        relay: the relay of this process, or None.
    """

    def __init__(self, plane: ControlPlane | None, relay: Relay | None) -> None:
        self._checks: dict[str, Check] = {}
        if plane is not None:
            self.add("store", lambda: _store_answers(plane))
        if relay is not None:
            self.add("relay", lambda: _takes_connections(relay))

    def add(self, part: str, check: Check) -> None:
        """Ask `check` too; it may raise StoreError or TimeoutError for no."""
        self._checks[part] = check

    async def parts(self) -> dict[str, bool]:
        """Return each part and whether it is ready."""
        return {part: await _holds(check) for part, check in self._checks.items()}


def load_admin_token(data_dir: Path) -> str:
    """Return the admin's bearer token, made with mode 0600 on first use.

    Raises:
        ConfigError: the file can be read by others, or not at all.
    """
    return private_text(data_dir / ADMIN_TOKEN_FILE, lambda: secrets.token_urlsafe(32))


def create_private_app(
    readiness: Readiness,
    *,
    relay: Relay | None = None,
    plane: ControlPlane | None = None,
    inbox: Inbox | None = None,
    routes: Iterable[web.RouteDef] = (),
    max_bytes: int = 1024**2,
) -> web.Application:
    """Return the private port's application.

    Args:
        readiness: answers /readyz.
        relay: its counts are in /metrics.
        plane: so are its.
        inbox: so are its.
        routes: more of them, each guarded by itself.
        max_bytes: longest body of a request.
    """
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    if relay is not None:
        registry.register(RelayCollector(relay))
    if plane is not None:
        registry.register(ControlCollector(plane))
    if inbox is not None:
        registry.register(InboxCollector(inbox))

    async def health(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_request: web.Request) -> web.Response:
        parts = await readiness.parts()
        return _json(200 if all(parts.values()) else 503, {"ready": all(parts.values()), "parts": parts})

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(client_max_size=max_bytes)
    app.add_routes([web.get("/healthz", health), web.get("/readyz", ready), web.get("/metrics", metrics), *routes])
    return app


def require_admin(request: web.Request, token: str, allowed_hosts: Iterable[str]) -> None:
    """Let an admin's request pass.

    Raises:
        HTTPForbidden: the Host header names something else than this port.
        HTTPUnauthorized: the bearer token is missing or wrong.
    """
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or _host_name(hosts[0]) not in allowed_hosts:
        raise web.HTTPForbidden(text=_error("FORBIDDEN", "the Host header does not name this port"), content_type=_JSON)
    scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(
        presented.strip().encode(errors="surrogateescape"), token.encode()
    ):
        raise web.HTTPUnauthorized(
            text=_error("UNAUTHORIZED", f"expected the bearer token in {ADMIN_TOKEN_FILE} of the data folder"),
            content_type=_JSON,
            headers={"WWW-Authenticate": "Bearer"},
        )


_JSON = "application/json"


def _host_name(host: str) -> str:
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).strip("[]").lower()


def _error(code: str, message: str) -> str:
    return json.dumps({"error": {"code": code, "message": message}})


def _json(status: int, body: object) -> web.Response:
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store"})


async def _holds(check: Check) -> bool:
    try:
        async with asyncio.timeout(READY_SECONDS):
            return await check()
    except (StoreError, TimeoutError):
        return False


async def _store_answers(plane: ControlPlane) -> bool:
    async with plane.database.read() as connection:
        await connection.exec_driver_sql("SELECT version_num FROM alembic_version")
    return True


async def _takes_connections(relay: Relay) -> bool:
    return not relay.draining
