"""Requests of an inbox's clients: how they are made and signed, and what their failures are called."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from yarl import URL

from sideband._native import IdentityKeyPair
from sideband.errors import BridgeError, BridgeErrorKind, ConfigError
from sideband.inbox.address import normalise_address
from sideband.inbox.signing import sign_fields
from sideband.transport.failures import connect_failure, place, retry_after_seconds
from sideband.transport.proxy import proxy_from_environment
from sideband.transport.roots import ssl_context_from_environment

__all__ = ["MAX_REFUSAL_BYTES", "InboxOrigin", "network_error", "read_body", "refusal"]

MAX_REFUSAL_BYTES = 64 * 1024
"""So much of an answer other than 200 is read."""

_REPLAY = "SHADE_REPLAY"
_KINDS: dict[int, BridgeErrorKind] = {409: "conflict", 429: "rate_limited"}
_PASSING = {408, 425, 500, 502, 503, 504}


class InboxOrigin:
    """Where an inbox is, who asks, and how: the part that all its clients share.

    HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE are honoured. Redirects are not followed: a signature is for one server.

    Args:
        url: the server's address, http or https; a path before `/v1` is kept.
        address: the address that the requests are for.
        identity: the key pair that signs them.
        ssl_context: for a server with a certificate of one's own.
        wall_clock: the time of day in seconds since 1970, for `signedAt`.

    Raises:
        ConfigError: `url` is none.
        InboxError: `address` is none (code `SHADE_VALIDATION`).
    """

    def __init__(
        self,
        url: str,
        address: str,
        identity: IdentityKeyPair,
        *,
        ssl_context: ssl.SSLContext | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.base = _checked(url)
        self.address = normalise_address(address)
        self.identity = identity
        self._ssl_context = ssl_context
        self._wall_clock = wall_clock

    def signed(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return `fields` with the time and the signature over all of them."""
        stamped = {**fields, "signedAt": int(self._wall_clock() * 1000)}
        return {**stamped, "signature": sign_fields(self.identity, stamped)}

    def signed_query(self, kind: str, since: int) -> dict[str, str]:
        """Return the query of a bridge request."""
        fields = self.signed({"address": self.address, "kind": kind, "since": since})
        return {name: str(value) for name, value in fields.items()}

    def session(self) -> aiohttp.ClientSession:
        """Return a session for requests to this server; the caller closes it."""
        return aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None), raise_for_status=False
        )

    def options(self, url: URL) -> dict[str, Any]:
        """Return the words that every request takes along."""
        return {
            "proxy": proxy_from_environment(url),
            "ssl": self._client_ssl_context() if url.scheme == "https" else True,
            "allow_redirects": False,
        }

    def _client_ssl_context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = ssl_context_from_environment()
        return self._ssl_context


async def read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the answer's body.

    Raises:
        BridgeError: it is longer than `limit` bytes (kind `protocol`).
    """
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > limit:
            raise BridgeError("protocol", f"the server's answer has more than {limit} bytes")
    return bytes(body)


async def refusal(response: aiohttp.ClientResponse) -> BridgeError:
    """Return the error that an answer other than success is."""
    try:
        told = json.loads(await read_body(response, MAX_REFUSAL_BYTES))
    except (ValueError, BridgeError):
        told = None
    return refused(response.status, told, response.headers.get("Retry-After"))


def refused(status: int, told: object, retry_after: str | None) -> BridgeError:
    """Return the error for a status, the JSON that came with it if any, and the header Retry-After."""
    told = told if isinstance(told, dict) else {}
    code = told.get("code") if isinstance(told.get("code"), str) else None
    text = _printable(told["error"]) if isinstance(told.get("error"), str) else "no reason was given"
    kind = _KINDS.get(status, "unavailable" if status in _PASSING or code == _REPLAY else "refused")
    return BridgeError(
        kind,
        f"the inbox answered {status}: {text}" if code else f"{status} came back, not from an inbox: {_HINT}",
        http_status=status,
        code=_printable(code) if code else None,
        retry_after=retry_after_seconds(retry_after),
    )


def network_error(error: BaseException, url: URL) -> BridgeError:
    """Return the error for what aiohttp raised; its text names the server and nothing of the query."""
    if isinstance(error, BridgeError):
        return error
    if isinstance(error, asyncio.TimeoutError | aiohttp.ServerTimeoutError):
        return BridgeError("timeout", f"{place(url)} did not answer in time")
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
        return BridgeError("network", f"{place(url)}: the connection was cut")
    return BridgeError("network", str(connect_failure(error, url)))


_HINT = "check the address, and what stands between"


def _checked(url: str) -> URL:
    try:
        parsed = URL(url)
    except ValueError:
        parsed = URL()
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query_string or parsed.user:
        raise ConfigError("the inbox's address has to be an http:// or https:// URL without a query or a password")
    return parsed


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:500])
