"""The inbox's routes over HTTP (docs/protocol/inbox.md, "Inbox routes")."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from sideband.errors import InboxError, StoreError
from sideband.inbox.address import normalise_address
from sideband.inbox.fields import parse_json
from sideband.inbox.service import Inbox
from sideband.inbox.signing import encode_base64
from sideband.inbox.wire import as_refusal, blob_json, json_answer, read_body, refuse

__all__ = ["AddressOf", "Handler", "InboxRoutes", "answering", "peer_address"]

AddressOf = Callable[[web.Request], str]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CLIENT_GONE = 499
"""Counted for requests whose client has hung up; never sent."""

_log = logging.getLogger("sideband.inbox")


def peer_address(request: web.Request) -> str:
    """Return the address of the connection; behind a proxy it is the proxy's."""
    return request.remote or "unknown"


class InboxRoutes:
    """Register, put, fetch, delete, keys and watchers.

    Args:
        inbox: does it.
        address_of: tells a request's client address.
    """

    def __init__(self, inbox: Inbox, address_of: AddressOf) -> None:
        self._inbox = inbox
        self._address_of = address_of

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/v1/inbox/register", self._handle("register", self._register)),
            web.put("/v1/inbox/{address}", self._handle("put", self._put)),
            web.post("/v1/inbox/{address}/fetch", self._handle("fetch", self._fetch)),
            web.get("/v1/inbox/{address}/key", self._handle("key", self._key), allow_head=False),
            web.put("/v1/inbox/{address}/watchers", self._handle("watchers", self._watchers)),
            web.delete("/v1/inbox/{address}/{msgId}", self._handle("delete", self._delete)),
        ]

    def _handle(self, name: str, handler: Handler) -> Handler:
        return answering(self._inbox, name, self._address_of, handler)

    async def _register(self, request: web.Request) -> web.Response:
        created = await self._inbox.register(await self._body(request), self._address_of(request))
        return json_answer(201 if created else 200, {"created": created})

    async def _put(self, request: web.Request) -> web.Response:
        body = await self._body(request, self._inbox.config.put_body_bytes)
        msg_id, receipt = await self._inbox.put(request.match_info["address"], body)
        # Who waits for this message is sent it before its sender is sent the answer.
        await asyncio.sleep(0)
        answer = {
            "msgId": msg_id,
            "receivedAt": receipt.cursor,
            "expiresAt": receipt.expires_at,
            "duplicate": receipt.duplicate,
        }
        return json_answer(200 if receipt.duplicate else 201, answer)

    async def _fetch(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        page = await self._inbox.fetch(request.match_info["address"], body)
        cursor = page.blobs[-1].cursor if page.blobs else body["since"]
        blobs = ",".join(map(blob_json, page.blobs))
        return json_answer(200, f'{{"blobs":[{blobs}],"cursor":{cursor},"hasMore":{json.dumps(page.more)}}}')

    async def _key(self, request: web.Request) -> web.Response:
        owner = await self._inbox.published(normalise_address(request.match_info["address"]))
        answer = {"address": owner.address, "signingKey": encode_base64(owner.signing_key)}
        if owner.envelope_key is not None:
            answer["envelopeKey"] = encode_base64(owner.envelope_key.public_key)
            answer["envelopeKeySignature"] = encode_base64(owner.envelope_key.signature)
        return json_answer(200, answer)

    async def _watchers(self, request: web.Request) -> web.Response:
        watchers = await self._inbox.set_watchers(request.match_info["address"], await self._body(request))
        return json_answer(200, {"watchers": list(watchers)})

    async def _delete(self, request: web.Request) -> web.Response:
        address, msg_id = request.match_info["address"], request.match_info["msgId"]
        return json_answer(200, {"deleted": await self._inbox.delete(address, msg_id, await self._body(request))})

    async def _body(self, request: web.Request, limit: int | None = None) -> Mapping[str, Any]:
        config = self._inbox.config
        return parse_json(await read_body(request, limit or config.body_bytes, config.body_seconds))


def answering(inbox: Inbox, name: str, address_of: AddressOf, handler: Handler) -> Handler:
    """Return a handler whose refusals are answers, and whose answers are counted."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            inbox.admit_client(address_of(request))
            response = await handler(request)
        except InboxError as error:
            response = refuse(error)
        except StoreError as error:
            _log.error("inbox.store_failed", extra={"route": name, "cause": str(error)})
            response = refuse(as_refusal(error))
        except ConnectionError:
            # The client has hung up: nobody is there to be told, and it is no fault that a log should show.
            response = web.Response(status=CLIENT_GONE)
        except Exception:  # noqa: BLE001  (the boundary: a fault of ours is still an answer in this API's shape)
            _log.exception("inbox.failed", extra={"route": name})
            response = refuse(InboxError("SHADE_INTERNAL", "the server failed; its log tells more"))
        inbox.answers[name, response.status] += 1
        return response

    return handle
