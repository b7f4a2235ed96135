"""The shape of the HTTP API.

TRPC's, so that the public TypeScript SDK works against it (docs/protocol/relay.md, "Control plane API").
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

from aiohttp import web
from pydantic import ValidationError

__all__ = ["STATUS", "ApiErrorCode", "ProcedureError", "answer", "describe_flaw", "read_input", "refuse"]

ApiErrorCode = Literal[
    "BAD_REQUEST", "UNAUTHORIZED", "FORBIDDEN", "NOT_FOUND", "CONFLICT", "TOO_MANY_REQUESTS", "INTERNAL_SERVER_ERROR"
]

STATUS: dict[ApiErrorCode, int] = {
    "BAD_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "CONFLICT": 409,
    "TOO_MANY_REQUESTS": 429,
    "INTERNAL_SERVER_ERROR": 500,
}


class ProcedureError(Exception):
    """A refusal that becomes an error answer. `message` is for the caller's eyes: it holds no secret.

    It never leaves the control plane's own code, so it is not part of the public tree of errors.
    """

    def __init__(self, code: ApiErrorCode, message: str, *, retry_after: float | None = None) -> None:
        self.code: ApiErrorCode = code
        self.retry_after = retry_after
        super().__init__(message)


async def read_input(request: web.Request, seconds: float) -> Any:
    """Return the procedure's input from the body `{"json": input}`; None for an empty body.

    Raises:
        ProcedureError: `BAD_REQUEST` when the body is no such object, too long, or not there within `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            body = await request.read()
    except TimeoutError as error:
        raise ProcedureError("BAD_REQUEST", f"the body did not arrive within {seconds:g} s") from error
    except ConnectionError as error:
        raise ProcedureError("BAD_REQUEST", "the connection was lost before the body was there") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise ProcedureError("BAD_REQUEST", f"the body is longer than {request.client_max_size} bytes") from error
    if not body:
        return None
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProcedureError("BAD_REQUEST", 'the body is not JSON; expected {"json": input}') from error
    if not isinstance(value, dict):
        raise ProcedureError("BAD_REQUEST", 'the body is not an object; expected {"json": input}')
    return value.get("json")


def answer(output: Any) -> web.Response:
    """Return the answer that carries a procedure's output."""
    return _json(200, {"result": {"data": output}})


def refuse(error: ProcedureError) -> web.Response:
    """Return the answer that carries a refusal."""
    status = STATUS[error.code]
    body = {"error": {"message": str(error), "data": {"code": error.code, "httpStatus": status}}}
    response = _json(status, body)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def describe_flaw(error: ValidationError) -> str:
    """Return what is wrong with an input, without quoting the input."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def _json(status: int, body: Any) -> web.Response:
    return web.Response(
        status=status,
        text=json.dumps(body, separators=(",", ":"), ensure_ascii=False),
        content_type="application/json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )
