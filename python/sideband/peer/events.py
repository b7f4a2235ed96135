"""Events both ways (docs/protocol/peer.md, "Events")."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, overload

from sideband.errors import PeerError
from sideband.peer.policies import EventPolicy
from sideband.peer.subscriptions import AsyncListener, Event, Listener, Subscription, SyncListener, is_async_callable
from sideband.protocol.connection import MISSING, SbpConnection
from sideband.protocol.envelopes import encode_notification, parse_envelope
from sideband.protocol.patterns import SubscriptionTable, check_event_name

__all__ = ["Event", "Events", "Subscription"]

_log = logging.getLogger("sideband.peer")

F = TypeVar("F", bound=Callable[..., Any])
Unsubscribe = Callable[[], None]


class Events:
    """The events of one peer, both ways. Use `peer.events`; a peer makes it.

    Args:
        policy: limits.
        wake: called when something was queued for sending.
        report: told what a handler raised, and that one fell behind.
    """

    def __init__(self, policy: EventPolicy, wake: Callable[[], None], report: Callable[[BaseException], None]) -> None:
        self._policy = policy
        self._wake = wake
        self._report = report
        self._connection: SbpConnection | None = None
        self._active = False
        self._closed = False
        # Made when it is needed: most peers are never paused, and an empty deque takes 600 bytes of each.
        self._buffer: deque[tuple[str, Any, int]] | None = None
        self._buffered_bytes = 0
        self._dropped = 0
        self._listeners: dict[int, Listener] = {}
        self._table: SubscriptionTable[Listener] = SubscriptionTable()

    def emit(self, name: str, data: Any = None) -> None:
        """Send an event to the other side. Never waits.

        Without an active session, or when more than `EventPolicy.max_outgoing_bytes` wait to leave, it is buffered; of
        the buffered ones the oldest is dropped over `EventPolicy.max_buffered_events` and `max_buffered_bytes`.

        Args:
            name: segments of `A-Z a-z 0-9 - _` joined by dots, at most 255 bytes.
            data: anything JSON carries, and bytes where both sides speak bin/1. None sends none.

        Raises:
            PeerError: `invalid_pattern`, `message_too_large`, or `peer_closed`.
            SbpError: 1100 when `data` cannot be encoded.
        """
        check_event_name(name)
        self.emit_platform(name, data)

    def emit_platform(self, name: str, data: Any = None) -> None:
        """Like `emit`, for the platform's own names too."""
        value = MISSING if data is None else data
        connection = self._connection
        if (
            self._active
            and connection is not None
            and not self._buffer
            and connection.buffered_bytes <= self._policy.max_outgoing_bytes
        ):
            connection.send_notification(name, value, platform=True)
            self._wake()
        elif self._closed:
            raise PeerError("peer_closed", f"{name!r} was not sent: the peer is closed")
        else:
            self._hold(name, value)

    @property
    def buffered(self) -> int:
        """Own events that wait to be sent."""
        return len(self._buffer or ())

    @property
    def dropped(self) -> int:
        """Own events that were dropped from the buffer, in all."""
        return self._dropped

    @overload
    def on(self, name: str, function: Callable[[Any], Any]) -> Unsubscribe: ...

    @overload
    def on(self, name: str) -> Callable[[F], F]: ...

    def on(
        self, name: str, function: Callable[[Any], Any] | None = None
    ) -> Unsubscribe | Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Call `function(data)` for each event of this name; also a decorator: `@peer.events.on("file.changed")`.

        A plain function runs as the event is decoded. An `async def` runs in a task of its own, one event after the
        other; when more than `EventPolicy.subscriber_queue` wait for it, the oldest are lost and `on_unhandled_error`
        is told how many, as is what a handler raises.

        Returns:
            A function that takes the handler away again; as a decorator, the function itself.

        Raises:
            PeerError: `invalid_pattern`.
        """
        if "*" in name or ">" in name:
            raise PeerError("invalid_pattern", f"{name[:64]!r} has a wildcard: use on_pattern")
        if function is None:
            return self._decorator(lambda wanted: self.on(name, wanted))
        return self._listen(name, function, _data_only)

    @overload
    def on_pattern(self, pattern: str, function: Callable[[Event], Any]) -> Unsubscribe: ...

    @overload
    def on_pattern(self, pattern: str) -> Callable[[F], F]: ...

    def on_pattern(
        self, pattern: str, function: Callable[[Event], Any] | None = None
    ) -> Unsubscribe | Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Call `function(event)` for each event that a pattern matches; otherwise as `on`.

        Args:
            pattern: a name in which `*` stands for one segment, and `>` for one or more at the end.
            function: takes an `Event`, with its name and data.

        Raises:
            PeerError: `invalid_pattern`.
        """
        if function is None:
            return self._decorator(lambda wanted: self.on_pattern(pattern, wanted))
        return self._listen(pattern, function, _whole_event)

    def subscribe(self, pattern: str, *, limit: int | None = None) -> Subscription:
        """Return an async iterator over the events that a pattern matches, from now on.

        Args:
            pattern: as in `on_pattern`.
            limit: events that may wait; `EventPolicy.subscriber_queue` by default. The oldest is lost over it.

        Raises:
            PeerError: `invalid_pattern`.
        """
        handle = -1

        def unsubscribe() -> None:
            self._table.remove(handle)
            self._listeners.pop(handle, None)

        policy = self._policy
        subscription = Subscription(limit or policy.subscriber_queue, policy.subscriber_queue_bytes, unsubscribe)
        handle = self._add(pattern, _Closable(subscription))
        if self._closed:
            subscription.close()
        return subscription

    # What follows is for the peer that owns this object.

    def attach(self, connection: SbpConnection) -> None:
        """Use a new session; nothing is sent until `activate`."""
        self._connection = connection

    def detach(self) -> None:
        """Forget the session."""
        self._connection = None
        self._active = False

    def activate(self) -> None:
        """Send what was buffered."""
        self._active = True
        self.flush()

    def deactivate(self) -> None:
        """Buffer from here on."""
        self._active = False

    def flush(self) -> None:
        """Send buffered events as far as the outgoing limit lets them."""
        connection = self._connection
        while self._active and self._buffer and connection is not None:
            if connection.buffered_bytes > self._policy.max_outgoing_bytes:
                return
            name, data, size = self._buffer.popleft()
            self._buffered_bytes -= size
            try:
                connection.send_notification(name, data, platform=True)
            except Exception as error:  # noqa: BLE001  (its emitter is gone; the others still go out)
                self._report(error)
            self._wake()

    def received(self, name: str, data: Any, size: int) -> None:
        """Hand one event, whose frame had `size` bytes, to everyone who listens. Never waits."""
        for listener in self._table.match(name):
            listener.take(name, data, size)

    def close(self) -> list[asyncio.Task[None]]:
        """End all subscriptions; return the handlers' tasks that were cancelled."""
        self._closed = True
        self._active = False
        self._buffer = None
        self._buffered_bytes = 0
        tasks = [task for listener in list(self._listeners.values()) if (task := listener.close()) is not None]
        self._listeners.clear()
        self._table = SubscriptionTable()
        return tasks

    def _hold(self, name: str, value: Any) -> None:
        # Encoded at once: what cannot be sent is the emitter's error, and what is changed later does not change this.
        encoded = encode_notification(name, value, binary=True)
        if self._policy.max_buffered_events == 0:
            self._dropped += 1
            return
        if self._buffer is None:
            self._buffer = deque()
        self._buffer.append((name, parse_envelope(encoded, binary=True).get("d", MISSING), len(encoded)))
        self._buffered_bytes += len(encoded)
        while len(self._buffer) > self._policy.max_buffered_events or (
            self._buffered_bytes > self._policy.max_buffered_bytes and len(self._buffer) > 1
        ):
            self._buffered_bytes -= self._buffer.popleft()[2]
            if self._dropped == 0:
                _log.warning("events are dropped: too many wait to be sent")
            self._dropped += 1

    def _listen(self, pattern: str, function: Callable[..., Any], shape: Callable[..., Any]) -> Unsubscribe:
        shaped = shape(function)
        listener: Listener
        if is_async_callable(function):
            policy = self._policy
            listener = AsyncListener(shaped, policy.subscriber_queue, policy.subscriber_queue_bytes, self._report)
        else:
            listener = SyncListener(shaped, self._report)
        handle = self._add(pattern, listener)

        def unsubscribe() -> None:
            self._table.remove(handle)
            if self._listeners.pop(handle, None) is not None:
                listener.close()

        return unsubscribe

    def _add(self, pattern: str, listener: Listener) -> int:
        handle = self._table.add(pattern, listener)
        if self._closed:
            self._table.remove(handle)
        else:
            self._listeners[handle] = listener
        return handle

    def _decorator(self, register: Callable[[Callable[..., Any]], object]) -> Callable[[F], F]:
        def apply(function: F) -> F:
            register(function)
            return function

        return apply


class _Closable:
    """A subscription among the listeners: closing it ends the iteration, and no task is at work."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self.take = subscription.take

    def close(self) -> None:
        self._subscription.close()


def _data_only(function: Callable[[Any], Any]) -> Callable[[Event], Any]:
    return lambda event: function(event.data)


def _whole_event(function: Callable[[Event], Any]) -> Callable[[Event], Any]:
    return function
