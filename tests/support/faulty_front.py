"""A reverse proxy before a real control plane, which fails in the ways that a test asks for, and then no more."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

Answer = Callable[["FaultyFront", web.Request], Awaitable[web.StreamResponse]]


class FaultyFront:
    """Forwards to `target`, except for the requests that a fault is due for.

    Attributes:
        asked: the procedures that were asked for, in order.
        credentials: what each of them was asked with.
        away: whether every connection is cut without an answer.
        always: the answer to every request; None for no such.
    """

    def __init__(self, target: str) -> None:
        self.asked: list[str] = []
        self.credentials: list[str | None] = []
        self.away = False
        self.always: Answer | None = None
        self._target = target
        self._due: dict[str, deque[Answer]] = defaultdict(deque)
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.url = ""

    def fail(self, procedure: str, *answers: Answer) -> None:
        """Answer the next requests for a procedure so, one after the other."""
        self._due[procedure].extend(answers)

    def count(self, procedure: str) -> int:
        """Return how often a procedure was asked for."""
        return self.asked.count(procedure)

    async def forward(self, request: web.Request) -> web.Response:
        """Let the real control plane answer."""
        assert self._session is not None
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
        async with self._session.request(
            request.method, self._target + request.path_qs, headers=headers, data=await request.read()
        ) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), headers={"Content-Type": answer.content_type}
            )

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._session.close()
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        procedure = request.path.removeprefix("/api/trpc/")
        self.asked.append(procedure)
        self.credentials.append(request.headers.get("Authorization"))
        if self.away:
            return await cut(self, request)
        if self.always is not None:
            return await self.always(self, request)
        due = self._due[procedure]
        return await (due.popleft() if due else FaultyFront.forward)(self, request)


def says(status: int, body: str = "", content_type: str = "text/html", **headers: str) -> Answer:
    """Answer with a status and a body of any kind; `retry_after="3"` becomes the header `Retry-After`."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}

    async def answer(_front: FaultyFront, _request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body, content_type=content_type, headers=named)

    return answer


def refuses(status: int, code: str = "SOME_CODE", message: str = "because", **headers: str) -> Answer:
    """Answer as a control plane refuses."""
    body = {"error": {"message": message, "data": {"code": code, "httpStatus": status}}}
    return says(status, json.dumps(body), "application/json", **headers)


def returns(data: Any) -> Answer:
    """Answer as a control plane that does what it was asked."""
    return says(200, json.dumps({"result": {"data": data}}), "application/json")


async def cut(_front: FaultyFront, request: web.Request) -> web.StreamResponse:
    """Cut the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def do_and_cut(front: FaultyFront, request: web.Request) -> web.StreamResponse:
    """Let the control plane do what it was asked, and cut the connection before the answer."""
    await front.forward(request)
    return await cut(front, request)


async def never_answer(_front: FaultyFront, _request: web.Request) -> web.StreamResponse:
    """Take the request, and say nothing until the client gives up."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def cut_in_the_middle(_front: FaultyFront, request: web.Request) -> web.StreamResponse:
    """Promise a long answer, send some of it, and cut the connection."""
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"result": {"data"')
    return await cut(_front, request)


async def stop_in_the_middle(_front: FaultyFront, request: web.Request) -> web.StreamResponse:
    """Send some of an answer, and then nothing until the client gives up."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"result": {"data"')
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def talk_without_end(_front: FaultyFront, request: web.Request) -> web.StreamResponse:
    """Send spaces until the client hangs up."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    try:
        while True:
            await response.write(b" " * 65_536)
    except ConnectionError:
        return response
