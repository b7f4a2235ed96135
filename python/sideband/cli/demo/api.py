"""The three calls to the control plane that the demo makes."""

from __future__ import annotations

from typing import Any

import aiohttp

from sideband.errors import CloudApiError, TransportError

__all__ = ["call"]

REQUEST_SECONDS = 15.0


async def call(url: str, procedure: str, credential: str, value: dict[str, Any] | None) -> dict[str, Any]:
    """Call a procedure and return its output (docs/protocol/relay.md, "Control plane API").

    Raises:
        CloudApiError: it was refused.
        TransportError: the control plane does not answer.
    """
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS)) as session,
            session.post(
                f"{url}/api/trpc/{procedure}", json={"json": value}, headers={"Authorization": f"Bearer {credential}"}
            ) as response,
        ):
            body = await response.json()
            if response.status != 200:
                refusal = body.get("error", {})
                code = refusal.get("data", {}).get("code", "")
                raise CloudApiError(response.status, refusal.get("message", "no reason given"), code=code)
            output: dict[str, Any] = body["result"]["data"]
            return output
    except (aiohttp.ClientError, TimeoutError) as error:
        raise TransportError("transport_failure", f"{procedure}: the control plane does not answer: {error}") from None
