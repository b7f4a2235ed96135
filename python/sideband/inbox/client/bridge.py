"""What the three bridges have in common: one handler, one order, reconnection."""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar, Literal, Protocol

import aiohttp

from sideband.errors import BridgeError, SidebandError
from sideband.inbox.client.messages import Delivery, IncomingMessage, MessageHandler
from sideband.inbox.client.requests import InboxOrigin
from sideband.peer.clock import Clock, LoopClock
from sideband.peer.policies import RetryPolicy

__all__ = ["QUEUED_MESSAGES", "RECONNECT", "Bridge", "BridgeKind", "BridgeLike", "messages_of"]

BridgeKind = Literal["ws", "sse", "long-poll"]
ErrorHandler = Callable[[Exception], None]

QUEUED_MESSAGES = 64
"""So many messages are read ahead of a slow handler; then the connection is left unread."""
RECONNECT = RetryPolicy(mode="on-error", initial=0.25, max=10.0)
"""How a bridge comes back: after 250 ms, doubling to 10 s, with jitter."""

_LOG = logging.getLogger("sideband.inbox")


class BridgeLike(Protocol):
    """A bridge, or a chain of them."""

    async def connect(self, on_message: MessageHandler) -> None:
        """Connect and begin to hand messages over."""

    async def wait_closed(self) -> None:
        """Return once closed; raise what ended it."""

    async def close(self) -> None:
        """Stop; nothing is handed over any more."""


