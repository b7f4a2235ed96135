"""The two ways through the relay: from a client to its daemon, and from a daemon to its clients.

The native core takes what was received apart, checks each frame by its header, and hands over frames that go the same
way as one piece that is ready to be sent. Here it is decided where they go.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from sideband._native import encode_pong
from sideband.errors import SbrpErrorCode
from sideband.relay.outlet import pong_frame
from sideband.relay.table import Session, SessionState
from sideband.secure_relay.frames import SignalCode

if TYPE_CHECKING:
    from sideband.relay.connection import RelayConnection
    from sideband.relay.core import Relay

__all__ = ["RelayTap", "forward"]

_UNLIMITED: Final = sys.maxsize
_PROTOCOL_ERRORS: Final = frozenset({1002, 1007})

_READY: Final = bytes([SignalCode.READY.value])
_CLOSE: Final = bytes([SignalCode.CLOSE.value])

# Kinds of events, see `WebSocketReceiver.next`.
_FRAMES: Final = 0
_PING: Final = 1
_SIGNAL: Final = 3
_REFUSED: Final = 4
_WEBSOCKET_PING: Final = 5
_CLOSED: Final = 6
_VIOLATION: Final = 7

_Way: TypeAlias = "Callable[[Relay, RelayConnection, int, int, int, bytes], None]"


class RelayTap(Protocol):
    """Sees what the relay forwards: for a proof that it is ciphertext, and for nothing else."""

    def forwarded(self, session_id: int, up: bool, frame: bytes) -> None:
        """Take note of one frame that was forwarded, header included; up is client to daemon. It must not block."""


def forward(relay: Relay, connection: RelayConnection, buffer: bytearray, size: int) -> None:
    """Handle what was received, and what was kept before it.

    When the connection has to be held back, what is left is kept and its reading stops.

    Args:
        relay: the relay.
        connection: a client's or a daemon's.
        buffer: what was received.
        size: bytes of it.
    """
    receiver, meter, clock = connection.receiver, connection.meter, relay.clock.monotonic
    is_client = connection.is_client
    way: _Way = _up if is_client else _down
    chunk_bytes = relay.config.transport_window_bytes
    most_messages = _UNLIMITED if relay.tap is None else 1
    while True:
        messages, size_limit = most_messages, chunk_bytes
        if not connection.closing:
            if is_client and connection.session is not None:
                daemon = _destination(connection.session)
                if daemon is not None:
                    if daemon.outlet.over_bound:
                        receiver.keep(buffer, size)
                        connection.wait_for_room(daemon)
                        return
                    size_limit = min(size_limit, daemon.outlet.room_bytes)
            if meter is not None:
                few, small = meter.allowance(clock())
                messages, size_limit = min(messages, few), min(size_limit, small)
        event = receiver.next(buffer, size, messages, size_limit)
        if event is None:
            return
        kind, number, count, length, value = event
        if kind == _FRAMES:
            if not connection.closing:
                way(relay, connection, number, count, length, value)
        elif _handle_other(relay, connection, kind, number, value):
            return
        if meter is not None and count and not connection.closing:
            seconds = meter.charge(clock(), length, count)
            if seconds > 0:
                relay.notify_rate_limited(connection)
                receiver.keep(buffer, size)
                connection.hold_back(seconds)
                return


def _destination(session: Session[RelayConnection]) -> RelayConnection | None:
    return session.daemon.connection if session.state is SessionState.PAIRED else None


def _up(relay: Relay, connection: RelayConnection, session_id: int, count: int, length: int, wire: bytes) -> None:
    session = connection.session
    if session is None:
        return
    if session_id != session.session_id:
        relay.fail(connection, SbrpErrorCode.SESSION_NOT_FOUND, session_id)
        return
    daemon = _destination(session)
    if daemon is not None:
        connection.frames_up += count
        connection.bytes_up += length
        if relay.tap is not None:
            relay.tap.forwarded(session_id, True, wire[-length:])
        daemon.outlet.put_wire(wire)
    elif session.state is not SessionState.CLOSED:
        relay.table.client_frame_dropped(session, count)


def _down(relay: Relay, connection: RelayConnection, session_id: int, count: int, length: int, wire: bytes) -> None:
    entry = connection.entry
    if entry is None:
        return
    session = entry.sessions.get(session_id)
    if session is None:
        relay.frame_for_closed_session(entry, session_id, count)
    elif session.state is SessionState.PAIRED:
        client = session.client
        client.frames_down += count
        client.bytes_down += length
        if relay.tap is not None:
            relay.tap.forwarded(session_id, False, wire[-length:])
        client.outlet.put_wire(wire)
    else:
        relay.table.daemon_frame_dropped(count)


def _handle_other(relay: Relay, connection: RelayConnection, kind: int, number: int, value: Any) -> bool:
    """Handle what is not forwarded; tell whether the connection has ended."""
    if kind == _CLOSED:
        connection.close(number or 1000, "")
        connection.hang_up()
        return True
    if connection.closing:
        return False
    if kind == _PING:
        connection.outlet.put_first(encode_pong(value))
    elif kind == _SIGNAL:
        _signal(relay, connection, number, value)
    elif kind == _REFUSED:
        relay.fail(connection, SbrpErrorCode[value.upper()], number)
    elif kind == _WEBSOCKET_PING:
        connection.outlet.put_wire_first(pong_frame(value))
    elif kind == _VIOLATION:
        connection.close(number, value)
        if number in _PROTOCOL_ERRORS:
            connection.finish_writing()
    return False


def _signal(relay: Relay, connection: RelayConnection, session_id: int, code: bytes) -> None:
    entry = connection.entry
    if entry is None:
        return
    if code == _READY:
        relay.signal_ready(entry, session_id)
    elif code == _CLOSE:
        relay.signal_close(entry, session_id)
    else:
        relay.fail(connection, SbrpErrorCode.MALFORMED_FRAME, 0)
