"""The relay: it carries out what the session table decides, and owns the connections, the timers and the counts."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from sideband._native import encode_control, encode_ping
from sideband.errors import SbrpErrorCode, StoreError
from sideband.relay.clock import Clock, LoopClock, Timer
from sideband.relay.config import RelayConfig
from sideband.relay.keepalive import Verdict
from sideband.relay.kicks import CarriedOut
from sideband.relay.limits import AddressLimits
from sideband.relay.outlet import ping_frame, pong_frame
from sideband.relay.revocations import RevokedKeys
from sideband.relay.sids import MemorySpentSids, SpentSids
from sideband.relay.snapshot import RelaySnapshot, take_snapshot
from sideband.relay.stats import RelayStats
from sideband.relay.table import Action, CloseDaemon, DaemonEntry, SessionTable, TellClient

if TYPE_CHECKING:
    from sideband.relay.connection import RelayConnection
    from sideband.relay.forward import RelayTap
    from sideband.relay.tokens import RelayToken

__all__ = ["CLOSE_KICKED", "CLOSE_REPLACED", "DaemonDirectory", "Relay"]

CLOSE_REPLACED = 4001
CLOSE_KICKED = 4003

_SHORT_READ_BYTES = 65_536
_GOING_AWAY = 1001
_CLOSE_CODES = {
    SbrpErrorCode.INTERNAL_ERROR: 1011,
    SbrpErrorCode.BACKPRESSURE: 1013,
    SbrpErrorCode.SESSION_NOT_FOUND: 1008,
    SbrpErrorCode.MALFORMED_FRAME: 1008,
    SbrpErrorCode.PAYLOAD_TOO_LARGE: 1008,
    SbrpErrorCode.INVALID_FRAME_TYPE: 1008,
    SbrpErrorCode.INVALID_SESSION_ID: 1008,
    SbrpErrorCode.DISALLOWED_SENDER: 1008,
}
_WITH_SESSION_ID = {
    SbrpErrorCode.DAEMON_NOT_FOUND,
    SbrpErrorCode.DAEMON_OFFLINE,
    SbrpErrorCode.SESSION_NOT_FOUND,
    SbrpErrorCode.SESSION_EXPIRED,
    SbrpErrorCode.DISALLOWED_SENDER,
}

_log = logging.getLogger("sideband.relay")


class DaemonDirectory(Protocol):
    """What a control plane in the same process tells the relay about daemons."""

    async def is_known(self, daemon_id: str) -> bool:
        """Tell whether a daemon of this id exists, connected or not."""

    async def is_revoked(self, key_id: str) -> bool:
        """Tell whether an API key (claim `akd` of a daemon's token) was revoked or disabled."""


class Relay:
    """One relay: its table, its connections, its limits.

    Args:
        config: every limit.
        sids: where used session ids are remembered; in memory by default, which does not survive a restart.
        directory: the control plane's knowledge of daemons. Without one, a daemon that is not connected is
            `daemon_offline`, whether it exists or not.
        tap: sees every forwarded frame; None, the default, costs nothing.
        clock: the time.

    Attributes:
        table: daemons and sessions.
        kicks: those of the internal interface that were carried out.
        stats: counts since the start.
        connections: those that are open.
        draining: the relay is shutting down and takes no more.
        presence_changed: set when a daemon has come or gone; whoever reports presence clears it.
        upgrading: upgrades under way, all of them and by daemon, which count against the limits.
        received: what a connection reads into; one for all of them, since what is read is looked at at once.
        received_view: that, as transports take it.
        received_start: the front of it, for short reads.
    """

    def __init__(
        self,
        config: RelayConfig,
        *,
        sids: SpentSids | None = None,
        directory: DaemonDirectory | None = None,
        tap: RelayTap | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.config = config
        self.clock = clock or LoopClock()
        self.sids: SpentSids = MemorySpentSids(self.clock.unix) if sids is None else sids
        self.directory = directory
        self.tap = tap
        self.table: SessionTable[RelayConnection] = SessionTable(
            grace_seconds=config.grace_seconds,
            pending_seconds=config.pending_seconds,
            default_max_sessions=config.max_sessions_per_daemon,
        )
        self.addresses = AddressLimits(
            upgrades_per_second=config.upgrades_per_second,
            upgrade_burst=config.upgrade_burst,
            max_connections=config.max_connections_per_address,
            max_addresses=config.max_addresses,
        )
        self.revoked = RevokedKeys(config.daemon_token_max_seconds + config.token_leeway_seconds, self.clock.unix)
        self.kicks = CarriedOut(self.clock.monotonic)
        self.stats = RelayStats()
        self.connections: set[RelayConnection] = set()
        self.upgrading: Counter[str] = Counter()
        self.draining = False
        self.presence_changed = asyncio.Event()
        self.received = bytearray(config.receive_buffer_bytes)
        self.received_view = memoryview(self.received)
        self.received_start = self.received_view[:_SHORT_READ_BYTES]
        self._empty = asyncio.Event()
        self._empty.set()
        self._deadline: Timer | None = None
        self._sweep: Timer | None = None
        self._sweep_seconds = min(1.0, config.keepalive_seconds / 4)
        self._sweep_due = 0.0

    # --- running ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin keepalive; needs the running event loop."""
        self._sweep_due = self.clock.monotonic() + self._sweep_seconds
        self._sweep = self.clock.call_later(self._sweep_seconds, self._look_around)

    async def shutdown(self) -> None:
        """Send everybody away with 1001, spread over `shutdown_spread_seconds`; cut what is left at the end.

        A second call waits for nothing new and does no harm.
        """
        self.draining = True
        config = self.config
        leaving = list(self.connections)
        step = config.shutdown_spread_seconds / len(leaving) if leaving else 0.0
        timers = [
            self.clock.call_later(step * n, lambda c=connection: c.close(_GOING_AWAY, "going away"))  # type: ignore[misc]
            for n, connection in enumerate(leaving)
        ]
        timers.append(self.clock.call_later(config.shutdown_seconds, self._cut_all))
        try:
            await self._empty.wait()
        finally:
            for timer in timers:
                timer.cancel()
            for running in (self._sweep, self._deadline):
                if running is not None:
                    running.cancel()
            self._sweep = self._deadline = None

    def snapshot(self) -> RelaySnapshot:
        """Return who is connected and what sessions there are."""
        return take_snapshot(self.table)

    def is_online(self, daemon_id: str) -> bool:
        """Tell whether a daemon is connected."""
        return self.table.is_online(daemon_id)

    def kick_daemon(self, daemon_id: str, key_id: str | None = None) -> bool:
        """Close a daemon's connection with 4003; its sessions pause. Tell whether there was one.

        Args:
            daemon_id: which.
            key_id: close only a connection that was opened with this API key, and refuse the key from now on.
        """
        if key_id is not None:
            self.revoked.add(key_id)
        entry = self.table.daemon(daemon_id)
        connection = entry.connection if entry is not None else None
        if connection is None or (key_id is not None and connection.token.key_id not in (None, key_id)):
            return False
        connection.close(CLOSE_KICKED, "kicked")
        return True

    def kick_session(self, session_id: int) -> bool:
        """End a session: `session_expired` to the client, `session_ended` to the daemon. Tell whether it was open."""
        session = self.table.session(session_id)
        if session is None:
            return False
        self.apply(self.table.end_session(session))
        return True

    # --- connections --------------------------------------------------------------------------------------------------

    def connection_opened(self, connection: RelayConnection) -> None:
        """Take a connection whose upgrade was accepted."""
        self.connections.add(connection)
        self._empty.clear()
        self.stats.accepted[connection.token.role] += 1
        if self.draining:
            connection.close(_GOING_AWAY, "going away")

    def connect_daemon(self, connection: RelayConnection) -> None:
        """Enter a daemon's connection into the table."""
        if connection.closing:
            return
        token = connection.token
        actions = self.table.daemon_connected(
            token.daemon_id,
            connection,
            can_resume=token.can_resume,
            now=self.clock.monotonic(),
            max_sessions=token.max_sessions,
        )
        connection.entry = self.table.daemon(token.daemon_id)
        self.apply(actions)
        self.presence_changed.set()
        _log.info("daemon_connected")
        _log.debug("daemon_connected_as", extra={"daemon_id": token.daemon_id})

    async def knows(self, token: RelayToken) -> bool:
        """Tell whether the token's daemon exists, as far as can be told: True when it cannot."""
        if self.directory is None or self.table.is_online(token.daemon_id):
            return True
        try:
            async with asyncio.timeout(self.config.upgrade_timeout_seconds):
                return await self.directory.is_known(token.daemon_id)
        except (StoreError, TimeoutError):
            return True

    def connect_client(self, connection: RelayConnection, *, daemon_exists: bool) -> None:
        """Pair a client, or tell it why not and close it."""
        if connection.closing:
            return
        token = connection.token
        connection.session = self.table.client_connected(token.session_id, token.daemon_id, connection)
        if connection.session is None:
            code = SbrpErrorCode.DAEMON_OFFLINE if daemon_exists else SbrpErrorCode.DAEMON_NOT_FOUND
            self.fail(connection, code, token.session_id)

    def connection_closing(self, connection: RelayConnection) -> None:
        """Take a connection out of the table as soon as it is on its way out."""
        now = self.clock.monotonic()
        if connection.session is not None:
            self.apply(self.table.client_lost(connection.session))
        elif connection.entry is not None:
            self.apply(self.table.daemon_lost(connection.token.daemon_id, connection, now=now))
            self.presence_changed.set()
            _log.info("daemon_gone")

    def connection_gone(self, connection: RelayConnection) -> None:
        """Forget a connection whose transport is gone."""
        self.connections.discard(connection)
        self.stats.add_closed(connection)
        if connection.address is not None:
            self.addresses.closed(connection.address)
        if not self.connections:
            self._empty.set()

    def fail(self, connection: RelayConnection, code: SbrpErrorCode, session_id: int) -> None:
        """Send a terminal code and close."""
        frame = self._control(code, session_id if code in _WITH_SESSION_ID else 0)
        connection.close(_CLOSE_CODES.get(code, 1000), code.value, frame)

    def too_slow(self, connection: RelayConnection) -> None:
        """Close a connection that does not take what is sent to it."""
        self.fail(connection, SbrpErrorCode.BACKPRESSURE, 0)

    def notify_rate_limited(self, connection: RelayConnection) -> None:
        """Tell a connection that it is over its limit, once per window."""
        now = self.clock.monotonic()
        if now - connection.notice_at >= self.config.rate_notice_seconds:
            connection.notice_at = now
            connection.outlet.put_first(self._control(SbrpErrorCode.RATE_LIMITED, 0))

    # --- the table ----------------------------------------------------------------------------------------------------

    def signal_ready(self, entry: DaemonEntry[RelayConnection], session_id: int) -> None:
        """Carry out a daemon's Signal ready."""
        self.apply(self.table.signal_ready(entry, session_id, now=self.clock.monotonic()))

    def signal_close(self, entry: DaemonEntry[RelayConnection], session_id: int) -> None:
        """Carry out a daemon's Signal close."""
        self.apply(self.table.signal_close(entry, session_id, now=self.clock.monotonic()))

    def frame_for_closed_session(self, entry: DaemonEntry[RelayConnection], session_id: int, frames: int) -> None:
        """Drop a daemon's frames for a session that is not open."""
        now = self.clock.monotonic()
        self.apply(self.table.frame_for_closed_session(entry, session_id, now=now, frames=frames))

    def apply(self, actions: Iterable[Action[RelayConnection]]) -> None:
        """Carry out what the table decided."""
        for action in actions:
            if isinstance(action, CloseDaemon):
                action.daemon.close(CLOSE_REPLACED, "replaced")
            elif isinstance(action, TellClient):
                if action.code.terminal:
                    self.fail(action.client, action.code, action.session_id)
                else:
                    action.client.outlet.put(self._control(action.code, action.session_id))
            else:
                action.daemon.outlet.put(self._control(action.code, action.session_id))
        self._set_deadline()

    def _control(self, code: SbrpErrorCode, session_id: int) -> bytes:
        self.stats.control_sent[code] += 1
        return encode_control(session_id, code.wire or 0, code.value)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _set_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        deadline = self.table.next_deadline()
        if deadline is not None:
            self._deadline = self.clock.call_later(max(0.0, deadline - self.clock.monotonic()), self._expire)

    def _expire(self) -> None:
        self._deadline = None
        self.apply(self.table.expire(self.clock.monotonic()))

    def _look_around(self) -> None:
        now = self.clock.monotonic()
        self.stats.note_lag(max(0.0, now - self._sweep_due))
        for connection in list(self.connections):
            if connection.closing:
                continue
            if not (connection.reading or connection.outlet.queued_bytes):
                # Its pings lie unread behind what it is held back for: unasked, this tells it that the relay lives.
                connection.outlet.put_wire_first(pong_frame(b""))
            verdict = connection.keepalive.look(now, reading=connection.reading)
            if verdict is Verdict.DEAD:
                connection.close(_GOING_AWAY, "no sign of life")
            elif verdict is Verdict.PING:
                if connection.is_client:
                    connection.outlet.put_wire_first(ping_frame())
                else:
                    connection.outlet.put_first(encode_ping())
        self._sweep_due = now + self._sweep_seconds
        self._sweep = self.clock.call_later(self._sweep_seconds, self._look_around)

    def _cut_all(self) -> None:
        for connection in list(self.connections):
            connection.close(_GOING_AWAY, "going away")
            connection.transport.abort()
