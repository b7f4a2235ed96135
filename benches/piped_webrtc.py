"""WebRTC between two processes that tell each other their descriptions through pipes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from typing_extensions import override

from sideband.transport import Connection, ConnectOptions, Listener, Transport
from sideband.transport.base import ConnectionHandler
from sideband.transport.webrtc import WebRtcOffer

__all__ = ["PipedWebRtc"]


class PipedWebRtc(Transport):
    """Data channels whose signalling is somebody else's.

    Args:
        exchange: tells the other side an offer, and returns its answer; for the side that connects.
        offers: returns the next offer of the other side; for the side that listens.
        answer: tells the other side the answer to it.
    """

    def __init__(
        self,
        *,
        exchange: Callable[[str], Awaitable[str]] | None = None,
        offers: Callable[[], Awaitable[str]] | None = None,
        answer: Callable[[str], None] | None = None,
    ) -> None:
        self._exchange = exchange
        self._offers = offers
        self._answer = answer

    @override
    async def connect(self, endpoint: str, options: ConnectOptions | None = None) -> Connection:
        assert self._exchange is not None
        attempt = WebRtcOffer()
        await attempt.accept(await self._exchange(await attempt.offer()))
        return await attempt.connection()

    @override
    async def listen(self, endpoint: str, handler: ConnectionHandler) -> Listener:
        assert self._offers is not None
        assert self._answer is not None
        return _Listener(asyncio.create_task(_serve(self._offers, self._answer, handler)))


async def _serve(
    offers: Callable[[], Awaitable[str]], answer: Callable[[str], None], handler: ConnectionHandler
) -> None:
    async with asyncio.TaskGroup() as tasks:
        while True:
            attempt = WebRtcOffer()
            answer(await attempt.answer(await offers()))
            tasks.create_task(_handle(attempt, handler))


async def _handle(attempt: WebRtcOffer, handler: ConnectionHandler) -> None:
    await handler(await attempt.connection())


class _Listener(Listener):
    def __init__(self, serving: asyncio.Task[None]) -> None:
        self._serving = serving

    @property
    @override
    def address(self) -> str:
        return "webrtc:"

    @override
    async def close(self) -> None:
        self._serving.cancel()
        await asyncio.wait((self._serving,))
