"""The bridges over WebSocket, server-sent events and long-poll (docs/protocol/inbox.md, "Bridge routes")."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, ClassVar

import aiohttp
from yarl import URL

from sideband.errors import BridgeError, BridgeErrorKind
from sideband.inbox.client.bridge import Bridge, BridgeKind
from sideband.inbox.client.event_stream import MAX_EVENT_BYTES, EventStreamDecoder
from sideband.inbox.client.messages import parse_message
from sideband.inbox.client.requests import network_error, read_body, refusal, refused

__all__ = ["MAX_PAGE_BYTES", "LongPollBridge", "SseBridge", "WsBridge"]

CONNECT_SECONDS = 15.0
"""A server that has not answered by then does not answer."""
SILENCE_SECONDS = 45.0
"""A connection on which nothing comes for so long, neither a message nor a sign of life (20 and 15 s), is lost."""
POLL_SECONDS = 40.0
"""A poll that is not answered by then is lost; the server answers after 25 s at the latest."""
POLL_GRACE_SECONDS = 1.0
"""A first poll that is not refused within this time counts as connected: nothing is there, and it waits."""
POLL_PAUSE_SECONDS = 2.0
"""How long a poll that failed is followed by none."""
MAX_PAGE_BYTES = 96 * 1024 * 1024
"""One answer to a poll: 50 messages of 1 MiB are 67 MiB as base64."""

_CLOSE_KINDS: dict[int, tuple[BridgeErrorKind, str]] = {
    4400: ("refused", "the inbox did not understand the request"),
    4401: ("refused", "the inbox refused the signature"),
    4403: ("refused", "the signature is for another kind of request"),
    4404: ("refused", "the address is not registered"),
    4408: ("unavailable", "the time of the signature is too far from the server's; check this machine's clock"),
    4409: ("conflict", "the cursor is higher than any that the inbox knows"),
    4429: ("rate_limited", "too many connections; the inbox wants a pause"),
}


class WsBridge(Bridge):
    """Receives over a WebSocket: `GET /v1/bridge/ws`."""

    kind: ClassVar[BridgeKind] = "ws"

    async def _receive(self, session: aiohttp.ClientSession) -> None:
        url = self.origin.base / "v1" / "bridge" / "ws"
        options = self.origin.options(url)
        del options["allow_redirects"]  # ws_connect follows none
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                socket = await session.ws_connect(
                    url.with_query(self.origin.signed_query("ws", self._received)),
                    max_msg_size=MAX_EVENT_BYTES,
                    heartbeat=SILENCE_SECONDS * 2 / 3,
                    **options,
                )
        except aiohttp.WSServerHandshakeError as error:
            retry_after = None if error.headers is None else error.headers.get("Retry-After")
            raise refused(error.status, None, retry_after) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise network_error(error, url) from None
        async with contextlib.aclosing(_Closing(socket)):
            while True:
                await self._accept(_frame(await socket.receive(), socket, url))

    async def _accept(self, frame: dict[str, Any]) -> None:
        if frame.get("type") == "ready":
            self._stands()
        elif frame.get("type") == "envelope":
            await self._take(parse_message(frame))


class SseBridge(Bridge):
    """Receives over server-sent events: `GET /v1/bridge/stream`."""

    kind: ClassVar[BridgeKind] = "sse"

    async def _receive(self, session: aiohttp.ClientSession) -> None:
        url = self.origin.base / "v1" / "bridge" / "stream"
        try:
            async with session.get(
                url.with_query(self.origin.signed_query("stream", self._received)),
                headers={"Accept": "text/event-stream", "Cache-Control": "no-cache"},
                timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
                **self.origin.options(url),
            ) as response:
                if response.status != 200:
                    raise await refusal(response)
                if response.content_type != "text/event-stream":
                    raise BridgeError("protocol", "200 came back, but no event stream; is this the inbox's address?")
                self._stands()
                decoder = EventStreamDecoder()
                async for piece in response.content.iter_any():
                    for event in decoder.push(piece):
                        if event.event == "envelope":
                            await self._take(parse_message(_object(event.data)))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise network_error(error, url) from None


class LongPollBridge(Bridge):
    """Receives by asking: `GET /v1/bridge/poll`, never more than one request at a time."""

    kind: ClassVar[BridgeKind] = "long-poll"

    async def _receive(self, session: aiohttp.ClientSession) -> None:
        url = self.origin.base / "v1" / "bridge" / "poll"
        grace = self._clock.call_later(POLL_GRACE_SECONDS, self._stands)
        try:
            while True:
                page = await self._poll(session, url)
                self._stands()
                for fields in page:
                    await self._take(parse_message(fields))
        finally:
            grace.cancel()

    async def _poll(self, session: aiohttp.ClientSession, url: URL) -> list[dict[str, Any]]:
        try:
            async with (
                asyncio.timeout(POLL_SECONDS),
                session.get(
                    url.with_query(self.origin.signed_query("poll", self._received)),
                    headers={"Cache-Control": "no-cache"},
                    **self.origin.options(url),
                ) as response,
            ):
                if response.status != 200:
                    raise await refusal(response)
                answer = _object((await read_body(response, MAX_PAGE_BYTES)).decode(errors="replace"))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise network_error(error, url) from None
        messages = answer.get("messages")
        if not isinstance(messages, list) or not all(isinstance(fields, dict) for fields in messages):
            raise BridgeError("protocol", "the server's answer has no list of messages")
        return messages

    async def _pause(self, error: BridgeError) -> None:
        await self._clock.sleep(max(POLL_PAUSE_SECONDS, error.retry_after or 0.0))


class _Closing:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def aclose(self) -> None:
        await self._socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)


def _frame(message: aiohttp.WSMessage, socket: aiohttp.ClientWebSocketResponse, url: URL) -> dict[str, Any]:
    if message.type is aiohttp.WSMsgType.TEXT:
        return _object(message.data)
    if message.type is aiohttp.WSMsgType.BINARY:
        raise BridgeError("protocol", "the server sent a binary message where only text is spoken")
    code = socket.close_code
    if message.type is aiohttp.WSMsgType.ERROR and isinstance(message.data, Exception) and code is None:
        raise network_error(message.data, url)
    if code is None or code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
        raise BridgeError("network", "the connection was cut", ws_close_code=code)
    kind, text = _CLOSE_KINDS.get(code, ("closed", f"the server closed the connection with {code}"))
    raise BridgeError(kind, text, ws_close_code=code)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    except RecursionError:
        value = None
    if not isinstance(value, dict):
        raise BridgeError("protocol", "the server sent something that is no JSON object")
    return value
