"""The description of the inbox's API is what the server does."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import allow_header_conformance, positive_data_acceptance, unsupported_method

from sideband.inbox.app import create_inbox_app, inbox_routes
from sideband.inbox.bridges import BridgeRoutes
from sideband.inbox.config import InboxConfig
from sideband.inbox.openapi import describe_inbox
from sideband.inbox.routes import peer_address
from sideband.inbox.service import Inbox
from sideband.inbox.store import MemoryInboxStore

from .served import ALICE, BOB, NO_RATES, Clock, Served, text64

CONFIG = InboxConfig.model_validate(
    NO_RATES | {"limits_by_client": False, "poll_seconds": 0.05, "comment_seconds": 0.05}
)
# A request without an upgrade is refused by the WebSocket's route whatever it says.
schema = schemathesis.openapi.from_dict(describe_inbox(CONFIG)).exclude(path="/v1/bridge/ws")

# An address may be called `register`, and what follows an address be a msgId or `fetch`: methods of one are listed for
# the other. And 1228.0 is whole to a JSON schema, while a signature is over 1228; the last test shows that what is
# valid is taken.
NOT_SO = [allow_header_conformance, unsupported_method, positive_data_acceptance]


def test_every_route_is_described() -> None:
    inbox = Inbox(MemoryInboxStore())
    routes = [*inbox_routes(inbox), *BridgeRoutes(inbox, peer_address).routes()]
    described = describe_inbox(CONFIG)["paths"]
    assert {(route.path, route.method.lower()) for route in routes} == {
        (path, method) for path, methods in described.items() for method in methods
    }


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server in a thread of its own: requests are made by a client that blocks."""
    started: threading.Event = threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        stop = asyncio.Event()
        runner = web.AppRunner(create_inbox_app(MemoryInboxStore(), CONFIG), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.update(port=runner.addresses[0][1], stop=stop, loop=asyncio.get_running_loop())
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait()
    yield f"http://127.0.0.1:{found['port']}"
    found["loop"].call_soon_threadsafe(found["stop"].set)
    thread.join()


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_server_keeps_to_its_description(case: schemathesis.Case, url: str) -> None:
    case.call_and_validate(base_url=url, excluded_checks=NOT_SO)


def test_what_is_signed_well_keeps_to_it_too(url: str) -> None:
    """Random requests never carry a valid signature: these do."""
    import time
    import urllib.request

    from yarl import URL

    clock = Clock()
    clock.now = time.time()
    client = Served(None, URL(url), None, clock)  # type: ignore[arg-type]  # it only signs here

    def ask(operation: str, method: str, path: str, body: Any = None, query: Any = None) -> Any:
        target = URL(url).join(URL(path)).with_query(query or {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(str(target), data=data, method=method)
        with urllib.request.urlopen(request) as response:
            status, text = response.status, response.read()

        answer = json.loads(text)
        documented = describe_inbox(CONFIG)["paths"][operation][method.lower()]["responses"][str(status)]
        check(answer, documented["content"]["application/json"]["schema"])
        return answer

    bob = {"address": "bob"}
    fields = {"address": "bob", "signingKey": text64(BOB.public_key)}
    for _ in range(2):
        ask("/v1/inbox/register", "POST", "/v1/inbox/register", client.signed(BOB, fields))
    put = {"ciphertext": text64(b"x"), "senderSigningKey": text64(ALICE.public_key)}
    receipt = ask("/v1/inbox/{address}", "PUT", "/v1/inbox/bob", client.signed(ALICE, put, path=bob))
    page = ask("/v1/inbox/{address}/fetch", "POST", "/v1/inbox/bob/fetch", client.signed(BOB, {"since": 0}, path=bob))
    assert len(page["blobs"]) == 1
    polled = ask("/v1/bridge/poll", "GET", "/v1/bridge/poll", query=client.query("poll"))
    assert polled["messages"] == page["blobs"]
    ask("/v1/inbox/{address}/key", "GET", "/v1/inbox/bob/key")
    watchers = client.signed(BOB, {"watchers": ["alice"]}, path=bob)
    ask("/v1/inbox/{address}/watchers", "PUT", "/v1/inbox/bob/watchers", watchers)
    gone = client.signed(BOB, {}, path={**bob, "msgId": receipt["msgId"]})
    path = f"/v1/inbox/bob/{receipt['msgId']}"
    assert ask("/v1/inbox/{address}/{msgId}", "DELETE", path, gone) == {"deleted": True}


def check(value: Any, described: dict[str, Any]) -> None:
    jsonschema_rs.validator_for({**describe_inbox(CONFIG), **described}).validate(value)
