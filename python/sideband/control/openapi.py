"""The OpenAPI 3.1 description of the public HTTP API, served at /v1/openapi.json.

Inputs are described by the models that check them. A test compares the paths with the routes, and another sends what
the description allows, and what it does not, to a running server.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from sideband.control.procedures.call import Input
from sideband.control.procedures.daemon import NAME_PATTERN, RegisterInput, RenewTokenInput
from sideband.control.procedures.quick_connect import CreateCodeInput, RedeemInput
from sideband.control.procedures.session import CreateSessionInput
from sideband.control.wire import STATUS

__all__ = ["describe_api"]

_API_KEY: list[dict[str, Any]] = [{"apiKey": []}]
_USER_TOKEN: list[dict[str, Any]] = [{"userToken": []}]
_TEXT = {"type": "string", "minLength": 1}
_KEY = {"type": "string", "pattern": "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$", "description": "32 bytes in base64."}
_JWT = {"type": "string", "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"}
_DAEMON_ID = {"type": "string", "pattern": "^d_[0-9A-Za-z]{22}$"}


def describe_api() -> dict[str, Any]:
    """Return the description."""
    paths: dict[str, Any] = {
        f"/api/trpc/{name}": {"post": _procedure(name, **_PROCEDURES[name])} for name in _PROCEDURES
    }
    paths.update(_PLAIN)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sideband control plane",
            "version": version("sideband"),
            "description": "tRPC-shaped: the input is in the member json, the output in result.data.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "A daemon's API key, sbnd_dak_..."},
                "userToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A user token, sbnd_usr_..., or a JWT of the configured OpenID issuer.",
                },
            },
            "schemas": {"Error": _ERROR},
        },
    }


def _object(**members: Any) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


_ERROR = _object(
    error=_object(
        message=_TEXT,
        data=_object(
            code={"type": "string", "enum": list(STATUS)},
            httpStatus={"type": "integer", "enum": sorted(STATUS.values())},
        ),
    )
)


def _procedure(
    name: str, summary: str, model: type[Input], output: Any, security: Any, refusals: tuple[int, ...]
) -> dict[str, Any]:
    schema = {**model.model_json_schema(by_alias=True), **_SHARPER.get(name, {})}
    required = bool(schema.get("required"))
    body: dict[str, Any] = {"type": "object", "properties": {"json": schema}, "required": ["json"]}
    if not required:
        body = {"type": "object", "properties": {"json": {"anyOf": [{"type": "null"}, schema]}}}
    answers: dict[str, Any] = {
        "200": {"description": "Done.", "content": _json(_object(result=_object(data=output)))},
    }
    for status in (400, *refusals, 500):
        code = next(code for code, number in STATUS.items() if number == status)
        answers[str(status)] = {"description": code, "content": _json({"$ref": "#/components/schemas/Error"})}
    return {
        "operationId": name,
        "summary": summary,
        "security": security,
        "requestBody": {"required": required, "content": _json(body)},
        "responses": answers,
    }


_SHARPER: dict[str, dict[str, Any]] = {
    "daemon.register": {
        "properties": {
            "identityPublicKey": _KEY,
            "name": {
                "anyOf": [
                    {"type": "string", "minLength": 1, "maxLength": 128, "pattern": NAME_PATTERN},
                    {"type": "null"},
                ]
            },
            "rotate": {
                "anyOf": [{"type": "string", "description": "A rotation statement in base64."}, {"type": "null"}]
            },
        }
    },
    "quickConnect.redeem": {
        "properties": {"code": {"type": "string", "pattern": "^[A-Za-z]{4}-?[A-Za-z]{4}-?[A-Za-z]{4}$"}}
    },
}

_SESSION = {"relayUrl": _TEXT, "token": _JWT, "identity": _JWT}
_PRESENCE = {"presenceToken": _JWT, "relayUrl": _TEXT}

_PROCEDURES: dict[str, dict[str, Any]] = {
    "daemon.register": {
        "summary": "Set or confirm the identity key of the API key's daemon.",
        "model": RegisterInput,
        "output": _object(daemonId=_DAEMON_ID, **_PRESENCE),
        "security": _API_KEY,
        "refusals": (401, 403, 409),
    },
    "daemon.renewToken": {
        "summary": "Get a token for the daemon's next connection to the relay.",
        "model": RenewTokenInput,
        "output": _object(**_PRESENCE),
        "security": _API_KEY,
        "refusals": (401, 403),
    },
    "daemon.listAccessible": {
        "summary": "List the daemons that the user reaches.",
        "model": Input,
        "output": {
            "type": "array",
            "items": _object(
                id=_DAEMON_ID,
                name={"type": ["string", "null"]},
                identityPublicKey=_KEY,
                fingerprint={"type": "string", "pattern": "^SHA256:([0-9A-F]{2}:){31}[0-9A-F]{2}$"},
                online={"type": "boolean"},
                rotations={"type": "array", "items": {"type": "string"}},
            ),
        },
        "security": _USER_TOKEN,
        "refusals": (401, 403),
    },
    "relay.createSession": {
        "summary": "Get a token for one session with a daemon.",
        "model": CreateSessionInput,
        "output": _object(**_SESSION),
        "security": _USER_TOKEN,
        "refusals": (401, 403, 404),
    },
    "quickConnect.create": {
        "summary": "Make a code that opens one session with the API key's daemon.",
        "model": CreateCodeInput,
        "output": _object(
            code={"type": "string", "pattern": "^[a-hjkmnp-z]{4}-[a-hjkmnp-z]{4}-[a-hjkmnp-z]{4}$"},
            url={"type": "string", "format": "uri"},
            expiresAt={"type": "string", "format": "date-time"},
        ),
        "security": _API_KEY,
        "refusals": (401, 403, 429),
    },
    "quickConnect.redeem": {
        "summary": "Use a code up; it opens one session if its daemon is online.",
        "model": RedeemInput,
        "output": _object(daemonId=_DAEMON_ID, **_SESSION),
        "security": [],
        "refusals": (404, 409, 429),
    },
}

_PLAIN: dict[str, Any] = {
    "/.well-known/jwks.json": {
        "get": {
            "operationId": "jwks",
            "summary": "The keys that sign tokens.",
            "security": [],
            "responses": {
                "200": {
                    "description": "A JSON Web Key Set (RFC 7517).",
                    "content": _json(
                        _object(
                            keys={
                                "type": "array",
                                "minItems": 1,
                                "items": _object(
                                    kty={"const": "OKP"},
                                    crv={"const": "Ed25519"},
                                    x={"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"},
                                    kid=_TEXT,
                                    alg={"const": "EdDSA"},
                                    use={"const": "sig"},
                                ),
                            }
                        )
                    ),
                }
            },
        }
    },
    "/v1/version": {
        "get": {
            "operationId": "version",
            "summary": "The server's version and what it can do.",
            "security": [],
            "responses": {
                "200": {
                    "description": "The versions.",
                    "content": _json(
                        _object(
                            server=_TEXT,
                            oldestClient=_TEXT,
                            capabilities={"type": "array", "items": {"type": "string"}},
                        )
                    ),
                }
            },
        }
    },
    "/v1/openapi.json": {
        "get": {
            "operationId": "openapi",
            "summary": "This description.",
            "security": [],
            "responses": {
                "200": {
                    "description": "An OpenAPI document.",
                    "content": _json({"type": "object", "required": ["openapi"]}),
                }
            },
        }
    },
    "/connect": {
        "get": {
            "operationId": "connectPage",
            "summary": "The page that a Quick Connect URL opens.",
            "security": [],
            "responses": {"200": {"description": "A page.", "content": {"text/html": {"schema": {"type": "string"}}}}},
        }
    },
}
