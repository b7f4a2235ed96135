"""Structured logs on standard error, with a request id on everything that happens for one request.

Library code logs by the standard library; only this process decides how lines look. Tokens, codes and keys are never
given to a logger; daemon ids at debug only.
"""

from __future__ import annotations

import logging
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from sideband.server.settings import LogSettings

__all__ = ["configure_logs", "log_requests"]

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_log = logging.getLogger("sideband.server.http")


def configure_logs(settings: LogSettings) -> None:
    """Send the logs of this package, and warnings of others, to standard error."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_extra,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        # Plain tracebacks: the pretty ones show local variables, and these can be secrets.
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_without_request_text)
    logging.getLogger("sideband").setLevel(settings.level.upper())


@web.middleware
async def log_requests(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Give each request an id, in the logs and in the header X-Request-Id, and log its end.

    Only the route is logged: paths and queries can hold what no log may.
    """
    request_id = secrets.token_hex(8)
    began = time.monotonic()
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        status = 500
        try:
            response = await handler(request)
            status = response.status
        except web.HTTPException as refusal:
            status = refusal.status
            refusal.headers["X-Request-Id"] = request_id
            raise
        finally:
            milliseconds = round((time.monotonic() - began) * 1000, 1)
            _log.debug(
                "request",
                extra={"method": request.method, "route": route, "status": status, "milliseconds": milliseconds},
            )
        if not response.prepared:
            response.headers["X-Request-Id"] = request_id
        return response


def _without_request_text(record: logging.LogRecord) -> bool:
    # What cannot be parsed is quoted in the error, and it may be a header with a token.
    if record.exc_info is not None and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info = None
        record.msg, record.args = "malformed request", ()
    return True


def _add_extra(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    record = event.get("_record")
    if record is not None:
        event.update({name: value for name, value in vars(record).items() if name not in _OWN_FIELDS})
    return event
