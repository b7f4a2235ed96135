"""The HTTP face of the control plane."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.metadata import version

from aiohttp import web

from sideband.control.authenticate import OidcVerifier
from sideband.control.connect_page import connect_page
from sideband.control.openapi import describe_api
from sideband.control.plane import ControlPlane
from sideband.control.procedures import PROCEDURES, Call
from sideband.control.wire import ProcedureError, answer, read_input, refuse
from sideband.errors import StoreError

__all__ = ["CAPABILITIES", "OLDEST_CLIENT", "control_routes", "create_control_app"]

OLDEST_CLIENT = "0.1.0"
"""The oldest version of this package whose clients and daemons this server works with."""

CAPABILITIES = ("quick-connect/1", "identity/1", "rotation/1", "resume/1")

_log = logging.getLogger("sideband.control")


def create_control_app(plane: ControlPlane, *, oidc: OidcVerifier | None = None) -> web.Application:
    """Return an application with the control plane's public routes.

    Args:
        plane: an opened control plane; the caller closes its database.
        oidc: verifies user tokens of an OIDC issuer; None accepts built-in ones only.
    """
    app = web.Application(client_max_size=plane.config.max_request_bytes)
    app.add_routes(control_routes(plane, oidc=oidc))
    return app


def control_routes(
    plane: ControlPlane,
    *,
    oidc: OidcVerifier | None = None,
    address_of: Callable[[web.Request], str] | None = None,
) -> list[web.RouteDef]:
    """Return the public routes, for mounting beside the relay's on one listener.

    Args:
        plane: an opened control plane.
        oidc: verifies user tokens of an OIDC issuer.
        address_of: tells a request's client address behind trusted proxies; the peer's address by default.
    """
    find_address = address_of or _peer_address

    async def procedure(request: web.Request) -> web.Response:
        call = Call(plane, request, find_address(request), oidc)
        return await _run(call, request.match_info["procedure"])

    async def jwks(_request: web.Request) -> web.Response:
        return web.json_response(plane.keys.jwks(), headers={"Cache-Control": "public, max-age=300"})

    async def openapi(_request: web.Request) -> web.Response:
        return web.json_response(describe_api())

    async def describe(_request: web.Request) -> web.Response:
        return web.json_response(
            {"server": version("sideband"), "oldestClient": OLDEST_CLIENT, "capabilities": list(CAPABILITIES)}
        )

    return [
        web.post("/api/trpc/{procedure}", procedure),
        web.get("/.well-known/jwks.json", jwks),
        web.get("/v1/version", describe),
        web.get("/v1/openapi.json", openapi),
        web.get("/connect", connect_page),
    ]


async def _run(call: Call, name: str) -> web.Response:
    response = await _answer(call, name)
    call.plane.answers[(name if name in PROCEDURES else "unknown", response.status)] += 1
    return response


async def _answer(call: Call, name: str) -> web.Response:
    handle = PROCEDURES.get(name)
    try:
        if handle is None:
            raise ProcedureError("NOT_FOUND", "no procedure has this name")
        return answer(await handle(call, await read_input(call.request, call.plane.config.request_seconds)))
    except ProcedureError as error:
        return refuse(error)
    except StoreError as error:
        _log.error("procedure %s: %s", name, error)
        return refuse(
            ProcedureError("INTERNAL_SERVER_ERROR", "the store is not available; try again later", retry_after=5)
        )
    except Exception:  # noqa: BLE001  (the boundary: a fault of ours is still an answer in the API's shape)
        _log.exception("procedure %s failed", name)
        return refuse(ProcedureError("INTERNAL_SERVER_ERROR", "the server failed; its log has the request's id"))


def _peer_address(request: web.Request) -> str:
    return request.remote or "unknown"
