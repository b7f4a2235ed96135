"""The control plane's public keys, as those hold them who verify its tokens (docs/protocol/relay.md, "Tokens").

`PublishedKeys` is what a daemon wants: it fetches by itself. Below it `FetchedKeys` decides when to fetch and
`fetch_over_http` fetches. In one process with the control plane, `LocalKeys` reads its document directly.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from yarl import URL

from sideband.errors import ConfigError, TokenError
from sideband.transport.failures import place
from sideband.transport.proxy import proxy_from_environment

__all__ = ["MAX_JWKS_BYTES", "FetchedKeys", "LocalKeys", "PublishedKeys", "fetch_over_http", "parse_jwks"]

MAX_JWKS_BYTES = 64 * 1024

_log = logging.getLogger("sideband.jwks")


def parse_jwks(document: object) -> dict[str, OKPKey]:
    """Return the usable keys of a JWKS by kid: public Ed25519 keys that say `EdDSA` and are for signatures.

    Others are left out, as RFC 7517 (5) asks.

    Raises:
        ValueError: `document` is no JWKS.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("keys"), list):
        msg = "a JWKS is an object with a list named keys"
        raise ValueError(msg)
    keys: dict[str, OKPKey] = {}
    for entry in document["keys"]:
        if not isinstance(entry, dict) or not _is_usable(entry):
            continue
        try:
            keys[entry["kid"]] = OKPKey.import_key({name: entry[name] for name in ("kty", "crv", "x")})
        except (JoseError, ValueError, TypeError):
            continue
    return keys


class LocalKeys:
    """Keys of a control plane in the same process.

    Args:
        document: returns its current JWKS.
    """

    def __init__(self, document: Callable[[], Mapping[str, Any]]) -> None:
        self._document = document
        self._parsed_from: Mapping[str, Any] | None = None
        self._keys: dict[str, OKPKey] = {}

    async def key(self, kid: str) -> OKPKey | None:
        """Return the key named `kid`, or None."""
        document = self._document()
        if document != self._parsed_from:
            self._keys = parse_jwks(document)
            self._parsed_from = document
        return self._keys.get(kid)


class FetchedKeys:
    """Keys fetched from somewhere else, and kept.

    They are fetched again after `fresh_seconds`, and once for an unknown kid, at most every `retry_seconds`; whoever
    asks meanwhile waits for the same fetch. While the source cannot be reached, known keys are used until they are
    `stale_seconds` old: long enough to bridge a restart of the control plane, short enough that a key taken out of the
    JWKS does not live on because somebody keeps this side from fetching.

    Args:
        fetch: returns the JWKS; may raise OSError, ValueError, TimeoutError or aiohttp's ClientError.
        fresh_seconds: default 300.
        retry_seconds: least time between two fetches; default 10.
        stale_seconds: default 900.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[object]],
        *,
        fresh_seconds: float = 300.0,
        retry_seconds: float = 10.0,
        stale_seconds: float = 900.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._fresh_seconds = fresh_seconds
        self._retry_seconds = retry_seconds
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._keys: dict[str, OKPKey] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    @property
    def usable(self) -> bool:
        """Whether there are keys that may be used now; a relay without any is not ready."""
        return bool(self._keys) and self._age() <= self._stale_seconds

    async def refresh(self) -> bool:
        """Fetch now, unless that was done within `retry_seconds`; tell whether there are usable keys afterwards."""
        await self._fetch_unless_just_done(self._clock())
        return self.usable

    async def key(self, kid: str) -> OKPKey | None:
        """Return the key named `kid`, or None when the issuer has none of that name.

        Raises:
            TokenError: `keys_unavailable`, status 503, when the keys could not be fetched.
        """
        if kid not in self._keys or self._age() > self._fresh_seconds:
            await self._fetch_unless_just_done(self._clock())
        if self._age() > self._stale_seconds:
            raise TokenError("keys_unavailable", "the issuer's keys cannot be fetched; try again later", status=503)
        return self._keys.get(kid)

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    async def _fetch_unless_just_done(self, asked_at: float) -> None:
        async with self._fetching:
            if asked_at - self._tried_at < self._retry_seconds:
                return
            self._tried_at = self._clock()
            try:
                self._keys = parse_jwks(await self._fetch())
            except (aiohttp.ClientError, OSError, ValueError, RecursionError, TimeoutError) as error:
                _log.warning("jwks_fetch_failed", extra={"cause": type(error).__name__})
            else:
                self._fetched_at = self._clock()


class PublishedKeys(FetchedKeys):
    """The keys that an issuer publishes at `{issuer}/.well-known/jwks.json`, fetched when they are needed.

    Nothing has to be opened or closed: a fetch, at most every ten seconds, has a connection of its own. Otherwise as
    `FetchedKeys`.

    Args:
        issuer: the control plane's URL, as tokens name it in `iss`.
        ssl_context: for an issuer with a certificate of one's own; by default the system's roots, or those of
            SSL_CERT_FILE.

    Raises:
        ConfigError: `issuer` is no http or https URL, or is plain http to another machine: whoever is on the way there
            could put their own keys in its place.
    """

    def __init__(self, issuer: str, *, ssl_context: ssl.SSLContext | None = None) -> None:
        _check_issuer(issuer)
        self._issuer = issuer
        self._ssl_context = ssl_context
        super().__init__(self._fetch_apart)

    async def _fetch_apart(self) -> object:
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
        connector = aiohttp.TCPConnector(ssl=self._ssl_context)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            return await fetch_over_http(session, self._issuer)()


def fetch_over_http(
    session: aiohttp.ClientSession, issuer: str, *, timeout_seconds: float = 5.0
) -> Callable[[], Awaitable[object]]:
    """Return a `fetch` for `FetchedKeys` that gets `{issuer}/.well-known/jwks.json`.

    Redirects are refused, the answer is at most 64 KiB, and HTTPS_PROXY and NO_PROXY are honoured.

    Args:
        session: the caller's; it decides about TLS and is closed by the caller.
        issuer: the issuer's URL.
        timeout_seconds: for the whole request; default 5.
    """
    url = URL(issuer.rstrip("/") + "/.well-known/jwks.json")

    async def fetch() -> object:
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        proxy = proxy_from_environment(url)
        async with session.get(url, timeout=timeout, allow_redirects=False, proxy=proxy) as response:
            if response.status != 200:
                msg = f"{place(url)} answered {response.status}"
                raise ValueError(msg)
            body = bytearray()
            async for chunk in response.content.iter_chunked(16 * 1024):
                body += chunk
                if len(body) > MAX_JWKS_BYTES:
                    msg = f"the JWKS is over {MAX_JWKS_BYTES} bytes"
                    raise ValueError(msg)
        return json.loads(body)

    return fetch


def _check_issuer(issuer: str) -> None:
    try:
        url = URL(issuer)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("an issuer is an https URL, such as https://control.example")
    if url.scheme == "http" and not _is_loopback(url.host):
        raise ConfigError(f"the keys of {place(url)} cannot be believed over plain http; use https")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_usable(entry: dict[str, Any]) -> bool:
    kid = entry.get("kid")
    return (
        entry.get("kty") == "OKP"
        and entry.get("crv") == "Ed25519"
        and entry.get("alg") == "EdDSA"
        and entry.get("use", "sig") == "sig"
        and isinstance(entry.get("x"), str)
        and isinstance(kid, str)
        and bool(kid)
    )
