"""One open WebSocket of the relay: its outgoing queue, its counts, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from typing_extensions import override

from sideband._native import WebSocketReceiver
from sideband.errors import SbrpErrorCode
from sideband.relay.clock import Clock, Timer
from sideband.relay.config import RelayConfig
from sideband.relay.forward import forward
from sideband.relay.keepalive import Keepalive
from sideband.relay.limits import AddressEntry, Meter
from sideband.relay.outlet import Outlet, binary_frame, close_frame
from sideband.relay.table import DaemonEntry, Session
from sideband.relay.tokens import RelayToken

if TYPE_CHECKING:
    from sideband.relay.core import Relay

__all__ = ["RelayConnection"]


_FROM_CLIENT = 0
_FROM_DAEMON = 1

_log = logging.getLogger("sideband.relay")


class RelayConnection(asyncio.BufferedProtocol):
    """A client's or a daemon's connection, from the upgrade to its end: the protocol of its transport.

    There is no task. What comes in is handled at once, out of a buffer that all connections share; what goes out goes
    through `outlet`, and nothing here waits for it.

    Attributes:
        token: what the connection may do.
        session: a client's session; None for a daemon, and for a client that was refused after the upgrade.
        entry: a daemon's entry in the table; None for a client.
        closing: the connection is on its way out: nothing it sends is looked at any more.
        reading: False while the relay holds back from reading it.
        receiver: takes apart what comes in.
    """

    __slots__ = (
        "_clock",
        "_cut",
        "_held_back",
        "_relay",
        "_slow",
        "_waiting_for_room",
        "_was_held_back",
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
        "receiver",
        "session",
        "token",
        "transport",
    )

    def __init__(self, relay: Relay, token: RelayToken, transport: asyncio.Transport) -> None:
        config, clock = relay.config, relay.clock
        now = clock.monotonic()
        is_client = token.role == "client"
        self.config: RelayConfig = config
        self.token = token
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
        self._relay = relay
        self._was_held_back = False
        self.receiver = WebSocketReceiver(_FROM_CLIENT if is_client else _FROM_DAEMON)
        self._held_back: Timer | None = None
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
        transport.set_protocol(self)

    @property
    def is_client(self) -> bool:
        """Whether this is a client's connection."""
        return self.token.role == "client"

    def start(self, behind: bytes) -> None:
        """Handle what the client sent behind its upgrade."""
        if behind:
            self._take(bytearray(behind), len(behind))

    def close(self, code: int, reason: str, last: bytes | None = None) -> None:
        """Say goodbye and be gone within `close_timeout_seconds`; a second call does nothing.

        Args:
            code: the WebSocket close code.
            reason: a word for people.
            last: an SBRP frame that goes out before the close frame.
        """
        if self.closing:
            return
        goodbye = close_frame(code, reason)
        self._end(goodbye if last is None else binary_frame(last) + goodbye)
        self.receiver.close()
        self._cut_later()
        self.go_on()

    def hang_up(self) -> None:
        """Close the transport; what it has taken so far has a moment to leave."""
        if not self.closing:
            self._end(b"")
        self.outlet.finish(self.transport.close)
        if self._cut is None and not self.lost:
            self._cut_later()

    def finish_writing(self) -> None:
        """Tell the other side that nothing more comes, where the transport can, without cutting off what it sends."""
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.outlet.finish(self.transport.write_eof)

    def wait_for_room(self, daemon: RelayConnection) -> None:
        """Stop reading until the daemon's queue is short again, or this connection or the daemon's ends."""
        daemon._waiting_for_room.append(self)
        self._stop_reading()

    def hold_back(self, seconds: float) -> None:
        """Stop reading for a time, or until this connection ends."""
        self._was_held_back = True
        self._held_back = self._clock.call_later(seconds, self.go_on)
        self._stop_reading()

    def go_on(self) -> None:
        """Go on reading, first of all what was kept."""
        if self.reading:
            return
        self.reading = True
        if self._held_back is not None:
            self._held_back.cancel()
            self._held_back = None
        self._take(self._relay.received, 0)
        if self.reading and not self.transport.is_closing():
            self.transport.resume_reading()

    # --- the transport's calls ----------------------------------------------------------------------------------------

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        # What is read and cannot go on has to be kept, so little is read where that is likely.
        buffer = self._relay.received_view
        session = self.session
        if session is not None:
            daemon = session.daemon.connection
            if daemon is not None and daemon.outlet.room_bytes < len(buffer):
                return self._relay.received_start
        return self._relay.received_start if self._was_held_back else buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self.keepalive.heard = True
        if self.reading:
            self._was_held_back = False
            self._take(self._relay.received, nbytes)
        else:
            self.receiver.keep(self._relay.received, nbytes)

    @override
    def eof_received(self) -> None:
        self.hang_up()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self.closing:
            self._end(b"")
        self._stop_timers()
        self._relay.connection_gone(self)

    @override
    def pause_writing(self) -> None:
        self.outlet.pause()

    @override
    def resume_writing(self) -> None:
        self.outlet.resume()

    # --- private ------------------------------------------------------------------------------------------------------

    def _take(self, buffer: bytearray, size: int) -> None:
        try:
            forward(self._relay, self, buffer, size)
        except Exception:  # noqa: BLE001  (a fault in one connection is logged and ends that connection, not the others)
            _log.exception("connection_failed")
            self.receiver.keep(buffer, size)
            self._relay.fail(self, SbrpErrorCode.INTERNAL_ERROR, 0)

    def _end(self, last: bytes) -> None:
        self.closing = True
        self.outlet.seal(last)
        self._stop_timers()
        waiting, self._waiting_for_room = self._waiting_for_room, []
        self._relay.connection_closing(self)
        for connection in waiting:
            connection.go_on()

    def _cut_later(self) -> None:
        self._cut = self._clock.call_later(self.config.close_timeout_seconds, self.transport.abort)

    def _stop_reading(self) -> None:
        self.reading = False
        self.transport.pause_reading()

    def _daemon_over_bound(self, over: bool) -> None:
        if not over:
            waiting = self._waiting_for_room
            # One after the other, as long as there is room: of hundreds all but a few would stop again at once.
            while waiting and not self.outlet.over_bound:
                waiting.pop(0).go_on()

    def _client_over_bound(self, relay: Relay) -> Callable[[bool], None]:
        def on_bound(over: bool) -> None:
            if self._slow is not None:
                self._slow.cancel()
                self._slow = None
            if over:
                self._slow = self._clock.call_later(self.config.slow_client_seconds, lambda: relay.too_slow(self))

        return on_bound

    def _stop_timers(self) -> None:
        for timer in (self._slow, self._cut, self._held_back):
            if timer is not None:
                timer.cancel()
        self._slow = self._cut = self._held_back = None
