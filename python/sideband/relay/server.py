"""The relay as routes of an aiohttp application.

relay = Relay(config, sids=..., directory=...)
verifier = TokenVerifier(config.issuer, LocalKeys(control.jwks), ...)
app = create_relay_app(relay, verifier)                 # or mount_relay(app, relay, verifier) beside other routes
runner = web.AppRunner(app, **runner_options(config))
"""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from sideband.relay.config import RelayConfig
from sideband.relay.connection import RelayConnection
from sideband.relay.core import Relay
from sideband.relay.tokens import KeySource, TokenVerifier
from sideband.relay.upgrade import (
    UpgradeError,
    admit,
    check_rate,
    refusal_response,
    remote_address,
    reserved,
    spend_session,
)
from sideband.transport.upgrade import TakenOver, take_over

__all__ = ["PATHS", "create_relay_app", "create_verifier", "mount_relay", "runner_options"]

PATHS = ("/", "/relay")
"""Where the relay takes WebSockets."""


def create_verifier(relay: Relay, keys: KeySource) -> TokenVerifier:
    """Return the verifier that `relay`'s configuration asks for."""
    config = relay.config
    return TokenVerifier(
        config.issuer,
        keys,
        audience=config.audience,
        region=config.region,
        leeway_seconds=config.token_leeway_seconds,
        max_daemon_seconds=config.daemon_token_max_seconds,
        clock=relay.clock.unix,
    )


def create_relay_app(relay: Relay, verifier: TokenVerifier) -> web.Application:
    """Return an application that serves only the relay."""
    app = web.Application()
    mount_relay(app, relay, verifier)
    return app


def mount_relay(app: web.Application, relay: Relay, verifier: TokenVerifier) -> None:
    """Add the relay's routes to `app`, start it with the application and shut it down with it."""

    async def serve(request: web.Request) -> web.StreamResponse:
        return await _serve(relay, verifier, request)

    async def start(_app: web.Application) -> None:
        relay.start()

    async def stop(_app: web.Application) -> None:
        await relay.shutdown()

    for path in PATHS:
        app.router.add_get(path, serve, allow_head=False)
    app.on_startup.append(start)
    app.on_shutdown.append(stop)


def runner_options(config: RelayConfig) -> dict[str, Any]:
    """Return what the relay needs of `web.AppRunner`.

    Headers must be there within the upgrade's time. Nothing is logged per request: a query can hold a token. Nor is
    anything of a request that cannot be parsed.
    """
    logger = logging.getLogger("sideband.relay.http")
    logger.addFilter(_without_request_text)
    return {
        "access_log": None,
        "logger": logger,
        "keepalive_timeout": config.upgrade_timeout_seconds,
        "handler_cancellation": False,
        "handle_signals": False,
        "shutdown_timeout": config.close_timeout_seconds,
    }


def _without_request_text(record: logging.LogRecord) -> bool:
    if record.exc_info is not None and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


async def _serve(relay: Relay, verifier: TokenVerifier, request: web.Request) -> web.StreamResponse:
    key = remote_address(relay, request)
    try:
        check_rate(relay, key)
        token = await admit(relay, verifier, request)
        with reserved(relay, token, key) as address:
            daemon_exists = True
            if token.role == "client":
                daemon_exists = await relay.knows(token)
                await spend_session(relay, token)
            transport, behind = take_over(request)
            connection = RelayConnection(relay, token, transport)
            connection.address = address
            relay.connection_opened(connection)
    except UpgradeError as refusal:
        return refusal_response(relay, refusal)
    except ConnectionResetError:
        # Nobody is there to read this answer; without one aiohttp would log a fault of the relay.
        return refusal_response(relay, UpgradeError(400, "left", "the connection was lost during its upgrade"))
    if connection.is_client:
        relay.connect_client(connection, daemon_exists=daemon_exists)
    else:
        relay.connect_daemon(connection)
    connection.start(behind)
    return TakenOver()
