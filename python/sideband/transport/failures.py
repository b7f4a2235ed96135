"""How failures of aiohttp become `TransportError`.

No text of aiohttp's own is passed on where it may hold the URL: a query string can carry a token.
"""

from __future__ import annotations

import contextlib
import errno
import time
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from yarl import URL

from sideband.errors import TransportError, TransportErrorKind

__all__ = ["MAX_RETRY_AFTER_SECONDS", "connect_failure", "place", "retry_after_seconds"]

MAX_RETRY_AFTER_SECONDS: Final = 3600.0
"""A longer Retry-After is cut to this."""

_CUT = {errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE}

_REFUSAL_HINTS = {
    401: "the token was refused; ask for a new one",
    403: "the token does not allow this",
    404: "nothing is served at this path; check the relay's URL",
    407: "the proxy wants credentials",
    409: "this session was used before; ask for a new one",
    429: "too many attempts; wait before the next",
    503: "the server is full or shutting down; try again later",
}


def place(url: URL) -> str:
    """Return scheme, host and port of `url`: all of it that is safe to show."""
    return f"{url.scheme}://{url.host_port_subcomponent}"


def connect_failure(error: BaseException, url: URL) -> TransportError:
    """Map what aiohttp raised while connecting to `url`."""
    where = place(url)
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return _refused(error, where)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        hint = _REFUSAL_HINTS.get(error.status, "check HTTPS_PROXY")
        return TransportError("transport_failure", f"the proxy for {where} answered {error.status}: {hint}")
    if isinstance(error, aiohttp.InvalidURL):
        return TransportError("transport_failure", "the endpoint is not a valid ws:// or wss:// URL")
    kind, text = _classify(error)
    return TransportError(kind, f"{where}: {text}")


def retry_after_seconds(value: str | None) -> float | None:
    """Read a Retry-After header, in seconds or as a date (RFC 9110, 10.2.3); None when it is absent or nonsense."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    with contextlib.suppress(ValueError):
        return min(max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0), MAX_RETRY_AFTER_SECONDS)
    return None


def _refused(error: aiohttp.WSServerHandshakeError, where: str) -> TransportError:
    status = error.status
    if 300 <= status < 400:
        text = f"{where} answered {status}: redirects are not followed; use the final address"
        return TransportError("transport_failure", text, http_status=status)
    if status in {101, 200}:
        return TransportError("transport_failure", f"{where} did not answer as a WebSocket server", http_status=status)
    kind: TransportErrorKind = "authentication_failed" if status in {401, 403} else "transport_failure"
    hint = _REFUSAL_HINTS.get(status, "the server refused the WebSocket")
    retry_after = retry_after_seconds(error.headers.get("Retry-After") if error.headers else None)
    return TransportError(kind, f"{where} answered {status}: {hint}", http_status=status, retry_after=retry_after)


def _classify(error: BaseException) -> tuple[TransportErrorKind, str]:
    if isinstance(error, TimeoutError):
        return "timeout", "no connection within the time allowed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns_failure", "the host name could not be resolved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "tls_failure", f"the certificate was not accepted: {error.certificate_error.__class__.__name__}"
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ServerFingerprintMismatch):
        return "tls_failure", "TLS could not be negotiated"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "connection_refused", "the proxy could not be reached; check HTTPS_PROXY and NO_PROXY"
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, ConnectionRefusedError):
            return "connection_refused", "the connection was refused; is the server running?"
        return "transport_failure", error.os_error.strerror or "the connection failed"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "abnormal_close", "the connection was cut before the WebSocket was open"
    if isinstance(error, OSError) and error.errno in _CUT:
        return "abnormal_close", "the connection was cut before the WebSocket was open"
    return "transport_failure", f"the connection failed ({error.__class__.__name__})"
