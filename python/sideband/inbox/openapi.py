"""The OpenAPI 3.1 description of an inbox, served at /v1/inbox/openapi.json.

A test compares the paths with the routes, and another sends what the description allows, and what it does not, to a
running server. Fields of the path are signed too and may stand in the body as well, equal. The WebSocket is described
by its refusal without an upgrade; docs/protocol/inbox.md has the rest.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from sideband.inbox.config import InboxConfig
from sideband.inbox.fields import BRIDGE_KINDS
from sideband.inbox.signing import MAX_NUMBER
from sideband.inbox.wire import STATUS

__all__ = ["describe_inbox"]

# Only the form that this side writes is described; url-safe and unpadded base64 are read too.
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)$"
_ADDRESS = {
    "type": "string",
    "minLength": 1,
    "maxLength": 256,
    "pattern": r"^[A-Za-z0-9:_\-.]+$",
    "description": "After NFKC.",
}
_MESSAGE_ID = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of the ciphertext."}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER}
_SIGNED_AT = {**_NUMBER, "description": "Unix time in ms: at most 5 min ago, at most 1 min ahead."}
_SIGNATURE = {
    "type": "string",
    "pattern": "^[A-Za-z0-9+/]{85}[AQgw]==$",
    "description": "Ed25519, 64 bytes in base64.",
}
_KEY = {
    "type": "string",
    "pattern": "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$",
    "description": "32 bytes in base64.",
}
_HINT = {"type": "string", "pattern": "^[0-9a-f]{16}$", "description": "Of the sender's key: never proof."}


def describe_inbox(config: InboxConfig) -> dict[str, Any]:
    """Return the description of an inbox with these limits."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sideband inbox",
            "version": version("sideband"),
            "description": "Store and forward: signed requests, docs/protocol/inbox.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {**_inbox_paths(config), **_bridge_paths(config)},
        "components": {"schemas": {"Error": _ERROR, "Message": _MESSAGE}},
    }


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def _signed(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return _object({**required, "signedAt": _SIGNED_AT, "signature": _SIGNATURE}, optional)


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


_ERROR = _object(
    {"error": {"type": "string"}, "code": {"type": "string", "enum": list(STATUS)}},
    {"cursor": {**_NUMBER, "description": "With SHADE_CONFLICT: the highest cursor of the address."}},
)
_MESSAGE = _object(
    {
        "msgId": _MESSAGE_ID,
        "ciphertext": {"type": "string", "pattern": _BASE64},
        "receivedAt": {**_NUMBER, "description": "The cursor: strictly increasing, no time of day."},
        "expiresAt": {**_NUMBER, "description": "Unix time in ms."},
        "from": _HINT,
    }
)
_MESSAGES = {"type": "array", "items": {"$ref": "#/components/schemas/Message"}}


def _operation(
    name: str,
    summary: str,
    answers: dict[str, Any],
    refusals: tuple[int, ...],
    *,
    body: Any = None,
    parameters: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": dict(answers)}
    for status in refusals:
        codes = ", ".join(code for code, number in STATUS.items() if number == status)
        operation["responses"][str(status)] = {
            "description": codes,
            "content": _json({"$ref": "#/components/schemas/Error"}),
        }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _json(body)}
    if parameters:
        operation["parameters"] = list(parameters)
    return operation


def _answer(description: str, schema: Any) -> dict[str, Any]:
    return {"description": description, "content": _json(schema)}


def _addresses(most: int, body_bytes: int) -> dict[str, Any]:
    # As many as there may be have to fit into the body; a few may be longer.
    together = min(256, (body_bytes - 1024) // most - 4) if most else 256
    return {"type": "array", "items": {**_ADDRESS, "maxLength": together}, "maxItems": most}


def _parameter(where: str, name: str, schema: Any) -> dict[str, Any]:
    return {"in": where, "name": name, "required": True, "schema": schema}


_IN_PATH = _parameter("path", "address", _ADDRESS)


def _inbox_paths(config: InboxConfig) -> dict[str, Any]:
    created = _object({"created": {"type": "boolean"}})
    receipt = _object(
        {"msgId": _MESSAGE_ID, "receivedAt": _NUMBER, "expiresAt": _NUMBER, "duplicate": {"type": "boolean"}}
    )
    ttl = {"type": "integer", "minimum": config.ttl_min_seconds, "maximum": config.ttl_max_seconds}
    limit = {"type": "integer", "minimum": 1, "maximum": config.fetch_limit}
    watchers = _addresses(config.watchers, config.body_bytes)
    return {
        "/v1/inbox/register": {
            "post": _operation(
                "register",
                "Make a key the owner of an address; the first use wins.",
                {"201": _answer("Registered.", created), "200": _answer("It was, to this key.", created)},
                (400, 401, 413, 429, 503),
                body={
                    **_signed(
                        {"address": _ADDRESS, "signingKey": _KEY},
                        {"envelopeKey": _KEY, "envelopeKeySignature": _SIGNATURE},
                    ),
                    "dependentRequired": {
                        "envelopeKey": ["envelopeKeySignature"],
                        "envelopeKeySignature": ["envelopeKey"],
                    },
                },
            )
        },
        "/v1/inbox/openapi.json": {
            "get": _operation(
                "openapi",
                "This description.",
                {"200": _answer("OpenAPI.", {"type": "object", "required": ["openapi"]})},
                (),
            )
        },
        "/v1/inbox/{address}": {
            "put": _operation(
                "put",
                "Put a message; the same one again is answered the same and delivered once.",
                {"201": _answer("Stored.", receipt), "200": _answer("It was, by an earlier put.", receipt)},
                (400, 401, 404, 413, 429, 503),
                body=_signed(
                    {"ciphertext": {"type": "string", "pattern": _BASE64}, "senderSigningKey": _KEY},
                    {"ttlSeconds": ttl, "msgId": _MESSAGE_ID},
                ),
                parameters=(_IN_PATH,),
            )
        },
        "/v1/inbox/{address}/fetch": {
            "post": _operation(
                "fetch",
                "Return messages above a cursor, the oldest first. Nothing is deleted.",
                {
                    "200": _answer(
                        "A page.", _object({"blobs": _MESSAGES, "cursor": _NUMBER, "hasMore": {"type": "boolean"}})
                    )
                },
                (400, 401, 404, 409, 413, 429, 503),
                body=_signed({"since": _NUMBER}, {"limit": limit}),
                parameters=(_IN_PATH,),
            )
        },
        "/v1/inbox/{address}/key": {
            "get": _operation(
                "key",
                "Return the keys of an address: whom it belongs to, and what to seal to.",
                {
                    "200": _answer(
                        "The keys.",
                        _object(
                            {"address": _ADDRESS, "signingKey": _KEY},
                            {"envelopeKey": _KEY, "envelopeKeySignature": _SIGNATURE},
                        ),
                    )
                },
                (400, 404, 429, 503),
                parameters=(_IN_PATH,),
            )
        },
        "/v1/inbox/{address}/watchers": {
            "put": _operation(
                "watchers",
                "Set which addresses may see whether this one is connected.",
                {"200": _answer("Set.", _object({"watchers": watchers}))},
                (400, 401, 404, 413, 429, 503),
                body=_signed({"watchers": watchers}),
                parameters=(_IN_PATH,),
            )
        },
        "/v1/inbox/{address}/{msgId}": {
            "delete": _operation(
                "delete",
                "Delete a message.",
                {"200": _answer("Done.", _object({"deleted": {"type": "boolean"}}))},
                (400, 401, 404, 413, 429, 503),
                body=_signed({}),
                parameters=(_IN_PATH, _parameter("path", "msgId", _MESSAGE_ID)),
            )
        },
    }


def _bridge_paths(config: InboxConfig) -> dict[str, Any]:
    query = tuple(
        _parameter("query", name, schema)
        for name, schema in (
            ("address", _ADDRESS),
            ("kind", {"type": "string", "enum": list(BRIDGE_KINDS)}),
            ("since", _NUMBER),
            ("signedAt", _SIGNED_AT),
            ("signature", _SIGNATURE),
        )
    )
    refusals = (400, 401, 404, 409, 429, 503)
    events = {"description": "Server-sent events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    page = _object({"messages": _MESSAGES, "cursor": _NUMBER})
    watched = _addresses(config.presence_addresses, config.presence_body_bytes)
    return {
        "/v1/bridge/ws": {
            "get": _operation(
                "ws",
                "Receive over a WebSocket.",
                {"101": {"description": "The upgrade."}},
                (400, 429),
                parameters=query,
            )
        },
        "/v1/bridge/stream": {
            "get": _operation("stream", "Receive by server-sent events.", {"200": events}, refusals, parameters=query)
        },
        "/v1/bridge/poll": {
            "get": _operation(
                "poll",
                "Receive as soon as there is something, or nothing after a while.",
                {"200": _answer("Messages.", page)},
                refusals,
                parameters=query,
            )
        },
        "/v1/bridge/presence": {
            "post": _operation(
                "presence",
                "See who is connected, of those whose watchers you are.",
                {"200": events},
                (400, 401, 404, 413, 429, 503),
                body=_signed(
                    {"address": _ADDRESS, "kind": {"type": "string", "enum": ["presence"]}, "addresses": watched}
                ),
            )
        },
    }
