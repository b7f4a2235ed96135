"""The control plane's API over HTTP (docs/protocol/relay.md, "Control plane API")."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any

import aiohttp
from yarl import URL

from sideband.cloud.answers import network_failure, output_of
from sideband.cloud.api_types import AccessibleDaemon, Presence, QuickConnectCode, Registration, RelaySession
from sideband.cloud.defaults import default_api_url
from sideband.errors import CloudApiError, ConfigError, TransportError
from sideband.transport.failures import place
from sideband.transport.proxy import proxy_from_environment
from sideband.transport.roots import ssl_context_from_environment

__all__ = ["MAX_ANSWER_BYTES", "REQUEST_SECONDS", "ControlPlane", "check_credential"]

REQUEST_SECONDS = 15.0
"""How long one request may take, from resolving the name to the last byte of the answer."""
MAX_ANSWER_BYTES = 1024 * 1024
"""A longer answer is not read to its end."""

_MAX_CREDENTIAL_CHARACTERS = 8_192


class ControlPlane:
    """Asks a control plane. Nothing has to be opened or closed: each request has a connection of its own.

    HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE are honoured; redirects are never followed. Every method raises
    `TransportError` when the network fails or no answer comes in time, and `CloudApiError` for a refusal, and for an
    answer that is none of a control plane.

    Args:
        api_url: its address; `SIDEBAND_API_URL`, else http://127.0.0.1:8080, unless given.
        request_seconds: how long one request may take; 15.
        ssl_context: for a server with a certificate of one's own; by default the system's roots, or SSL_CERT_FILE.

    Raises:
        ConfigError: `api_url` is no http or https URL, or is plain http to another machine, where anybody on the way
            could read the credentials.
    """

    def __init__(
        self,
        api_url: str | None = None,
        *,
        request_seconds: float = REQUEST_SECONDS,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._base = _checked(api_url or default_api_url())
        self._request_seconds = request_seconds
        self._ssl_context = ssl_context

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return str(self._base).rstrip("/")

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """As given, or made by the first request over TLS."""
        return self._ssl_context

    async def register(
        self, api_key: str, identity_public_key: bytes, *, name: str | None = None, rotate: bytes | None = None
    ) -> Registration:
        """Set or confirm the identity key of the API key's daemon.

        Args:
            api_key: the daemon's.
            identity_public_key: 32 bytes.
            name: what people call the daemon, 1 to 128 characters; None leaves it.
            rotate: the statement by which the registered key hands over to this one
                (`sideband.identity.rotation.make_statement`); without it another key is a conflict, 409.
        """
        value: dict[str, Any] = {"identityPublicKey": base64.b64encode(identity_public_key).decode()}
        if name is not None:
            value["name"] = name
        if rotate is not None:
            value["rotate"] = base64.b64encode(rotate).decode()
        return Registration.read(await self._ask("daemon.register", check_credential(api_key, "api_key"), value))

    async def renew_token(self, api_key: str) -> Presence:
        """Return a token for the next relay connection, with which sessions can be resumed."""
        return Presence.read(
            await self._ask("daemon.renewToken", check_credential(api_key, "api_key"), {"resume": True})
        )

    async def create_quick_connect(self, api_key: str, ttl_seconds: int = 300) -> QuickConnectCode:
        """Make a code that opens one session with the daemon.

        Args:
            api_key: the daemon's.
            ttl_seconds: how long it may be redeemed: 60 to 3,600 s; 300.
        """
        value = {"ttlSeconds": ttl_seconds}
        return QuickConnectCode.read(
            await self._ask("quickConnect.create", check_credential(api_key, "api_key"), value)
        )

    async def list_accessible(self, token: str) -> list[AccessibleDaemon]:
        """Return the registered daemons that the user may reach."""
        listed = await self._ask("daemon.listAccessible", check_credential(token, "the user's token"), None)
        if not isinstance(listed, list):
            raise CloudApiError(200, "the answer is no list of daemons; check the API address")
        return [AccessibleDaemon.read(entry) for entry in listed]

    async def create_session(self, token: str, daemon_id: str) -> RelaySession:
        """Return what one session with a daemon is opened with; whether it is online is the relay's to say."""
        credential = check_credential(token, "the user's token")
        return RelaySession.read(await self._ask("relay.createSession", credential, {"daemonId": daemon_id}), daemon_id)

    async def redeem(self, code: str) -> RelaySession:
        """Use up a Quick Connect code; return what its one session is opened with.

        Refusals: 404 for one that is unknown, used or expired; 409 when its daemon is offline: it is used up all the
        same.
        """
        return RelaySession.read(await self._ask("quickConnect.redeem", None, {"code": code}, secret=code))

    async def _ask(
        self, procedure: str, credential: str | None, value: dict[str, Any] | None, *, secret: str | None = None
    ) -> Any:
        url = self._base / "api" / "trpc" / procedure
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": _user_agent()}
        if credential is not None:
            headers["Authorization"] = f"Bearer {credential}"
        answer = await self._post(url, headers, json.dumps({"json": value}).encode())
        if isinstance(answer, TransportError):
            raise answer
        status, answered, body = answer
        return output_of(url, status, answered, body, credential or secret)

    async def _post(
        self, url: URL, headers: dict[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes | None] | TransportError:
        # Returned, not raised: some of aiohttp's errors hold the request's headers, and would go along as the context.
        deadline = asyncio.timeout(self._request_seconds)
        try:
            async with (
                deadline,
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=None),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                ) as session,
                session.post(
                    url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    proxy=proxy_from_environment(url),
                    ssl=self._client_ssl_context() if url.scheme == "https" else True,
                ) as response,
            ):
                return response.status, response.headers, await _read(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, TimeoutError) and deadline.expired():
                text = f"{place(url)} did not answer within {self._request_seconds:g} s; try again later"
                return TransportError("timeout", text)
            return network_failure(error, url)

    def _client_ssl_context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = ssl_context_from_environment()
        return self._ssl_context


def check_credential(value: object, what: str) -> str:
    """Return a credential that can be sent in a header.

    Raises:
        ConfigError: it is no text, is empty, or holds what no credential has in it, such as a line's end.
    """
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= _MAX_CREDENTIAL_CHARACTERS
        or not value.isascii()
        or not value.isprintable()
        or " " in value
    ):
        raise ConfigError(f"{what} has to be one word of printable ASCII; what was given is not, or is empty")
    return value


def _checked(api_url: str) -> URL:
    try:
        url = URL(api_url.strip())
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("the API address is an https URL, such as https://sideband.example")
    if url.user is not None or url.password is not None or url.query_string or url.fragment:
        raise ConfigError("the API address takes no user name, password, query or fragment")
    if url.scheme == "http" and not _is_this_machine(url.host):
        raise ConfigError(
            f"credentials are not sent to {place(url)} over plain http, where others can read them; use https"
        )
    return url


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    body = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            return None
    return bytes(body)


@cache
def _user_agent() -> str:
    from importlib.metadata import version

    return f"sideband/{version('sideband')}"
