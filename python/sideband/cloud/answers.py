"""What came back over HTTP, told as output or as an error that says what to do.

Texts hold nothing of the request, and of the answer only what a control plane says in its own words, without anything
that could steer a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
from yarl import URL

from sideband.errors import CloudApiError, TransportError
from sideband.transport.failures import connect_failure, place, retry_after_seconds

__all__ = ["network_failure", "output_of"]

_MAX_MESSAGE_CHARACTERS = 500
_CODE = re.compile(r"[A-Z_]{1,64}")
_REDIRECTS = (301, 302, 303, 307, 308)

_HINTS = {
    400: "the request was not understood; is this the control plane's address?",
    401: "the credential is missing, wrong or revoked",
    403: "access is denied",
    404: "nothing is there; check the API address",
    407: "the proxy wants credentials",
    429: "too many requests; wait before the next",
    500: "the server failed; try again later",
    502: "the server behind it is not there; try again later",
    503: "the server is busy or restarting; try again later",
    504: "the server behind it did not answer; try again later",
    511: "the network wants you to log in; open a browser",
}


def output_of(url: URL, status: int, headers: Mapping[str, str], body: bytes | None, secret: str | None) -> Any:
    """Return a procedure's output.

    Args:
        url: what was asked.
        status: of the answer.
        headers: of the answer.
        body: of the answer; None when it was longer than is read.
        secret: the credential that went along, which no text may repeat.

    Raises:
        CloudApiError: the answer is a refusal, or none of a control plane.
    """
    answer = _parse(body)
    if status == 200:
        result = answer.get("result") if isinstance(answer, dict) else None
        if not isinstance(result, dict) or "data" not in result:
            raise CloudApiError(200, _not_json(url, body))
        return result["data"]
    retry_after = retry_after_seconds(headers.get("Retry-After"))
    if status in _REDIRECTS:
        raise CloudApiError(status, _redirect(url, headers.get("Location")), retry_after=retry_after)
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        data = error.get("data")
        code = data.get("code") if isinstance(data, dict) else None
        raise CloudApiError(
            status,
            _shown(error["message"], secret) or _hint(status),
            code=code if isinstance(code, str) and _CODE.fullmatch(code) else "",
            retry_after=retry_after,
        )
    raise CloudApiError(status, f"{place(url)} answered without saying why: {_hint(status)}", retry_after=retry_after)


def network_failure(error: BaseException, url: URL) -> TransportError:
    """Return what aiohttp raised while `url` was asked, as this package tells it."""
    where = place(url)
    match error:
        case aiohttp.ClientConnectionResetError() | aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return TransportError("abnormal_close", f"{where}: the connection was cut before the answer was whole")
        case aiohttp.ClientHttpProxyError() | aiohttp.ClientConnectorError() | aiohttp.ClientProxyConnectionError():
            return connect_failure(error, url)
        case aiohttp.ClientResponseError():
            return TransportError("transport_failure", f"{where} did not answer in HTTP; check the API address")
        case ConnectionError():
            return TransportError("abnormal_close", f"{where}: the connection was cut before the answer was whole")
    return connect_failure(error, url)


def _parse(body: bytes | None) -> Any:
    try:
        return None if body is None else json.loads(body)
    except (ValueError, RecursionError):
        return None


def _not_json(url: URL, body: bytes | None) -> str:
    what = "more than an answer can be" if body is None else "something that is not a control plane's JSON"
    return (
        f"{place(url)} answered {what}: a captive portal, a proxy or another server; "
        "open that address in a browser, or check the API address"
    )


def _redirect(url: URL, location: str | None) -> str:
    try:
        target = url.join(URL(location or ""))
        shown = f"to {place(target)}" if target.scheme in ("http", "https") and target.host else "elsewhere"
    except ValueError:
        shown = "elsewhere"
    return (
        f"{place(url)} redirects {_shown(shown, None)}; credentials go nowhere but to the API address: "
        "if the new one is right, set that as the API address"
    )


def _hint(status: int) -> str:
    return _HINTS.get(status, "the server failed; try again later" if status >= 500 else "check the API address")


def _shown(text: str, secret: str | None) -> str:
    if secret:
        text = text.replace(secret, "[...]")
    return "".join(letter if letter.isprintable() else " " for letter in text[:_MAX_MESSAGE_CHARACTERS]).strip()
