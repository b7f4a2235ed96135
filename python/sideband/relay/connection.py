"""One open WebSocket of the relay: its outgoing queue, its counts, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import web
from typing_extensions import override

from sideband.relay.clock import Clock, Timer
from sideband.relay.config import RelayConfig
from sideband.relay.keepalive import Keepalive
from sideband.relay.limits import AddressEntry, Meter
from sideband.relay.outlet import Outlet, binary_frame, close_frame
from sideband.relay.table import DaemonEntry, Session
from sideband.relay.tokens import RelayToken

if TYPE_CHECKING:
    from sideband.relay.core import Relay

__all__ = ["RelayConnection"]


class RelayConnection:
    """A client's or a daemon's connection, from the upgrade to its end.

    The one task of a connection is the request's own, which reads. Everything that is sent goes through `outlet`, and
    nothing here waits for it.

    Attributes:
        token: what the connection may do.
        session: a client's session; None for a daemon, and for a client that was refused after the upgrade.
        entry: a daemon's entry in the table; None for a client.
        closing: the connection is on its way out: nothing it sends is looked at any more.
        reading: False while the relay holds back from reading it.
    """

    __slots__ = (
        "_clock",
        "_cut",
        "_on_closing",
        "_parked",
        "_slow",
        "_waiting_for_room",
        "address",
        "bytes_down",
        "bytes_up",
        "closing",
        "config",
        "entry",
        "frames_down",
        "frames_up",
        "keepalive",
        "lost",
        "meter",
        "notice_at",
        "opened_at",
        "outlet",
        "reading",
        "session",
        "token",
        "transport",
        "websocket",
    )

    def __init__(
        self, relay: Relay, token: RelayToken, websocket: web.WebSocketResponse, transport: asyncio.Transport
    ) -> None:
        config, clock = relay.config, relay.clock
        now = clock.monotonic()
        is_client = token.role == "client"
        self.config: RelayConfig = config
        self.token = token
        self.websocket = websocket
        self.transport = transport
        self.session: Session[RelayConnection] | None = None
        self.entry: DaemonEntry[RelayConnection] | None = None
        self.address: AddressEntry | None = None
        self.keepalive = Keepalive(config.keepalive_seconds, now)
        self.meter: Meter | None = None
        if config.limits_by_address:
            self.meter = Meter(config.client_rates if is_client else config.daemon_rates, now)
        self.notice_at = float("-inf")
        self.opened_at = clock.unix()
        self.frames_up = self.bytes_up = self.frames_down = self.bytes_down = 0
        self.closing = False
        self.lost = False
        self.reading = True
        self._clock: Clock = clock
        self._on_closing: Callable[[RelayConnection], None] = relay.connection_closing
        self._parked: asyncio.Future[None] | None = None
        self._waiting_for_room: list[RelayConnection] = []
        self._slow: Timer | None = None
        self._cut: Timer | None = None
        self.outlet = Outlet(
            transport,
            window_bytes=config.transport_window_bytes,
            bound_bytes=config.queue_bound_bytes,
            resume_bytes=config.queue_bound_bytes if is_client else config.queue_bound_bytes // 2,
            hard_limit_bytes=config.queue_hard_limit_bytes,
            on_overflow=lambda: relay.too_slow(self),
            on_bound=self._client_over_bound(relay) if is_client else self._daemon_over_bound,
        )
        transport.set_protocol(_Tap(transport.get_protocol(), self))

    @property
    def is_client(self) -> bool:
        """Whether this is a client's connection."""
        return self.token.role == "client"

    def close(self, code: int, reason: str, last: bytes | None = None) -> None:
        """Say goodbye and be gone within `close_timeout_seconds`; a second call does nothing.

        Args:
            code: the WebSocket close code.
            reason: a word for people.
            last: an SBRP frame that goes out before the close frame.
        """
        if self.closing:
            return
        self.closing = True
        goodbye = close_frame(code, reason)
        self.outlet.seal(goodbye if last is None else binary_frame(last) + goodbye)
        self._stop_timers()
        self._cut = self._clock.call_later(self.config.close_timeout_seconds, self.transport.abort)
        self.unpark()
        self._let_waiting_go_on()
        self._on_closing(self)

    def ended(self) -> None:
        """Let go of the transport after the last message was read; what is still queued has a moment to leave."""
        if not self.closing:
            self.closing = True
            self.outlet.seal(b"")
            self._let_waiting_go_on()
            self._on_closing(self)
        self.transport.close()
        if self._cut is None and not self.lost:
            self._stop_timers()
            self._cut = self._clock.call_later(self.config.close_timeout_seconds, self.transport.abort)

    async def wait_for_room(self, daemon: RelayConnection) -> None:
        """Stop reading until the daemon's queue is short again, or this connection or the daemon's ends."""
        daemon._waiting_for_room.append(self)
        await self._park()

    async def hold_back(self, seconds: float) -> None:
        """Stop reading for a time, or until this connection ends."""
        timer = self._clock.call_later(seconds, self.unpark)
        try:
            await self._park()
        finally:
            timer.cancel()

    def unpark(self) -> None:
        """Go on reading."""
        if self._parked is not None and not self._parked.done():
            self._parked.set_result(None)

    async def _park(self) -> None:
        if self.closing:
            return
        self.reading = False
        self._parked = asyncio.get_running_loop().create_future()
        try:
            await self._parked
        finally:
            self._parked = None
            self.reading = True

    def _daemon_over_bound(self, over: bool) -> None:
        if not over:
            self._let_waiting_go_on()

    def _client_over_bound(self, relay: Relay) -> Callable[[bool], None]:
        def on_bound(over: bool) -> None:
            if self._slow is not None:
                self._slow.cancel()
                self._slow = None
            if over:
                self._slow = self._clock.call_later(self.config.slow_client_seconds, lambda: relay.too_slow(self))

        return on_bound

    def _let_waiting_go_on(self) -> None:
        waiting, self._waiting_for_room = self._waiting_for_room, []
        for connection in waiting:
            connection.unpark()

    def _transport_lost(self) -> None:
        self.lost = True
        self._stop_timers()

    def _stop_timers(self) -> None:
        for timer in (self._slow, self._cut):
            if timer is not None:
                timer.cancel()
        self._slow = self._cut = None


class _Tap(asyncio.Protocol):
    """Stands between the transport and aiohttp's protocol, to see any inbound byte and when writing may go on.

    aiohttp reports whole messages only, and lets a writer wait but not be called.
    """

    __slots__ = ("_connection", "_data_received", "_inner", "_keepalive")

    def __init__(self, inner: asyncio.BaseProtocol, connection: RelayConnection) -> None:
        if not isinstance(inner, asyncio.Protocol):
            msg = f"the connection's protocol is {type(inner).__name__}, not a streaming one"
            raise TypeError(msg)
        self._inner = inner
        self._data_received = inner.data_received
        self._connection = connection
        self._keepalive = connection.keepalive

    @override
    def data_received(self, data: bytes) -> None:
        self._keepalive.heard = True
        self._data_received(data)

    @override
    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._connection._transport_lost()
        self._inner.connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        self._connection.outlet.pause()
        self._inner.pause_writing()

    @override
    def resume_writing(self) -> None:
        self._inner.resume_writing()
        self._connection.outlet.resume()
