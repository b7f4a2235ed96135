"""The three bridges and presence, on the server's side (docs/protocol/inbox.md, "Bridge routes").

A connection that waits is one suspended handler and one timer; nothing else is kept for it. None of them is cancelled
when its client goes: the next comment, ping or answer finds out, and `Feed` costs nothing until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator

from aiohttp import WSMessage, web

from sideband.errors import InboxError, StoreError
from sideband.inbox.feed import Feed
from sideband.inbox.fields import BridgeKind, parse_json
from sideband.inbox.presence_stream import PresenceStream
from sideband.inbox.routes import AddressOf, Handler, answering
from sideband.inbox.service import Inbox
from sideband.inbox.store import Blob
from sideband.inbox.wire import CLOSE_CODES, as_refusal, blob_json, error_body, json_answer, read_body

__all__ = ["BridgeRoutes"]

GOING_AWAY = 1001
WRONG_KIND = 4403
MAX_CLIENT_MESSAGE_BYTES = 4096
"""A client has nothing to say on a WebSocket; what is longer closes it."""

_log = logging.getLogger("sideband.inbox")

_STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


class BridgeRoutes:
    """`/v1/bridge/{ws,stream,poll,presence}`.

    Args:
        inbox: whose blobs are delivered.
        address_of: tells a request's client address.
    """

    def __init__(self, inbox: Inbox, address_of: AddressOf) -> None:
        self._inbox = inbox
        self._address_of = address_of
        self._feeds: dict[Feed, web.Request] = {}
        self._presences: set[PresenceStream] = set()
        self._closing = False

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/v1/bridge/ws", self._handle("ws", self._ws), allow_head=False),
            web.get("/v1/bridge/stream", self._handle("stream", self._stream), allow_head=False),
            web.get("/v1/bridge/poll", self._handle("poll", self._poll), allow_head=False),
            web.post("/v1/bridge/presence", self._handle("presence", self._presence)),
        ]

    def close(self) -> None:
        """End every connection in good order, and every later one at once."""
        self._closing = True
        for feed in tuple(self._feeds):
            feed.close()
        for presence in tuple(self._presences):
            presence.close()

    def _handle(self, name: str, handler: Handler) -> Handler:
        return answering(self._inbox, name, self._address_of, handler)

    async def _poll(self, request: web.Request) -> web.Response:
        address, since = await self._admit(request, "poll")
        async with self._opened("poll", address, since, request) as feed:
            blobs = await feed.next(self._inbox.config.poll_seconds)
        messages = ",".join(map(blob_json, blobs))
        self._inbox.delivered["poll"] += len(blobs)
        return json_answer(200, f'{{"messages":[{messages}],"cursor":{blobs[-1].cursor if blobs else since}}}')

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        address, since = await self._admit(request, "stream")
        since = max(since, _last_event_id(request))
        async with self._opened("stream", address, since, request) as feed:
            response = await self._begin_stream(request)
            try:
                while not feed.closed:
                    blobs = await feed.next(self._inbox.config.comment_seconds)
                    if feed.closed:
                        break
                    await self._send(response, b"".join(map(_event, blobs)) if blobs else b":\n\n")
                    self._inbox.delivered["stream"] += len(blobs)
            except (ConnectionError, TimeoutError):
                pass  # the client is gone or takes nothing: it comes back where it was
            except StoreError as error:
                # The answer has begun: its end is all that can be said.
                _log.error("inbox.store_failed", extra={"route": "stream", "cause": str(error)})
        return response

    async def _presence(self, request: web.Request) -> web.StreamResponse:
        config = self._inbox.config
        body = parse_json(await read_body(request, config.presence_body_bytes, config.body_seconds))
        watcher, addresses = await self._inbox.admit_presence(body)
        self._inbox.check_room(watcher)
        owners = [await self._inbox.store.owner(address) for address in addresses]
        allowed = {owner.address for owner in owners if owner is not None and watcher in owner.watchers}
        stream = PresenceStream(self._inbox.presence, addresses, allowed)
        self._inbox.bridges["presence"] += 1
        self._presences.add(stream)
        try:
            if self._closing:
                stream.close()
            response = await self._begin_stream(request)
            with contextlib.suppress(ConnectionError, TimeoutError):
                await self._send(response, stream.snapshot())
                while not stream.closed:
                    changes = await stream.next(config.comment_seconds)
                    if not stream.closed:
                        await self._send(response, changes or b":\n\n")
        finally:
            self._presences.discard(stream)
            self._inbox.bridges["presence"] -= 1
            stream.close()
        return response

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        config = self._inbox.config
        socket = web.WebSocketResponse(
            heartbeat=config.ping_seconds, max_msg_size=MAX_CLIENT_MESSAGE_BYTES, compress=False, timeout=5.0
        )
        if not socket.can_prepare(request).ok:
            raise InboxError("SHADE_VALIDATION", "this route is for WebSocket upgrades; use stream or poll")
        refusal, address, since = await self._admit_ws(request)
        await socket.prepare(request)
        if refusal is not None:
            await _close_refused(socket, refusal, request)
            return socket
        async with self._opened("ws", address, since, request) as feed:
            reading = asyncio.create_task(_read_until_closed(socket, feed), name="inbox ws")
            try:
                await self._deliver(socket, feed)
            except StoreError as error:
                await _close_refused(socket, as_refusal(error), request)
            except (ConnectionError, TimeoutError):
                pass  # the client is gone or takes nothing: it comes back where it was
            finally:
                reading.cancel()
                await asyncio.wait([reading])
            if not socket.closed:
                await socket.close(code=GOING_AWAY, message=b"going away")
        return socket

    async def _admit(self, request: web.Request, kind: BridgeKind) -> tuple[str, int]:
        address, since = await self._inbox.admit_bridge(_query(request), kind)
        if self._inbox.presence.connections(address) >= self._inbox.config.max_bridges_per_address:
            await self._let_go(address)
        self._inbox.check_room(address)
        return address, since

    async def _let_go(self, address: str) -> None:
        # Of a client that comes back again and again, connections are left that nothing has been sent on since.
        for feed, request in tuple(self._feeds.items()):
            if feed.address == address and (request.transport is None or request.transport.is_closing()):
                feed.close()
        await asyncio.sleep(0)

    async def _admit_ws(self, request: web.Request) -> tuple[InboxError | None, str, int]:
        # A browser is told of a close code, never of an HTTP status: so refusals wait until the upgrade.
        try:
            address, since = await self._admit(request, "ws")
        except InboxError as error:
            return error, "", 0
        except StoreError as error:
            return as_refusal(error), "", 0
        return None, address, since

    async def _deliver(self, socket: web.WebSocketResponse, feed: Feed) -> None:
        config = self._inbox.config
        await socket.send_str(f'{{"type":"ready","cursor":{feed.cursor}}}')
        while not feed.closed:
            blobs = await feed.next(config.ping_seconds)
            if blobs:
                async with asyncio.timeout(config.send_seconds):
                    for blob in blobs:
                        await socket.send_str(blob_json(blob, type="envelope"))
                self._inbox.delivered["ws"] += len(blobs)

    @contextlib.asynccontextmanager
    async def _opened(self, kind: BridgeKind, address: str, since: int, request: web.Request) -> AsyncIterator[Feed]:
        config, presence = self._inbox.config, self._inbox.presence
        feed = Feed(
            self._inbox.store,
            address,
            since,
            page_blobs=config.page_blobs,
            catch_up_blobs=config.catch_up_blobs,
            page_bytes=config.page_bytes,
            now_ms=self._inbox.now_ms,
        )
        self._inbox.bridges[kind] += 1
        presence.opened(address)
        self._feeds[feed] = request
        if self._closing:
            feed.close()
        try:
            yield feed
        finally:
            del self._feeds[feed]
            feed.close()
            presence.closed(address, config.presence_linger_seconds if kind == "poll" and not self._closing else 0.0)
            self._inbox.bridges[kind] -= 1

    async def _begin_stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=_STREAM_HEADERS)
        # An answer to HTTP/1.0 ends with its connection; a stream over it has no length either.
        await response.prepare(request)
        await self._send(response, b":\n\n")
        return response

    async def _send(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(self._inbox.config.send_seconds):
            await response.write(data)


async def _read_until_closed(socket: web.WebSocketResponse, feed: Feed) -> None:
    # Reading answers pings and pongs, and tells when the client is gone.
    message: WSMessage
    async for message in socket:
        del message
    feed.close()


async def _close_refused(socket: web.WebSocketResponse, error: InboxError, request: web.Request) -> None:
    code = CLOSE_CODES.get(error.code, 4400)
    if error.code == "SHADE_UNAUTHORIZED" and request.query.get("kind") != "ws":
        code = WRONG_KIND
    body = error_body(error)
    if error.retry_after is not None:
        body["retryAfter"] = error.retry_after
    with contextlib.suppress(ConnectionError):
        await socket.send_str(json.dumps({"type": "error", **body}, separators=(",", ":")))
        await socket.close(code=code, message=error.code.encode())


def _event(blob: Blob) -> bytes:
    return f"event: envelope\nid: {blob.cursor}\ndata: {blob_json(blob)}\n\n".encode()


def _query(request: web.Request) -> dict[str, list[str]]:
    return {name: request.query.getall(name) for name in request.query}


def _last_event_id(request: web.Request) -> int:
    text = request.headers.get("Last-Event-ID", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 16 else 0
