"""The two read loops of the relay: from a client to its daemon, and from a daemon to its clients.

Frames are looked at by their header only, and handed on as they came.
"""

from __future__ import annotations

from typing import Final, Protocol

from aiohttp import WSMessage, WSMsgType

from sideband._native import encode_pong, inspect_frame
from sideband.errors import SbrpError, SbrpErrorCode
from sideband.relay.connection import RelayConnection
from sideband.relay.core import Relay
from sideband.relay.outlet import pong_frame
from sideband.relay.table import SessionState
from sideband.secure_relay.frames import FrameType, SignalCode

__all__ = ["MAX_FRAME_BYTES", "RelayTap", "serve_client", "serve_daemon"]

MAX_FRAME_BYTES: Final = 65_549
"""Largest SBRP frame, and so the largest WebSocket message: header 13, payload 65,536."""

_CLIENT_TO_DAEMON: Final = frozenset({FrameType.HANDSHAKE_INIT.value, FrameType.DATA.value})
_DAEMON_TO_CLIENT: Final = frozenset({FrameType.HANDSHAKE_ACCEPT.value, FrameType.DATA.value})
_SIGNAL: Final = FrameType.SIGNAL.value
_PING: Final = FrameType.PING.value

_FROM_CLIENT: Final = 0
_FROM_DAEMON: Final = 1

_HEADER_BYTES: Final = 13
_NOT_FOR_THE_WIRE: Final = frozenset({0, 1005, 1006, 1015})
"""Close codes that say that there was none (RFC 6455, 7.4.1), which an answer must not repeat."""

_READY: Final = SignalCode.READY.value
_CLOSE: Final = SignalCode.CLOSE.value


class RelayTap(Protocol):
    """Sees what the relay forwards: for a proof that it is ciphertext, and for nothing else."""

    def forwarded(self, session_id: int, up: bool, frame: bytes) -> None:
        """Take note of one frame that was forwarded, header included; up is client to daemon. It must not block."""


async def serve_client(relay: Relay, connection: RelayConnection) -> None:
    """Read a client until its connection ends."""
    receive = connection.websocket.receive
    session = connection.session
    session_id = connection.token.session_id
    meter, clock, tap = connection.meter, relay.clock.monotonic, relay.tap
    while True:
        message = await receive()
        if message.type is not WSMsgType.BINARY:
            if _handle_other(connection, message):
                return
            continue
        if connection.closing or session is None:
            continue
        frame: bytes = message.data
        size = len(frame)
        try:
            kind, named = inspect_frame(frame, _FROM_CLIENT)
        except SbrpError as error:
            relay.fail(connection, error.code, error.session_id)
            continue
        if kind in _CLIENT_TO_DAEMON:
            if named != session_id:
                relay.fail(connection, SbrpErrorCode.SESSION_NOT_FOUND, named)
                continue
            while session.state is SessionState.PAIRED:
                daemon = session.daemon.connection
                if daemon is None or not daemon.outlet.over_bound:
                    break
                await connection.wait_for_room(daemon)
            daemon = session.daemon.connection
            if session.state is SessionState.PAIRED and daemon is not None:
                connection.frames_up += 1
                connection.bytes_up += size
                if tap is not None:
                    tap.forwarded(session_id, True, frame)
                daemon.outlet.put(frame)
            elif session.state is not SessionState.CLOSED:
                relay.table.client_frame_dropped(session)
        elif kind == _PING:
            connection.outlet.put_first(encode_pong(frame[_HEADER_BYTES:]))
        if meter is not None and (seconds := meter.charge(clock(), size)) > 0:
            relay.notify_rate_limited(connection)
            await connection.hold_back(seconds)


async def serve_daemon(relay: Relay, connection: RelayConnection) -> None:
    """Read a daemon until its connection ends."""
    receive = connection.websocket.receive
    entry = connection.entry
    meter, clock, tap = connection.meter, relay.clock.monotonic, relay.tap
    while True:
        message = await receive()
        if message.type is not WSMsgType.BINARY:
            if _handle_other(connection, message):
                return
            continue
        if connection.closing or entry is None:
            continue
        frame: bytes = message.data
        size = len(frame)
        try:
            kind, session_id = inspect_frame(frame, _FROM_DAEMON)
        except SbrpError as error:
            relay.fail(connection, error.code, error.session_id)
            continue
        if kind in _DAEMON_TO_CLIENT:
            session = entry.sessions.get(session_id)
            if session is None:
                relay.frame_for_closed_session(entry, session_id)
            elif session.state is SessionState.PAIRED:
                client = session.client
                client.frames_down += 1
                client.bytes_down += size
                if tap is not None:
                    tap.forwarded(session_id, False, frame)
                client.outlet.put(frame)
            else:
                relay.table.daemon_frame_dropped()
        elif kind == _PING:
            connection.outlet.put_first(encode_pong(frame[_HEADER_BYTES:]))
        elif kind == _SIGNAL:
            signal = frame[_HEADER_BYTES]
            if signal == _READY:
                relay.signal_ready(entry, session_id)
            elif signal == _CLOSE:
                relay.signal_close(entry, session_id)
            else:
                relay.fail(connection, SbrpErrorCode.MALFORMED_FRAME, 0)
        if meter is not None and (seconds := meter.charge(clock(), size)) > 0:
            relay.notify_rate_limited(connection)
            await connection.hold_back(seconds)


def _handle_other(connection: RelayConnection, message: WSMessage) -> bool:
    """Handle what is no binary message; tell whether the connection has ended."""
    kind = message.type
    if kind is WSMsgType.PING:
        connection.outlet.put_wire_first(pong_frame(message.data))
        return False
    if kind is WSMsgType.PONG:
        return False
    if kind is WSMsgType.TEXT:
        connection.close(1003, "binary messages only")
        return False
    if kind is WSMsgType.CLOSE:
        connection.close(1000 if message.data in _NOT_FOR_THE_WIRE else message.data, "")
    return True
