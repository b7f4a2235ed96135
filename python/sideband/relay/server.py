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

from sideband.errors import SbrpErrorCode
from sideband.relay.config import RelayConfig
from sideband.relay.connection import RelayConnection
from sideband.relay.core import Relay
from sideband.relay.forward import MAX_FRAME_BYTES, serve_client, serve_daemon
from sideband.relay.limits import AddressEntry
from sideband.relay.tokens import KeySource, RelayToken, TokenVerifier
from sideband.relay.upgrade import (
    UpgradeError,
    admit,
    check_rate,
    refusal_response,
    remote_address,
    reserved,
    spend_session,
)

__all__ = ["PATHS", "create_relay_app", "create_verifier", "mount_relay", "runner_options"]

PATHS = ("/", "/relay")
"""Where the relay takes WebSockets."""

_log = logging.getLogger("sideband.relay")


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
    # aiohttp refuses a message of exactly its limit.
    websocket = web.WebSocketResponse(
        compress=False, autoping=False, autoclose=False, max_msg_size=MAX_FRAME_BYTES + 1, decode_text=False
    )
    key = remote_address(relay, request)
    try:
        check_rate(relay, key)
        token = await admit(relay, verifier, request, websocket)
        with reserved(relay, token, key) as address:
            if token.role == "client":
                await spend_session(relay, token)
            await websocket.prepare(request)
            connection = _open(relay, token, request, websocket, address)
    except UpgradeError as refusal:
        return refusal_response(relay, refusal)
    except ConnectionResetError:
        # Nobody is there to read this answer; without one aiohttp would log a fault of the relay.
        return refusal_response(relay, UpgradeError(400, "left", "the connection was lost during its upgrade"))
    await _run(relay, connection)
    return websocket


def _open(
    relay: Relay,
    token: RelayToken,
    request: web.Request,
    websocket: web.WebSocketResponse,
    address: AddressEntry | None,
) -> RelayConnection:
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    connection = RelayConnection(relay, token, websocket, transport)
    connection.address = address
    relay.connection_opened(connection)
    return connection


async def _run(relay: Relay, connection: RelayConnection) -> None:
    try:
        if connection.is_client:
            await relay.connect_client(connection)
            await serve_client(relay, connection)
        else:
            relay.connect_daemon(connection)
            await serve_daemon(relay, connection)
    except Exception:  # noqa: BLE001  (a fault in one connection is logged and ends that connection, not the others)
        _log.exception("connection_failed")
        relay.fail(connection, SbrpErrorCode.INTERNAL_ERROR, 0)
    finally:
        connection.ended()
        relay.connection_gone(connection)