class Bridge(ABC):
    """Receives the messages of one address over one transport.

    Messages are handed over one at a time in the order of their cursors. The cursor moves on after the handler has
    returned; a handler that raises is given the same message again after a pause, and what it raised goes to
    `on_error`. A connection that is lost comes back by itself and goes on after the last message received. Each request
    is signed anew.

    Args:
        origin: the server, the address and the key.
        start_cursor: messages up to this one are left out; what `get_cursor` returned when the program last ended.
        auto_reconnect: False ends the bridge with the first connection lost; `wait_closed` then raises why.
        on_error: called with every error after the first connect; by default they are logged.
        retry: the pauses between attempts.
        clock: where pauses come from.
    """

    kind: ClassVar[BridgeKind]

    def __init__(
        self,
        origin: InboxOrigin,
        *,
        start_cursor: int = 0,
        auto_reconnect: bool = True,
        on_error: ErrorHandler | None = None,
        retry: RetryPolicy = RECONNECT,
        clock: Clock | None = None,
    ) -> None:
        if start_cursor < 0:
            raise BridgeError("protocol", f"start_cursor has to be 0 or more, got {start_cursor}")
        self.origin = origin
        self._start = self._received = start_cursor
        self._auto_reconnect = auto_reconnect
        self._on_error = on_error
        self._retry = retry
        self._clock = clock or LoopClock()
        self._delivery: Delivery | None = None
        self._queue: asyncio.Queue[IncomingMessage | None] = asyncio.Queue(QUEUED_MESSAGES)
        self._connected: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def get_cursor(self) -> int:
        """Return the cursor of the last message handled; kept by the caller, it is the next run's `start_cursor`."""
        return self._start if self._delivery is None else self._delivery.cursor

    async def connect(self, on_message: MessageHandler) -> None:
        """Connect, and hand messages to `on_message` from now on; returns once the first connection stands.

        Raises:
            BridgeError: the first attempt failed or was refused; `connect` may be called again. Or the bridge is
                connected already, or closed (kind `invalid_state`).
        """
        if self._task is not None:
            raise BridgeError("invalid_state", "a bridge is connected once; make another one")
        self._delivery = Delivery(on_message, self._start)
        self._connected = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name=f"inbox {self.kind}")
        try:
            await asyncio.shield(self._connected)
        except BaseException:
            await self._stop()
            self._task = None
            raise

    async def wait_closed(self) -> None:
        """Return once the bridge was closed.

        Raises:
            BridgeError: it ended by itself: refused for good, or its connection was lost with `auto_reconnect=False`.
        """
        if self._task is not None:
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()

    async def close(self) -> None:
        """Stop. A handler that is running is cancelled, and its message counts as not handled. Idempotent."""
        if self._task is not None:
            await self._stop()

    def __aiter__(self) -> AsyncIterator[IncomingMessage]:
        """Connect, and yield messages; one counts as handled when the next is asked for."""
        return messages_of(self)

    @abstractmethod
    async def _receive(self, session: aiohttp.ClientSession) -> None:
        """Make one connection; call `_stands` once it does, and `_take` with each message; raise what ended it."""

    def _stands(self) -> None:
        self._attempts = 0
        if self._connected is not None and not self._connected.done():
            self._connected.set_result(None)

    async def _take(self, message: IncomingMessage) -> None:
        if message.received_at > self._received:
            await self._queue.put(message)
            self._received = message.received_at

    async def _start_over(self) -> None:
        await self._queue.put(None)
        self._received = 0

    async def _run(self) -> None:
        handing = asyncio.create_task(self._hand_over(), name="inbox messages")
        try:
            async with self.origin.session() as session:
                await self._keep_connected(session)
        finally:
            handing.cancel()
            await asyncio.wait([handing])

    async def _keep_connected(self, session: aiohttp.ClientSession) -> None:
        self._attempts = 0
        while True:
            try:
                await self._receive(session)
                error = BridgeError("closed", "the server ended the connection")
            except BridgeError as raised:
                error = raised
            except SidebandError as raised:
                error = BridgeError("protocol", str(raised))
            if error.kind == "conflict" and self._received > 0:
                # A server restored from a backup counts from lower on: what it sends again is known by its id.
                await self._start_over()
                continue
            if self._connected is not None and not self._connected.done():
                self._connected.set_exception(error)
                return
            if error.kind == "refused" or not self._auto_reconnect:
                self._report(error)
                raise error
            if error.kind != "closed":
                self._report(error)
            await self._pause(error)

    async def _pause(self, error: BridgeError) -> None:
        delay = self._retry.delay(self._attempts, random.random())  # noqa: S311  (jitter, no secret)
        self._attempts += 1
        await self._clock.sleep(max(delay, error.retry_after or 0.0))

    async def _hand_over(self) -> None:
        delivery = self._delivery
        if delivery is None:
            raise BridgeError("invalid_state", "nothing is handed over before connect")
        while True:
            message = await self._queue.get()
            if message is None:
                delivery.start_over()
                continue
            failures = 0
            while True:
                try:
                    await delivery.hand_over(message)
                except Exception as error:  # noqa: BLE001  (the application's; the message stays and is tried again)
                    self._report(error)
                    await self._clock.sleep(self._retry.delay(failures, random.random()))  # noqa: S311  (jitter)
                    failures += 1
                else:
                    break

    def _report(self, error: Exception) -> None:
        if self._on_error is None:
            _LOG.warning("inbox over %s: %s", self.kind, error)
            return
        try:
            self._on_error(error)
        except Exception:  # noqa: BLE001  (the application's; receiving goes on)
            _LOG.exception("on_error raised")

    async def _stop(self) -> None:
        task = self._task
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # told by wait_closed or connect


async def messages_of(bridge: BridgeLike) -> AsyncIterator[IncomingMessage]:
    """Connect `bridge` and yield its messages; leaving the loop closes it.

    Raises:
        BridgeError: the bridge could not connect, or ended by itself.
    """
    offered: asyncio.Queue[tuple[IncomingMessage, asyncio.Future[None]]] = asyncio.Queue(1)

    async def offer(message: IncomingMessage) -> None:
        handled: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await offered.put((message, handled))
        await handled

    await bridge.connect(offer)
    ended = asyncio.ensure_future(bridge.wait_closed())
    try:
        while True:
            getting = asyncio.ensure_future(offered.get())
            try:
                await asyncio.wait((getting, ended), return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    await ended
                    return
                message, handled = getting.result()
            finally:
                getting.cancel()
            yield message
            if not handled.done():
                handled.set_result(None)
    finally:
        ended.cancel()
        await bridge.close()
        await asyncio.wait([ended])
        if not ended.cancelled():
            ended.exception()
