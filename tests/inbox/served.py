"""An inbox on a real port, and the requests of its clients signed by hand."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from sideband._native import IdentityKeyPair
from sideband.inbox.app import mount_inbox
from sideband.inbox.config import InboxConfig, RateLimit
from sideband.inbox.service import Inbox
from sideband.inbox.signing import sign_fields
from sideband.inbox.store import InboxStore, MemoryInboxStore

ALICE, BOB, CAROL = (IdentityKeyPair.from_private_bytes(bytes([number]) * 32) for number in (1, 2, 3))
FREELY = RateLimit(burst=1_000_000, per_second=1_000_000)
NO_RATES = {name: FREELY for name in InboxConfig.model_fields if name.endswith("_rate")}


class Clock:
    """Unix time that moves by hand."""

    def __init__(self) -> None:
        self.now: float = 1_790_000_000

    def __call__(self) -> float:
        return self.now

    @property
    def ms(self) -> int:
        return round(self.now * 1000)


def text64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Served:
    """A running inbox. Answers are status and JSON."""

    def __init__(
        self, inbox: Inbox, url: URL, http: aiohttp.ClientSession, clock: Clock, server: TestServer | None = None
    ) -> None:
        self.inbox = inbox
        self.server = server
        self.url = url
        self.http = http
        self.clock = clock
        self.headers: Mapping[str, str] = {}

    def signed(
        self, identity: IdentityKeyPair, fields: Mapping[str, Any], *, path: Mapping[str, str] | None = None
    ) -> Any:
        """Return the body: `path` is signed too, and stays outside."""
        stamped = {"signedAt": self.clock.ms, **fields}
        return {**stamped, "signature": sign_fields(identity, {**stamped, **(path or {})})}

    async def close(self) -> None:
        """Shut the server down."""
        assert self.server is not None
        await self.server.close()

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        # aiohttp warns of bytes beyond 1 MiB.
        data = io.BytesIO(json.dumps(body).encode()) if body is not None else None
        words = {"data": data, "headers": self.headers, **options}
        url = self.url.join(URL(quote(path, safe="/%"), encoded=True))
        async with self.http.request(method, url, **words) as response:
            self.headers = {}
            self.last_headers = response.headers
            content = await response.read()
            assert response.content_type == "application/json", content
            return response.status, json.loads(content)

    async def register(self, address: str = "bob", identity: IdentityKeyPair = BOB, **more: Any) -> tuple[int, Any]:
        fields = {"address": address, "signingKey": text64(identity.public_key), **more}
        return await self.ask("POST", "/v1/inbox/register", self.signed(identity, fields))

    async def put(
        self, content: bytes, address: str = "bob", identity: IdentityKeyPair = ALICE, **more: Any
    ) -> tuple[int, Any]:
        fields = {"ciphertext": text64(content), "senderSigningKey": text64(identity.public_key), **more}
        return await self.ask("PUT", f"/v1/inbox/{address}", self.signed(identity, fields, path={"address": address}))

    async def fetch(self, since: Any = 0, address: str = "bob", identity: IdentityKeyPair = BOB, **more: Any) -> Any:
        body = self.signed(identity, {"since": since, **more}, path={"address": address})
        return await self.ask("POST", f"/v1/inbox/{address}/fetch", body)

    async def delete(self, msg_id: str, address: str = "bob", identity: IdentityKeyPair = BOB) -> tuple[int, Any]:
        body = self.signed(identity, {}, path={"address": address, "msgId": msg_id})
        return await self.ask("DELETE", f"/v1/inbox/{address}/{msg_id}", body)

    def query(
        self, kind: str, since: int = 0, address: str = "bob", identity: IdentityKeyPair = BOB, **changed: Any
    ) -> dict[str, str]:
        """Return a bridge's query; `changed` replaces fields after they were signed."""
        fields = {"address": address, "kind": kind, "since": since, "signedAt": self.clock.ms}
        signed = {**fields, "signature": sign_fields(identity, fields), **changed}
        return {name: str(value) for name, value in signed.items()}

    async def poll(self, since: int = 0, **changed: Any) -> tuple[int, Any]:
        return await self.ask("GET", "/v1/bridge/poll", params=self.query("poll", since, **changed))

    @asynccontextmanager
    async def stream(
        self, since: int = 0, headers: Mapping[str, str] | None = None, **changed: Any
    ) -> AsyncIterator[Any]:
        """Open a stream; yields its events: name, id, data."""
        params = self.query("stream", since, **changed)
        async with self.http.get(self.url / "v1/bridge/stream", params=params, headers=headers) as response:
            assert response.status == 200, await response.text()
            assert response.content_type == "text/event-stream"
            yield events(response)

    @asynccontextmanager
    async def ws(self, since: int = 0, **changed: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        params = self.query("ws", since, **changed)
        async with self.http.ws_connect(self.url / "v1/bridge/ws", params=params, max_msg_size=2**21) as socket:
            yield socket


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str | None, Any]]:
    """Yield events as name, id and data; comments as ("", None, None)."""
    name, number, data = "message", None, None
    async for line in response.content:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        match field:
            case "event":
                name = value
            case "id":
                number = value
            case "data":
                data = json.loads(value)
            case ":":
                yield "", None, None
            case "" if data is not None:
                yield name, number, data
                name, number, data = "message", None, None


class _Server(TestServer):
    """As servers are in earnest: a handler goes on when its client has hung up."""

    async def _make_runner(self, **options: Any) -> web.AppRunner:
        return web.AppRunner(self.app, **{**options, "handler_cancellation": False, "lingering_time": 0.1})


@asynccontextmanager
async def serving(
    store: InboxStore | None = None,
    *,
    clock: Clock | None = None,
    prefix: str = "",
    port: int | None = None,
    **config: Any,
) -> AsyncIterator[Served]:
    """Serve an inbox without rates, unless `config` sets some."""
    clock = clock or Clock()
    inbox = Inbox(
        store or MemoryInboxStore(),
        InboxConfig.model_validate(NO_RATES | config),
        clock=clock,
        monotonic=clock,
    )
    app = web.Application()
    mount_inbox(app, inbox)
    outer = app
    if prefix:
        outer = web.Application()
        outer.add_subapp(prefix, app)
    async with _Server(outer, port=port) as server, aiohttp.ClientSession() as http:
        yield Served(inbox, server.make_url("/"), http, clock, server)
