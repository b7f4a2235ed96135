"""The shape of an inbox's HTTP answers (docs/protocol/inbox.md, "Errors")."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from sideband.errors import InboxError, InboxErrorCode, StoreError
from sideband.inbox.signing import encode_base64
from sideband.inbox.store import Blob

__all__ = ["CLOSE_CODES", "STATUS", "as_refusal", "blob_json", "error_body", "json_answer", "read_body", "refuse"]

STATUS: Mapping[InboxErrorCode, int] = {
    "SHADE_VALIDATION": 400,
    "SHADE_UNAUTHORIZED": 401,
    "SHADE_REPLAY": 401,
    "SHADE_NOT_FOUND": 404,
    "SHADE_CONFLICT": 409,
    "SHADE_PAYLOAD_TOO_LARGE": 413,
    "SHADE_RATE_LIMIT": 429,
    "SHADE_QUOTA_EXCEEDED": 429,
    "SHADE_INTERNAL": 500,
    "SHADE_STORAGE": 503,
}

CLOSE_CODES: Mapping[InboxErrorCode, int] = {
    "SHADE_VALIDATION": 4400,
    "SHADE_UNAUTHORIZED": 4401,
    "SHADE_REPLAY": 4408,
    "SHADE_NOT_FOUND": 4404,
    "SHADE_CONFLICT": 4409,
    "SHADE_RATE_LIMIT": 4429,
    "SHADE_INTERNAL": 1011,
    "SHADE_STORAGE": 1013,
}
"""How a WebSocket is closed for a refusal; 4403 instead of 4401 when it was signed for another kind."""

STORE_RETRY_SECONDS = 2.0

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def as_refusal(error: StoreError) -> InboxError:
    """Return what a client is told of a store that failed: that it did, and nothing of how."""
    del error
    return InboxError("SHADE_STORAGE", "the store is not available; try again later", retry_after=STORE_RETRY_SECONDS)


def error_body(error: InboxError) -> dict[str, Any]:
    """Return a refusal as JSON."""
    body: dict[str, Any] = {"error": str(error).partition(": ")[2], "code": error.code}
    if error.cursor is not None:
        body["cursor"] = error.cursor
    return body


def refuse(error: InboxError) -> web.Response:
    """Return the answer that carries a refusal."""
    response = json_answer(STATUS[error.code], error_body(error))
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return response


def json_answer(status: int, body: Any) -> web.Response:
    """Return a JSON answer that nobody stores; `body` may be JSON already, as text."""
    return web.Response(
        status=status,
        body=(body if isinstance(body, str) else _encode(body)).encode(),
        content_type="application/json",
        charset="utf-8",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )


def blob_json(blob: Blob, **more: str) -> str:
    """Return a blob as JSON, in one line; `more` stands before its own fields."""
    return _encode(
        {
            **more,
            "msgId": blob.msg_id,
            "ciphertext": encode_base64(blob.ciphertext),
            "receivedAt": blob.cursor,
            "expiresAt": blob.expires_at,
            "from": blob.hint,
        }
    )


async def read_body(request: web.Request, limit: int, seconds: float) -> bytes:
    """Return a request's body; what is too long is refused as soon as that is known.

    Raises:
        InboxError: `SHADE_PAYLOAD_TOO_LARGE`: it is longer than `limit` bytes. `SHADE_VALIDATION`: it is compressed, or
            was not there within `seconds`.
    """
    too_large = InboxError("SHADE_PAYLOAD_TOO_LARGE", f"the body is longer than {limit} bytes")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InboxError("SHADE_VALIDATION", "the body must not be compressed")
    if request.content_length is not None and request.content_length > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > limit:
                    raise too_large
    except TimeoutError as error:
        raise InboxError("SHADE_VALIDATION", f"the body did not arrive within {seconds:g} s") from error
    except (ConnectionError, web.RequestPayloadError) as error:
        raise InboxError("SHADE_VALIDATION", "the connection was lost before the body was there") from error
    return bytes(body)
