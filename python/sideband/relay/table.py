"""The relay's session table (docs/protocol/relay.md, "Session states at the relay").

A pure state machine: events go in as method calls with the time they happened at, actions come out, and nothing here
knows a socket, a clock or a task. Connections are opaque to it; the adapter passes its own objects and gets them back
in the actions.

Frames do not pass through here. The adapter looks a session up, forwards while it is `PAIRED`, and asks the table what
to do in every other case.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeAlias, TypeVar

from sideband.errors import SbrpErrorCode

__all__ = [
    "Action",
    "CloseDaemon",
    "DaemonEntry",
    "DropReason",
    "Session",
    "SessionState",
    "SessionTable",
    "TellClient",
    "TellDaemon",
]

ConnectionT = TypeVar("ConnectionT")

ENDED_NOTICE_SECONDS = 1.0
"""A daemon hears of the same closed session at most once in this time."""

MAX_ENDED_NOTICES = 1024
"""Closed sessions remembered per daemon connection for that; frames for more of them are dropped unanswered."""


class SessionState(Enum):
    """Where a session stands. `CLOSED` is final: the session has left the table."""

    PAIRED = "paired"
    PAUSED = "paused"
    PENDING = "pending"
    CLOSED = "closed"


class DropReason(str, Enum):  # noqa: UP042  (a plain string on the metrics label under every version)
    """Why a frame was not forwarded."""

    CLIENT_WHILE_PAUSED = "client_while_paused"
    CLIENT_WHILE_PENDING = "client_while_pending"
    DAEMON_WHILE_PENDING = "daemon_while_pending"
    SESSION_NOT_OPEN = "session_not_open"
    SIGNAL_WITHOUT_EFFECT = "signal_without_effect"


@dataclass(slots=True, eq=False)
class DaemonEntry(Generic[ConnectionT]):
    """A daemon that is connected, or that has sessions waiting for it.

    Attributes:
        connection: its open connection, or None while it is away.
        sessions: its open sessions by session id.
        max_sessions: how many it may have.
    """

    daemon_id: str
    connection: ConnectionT | None
    max_sessions: int
    sessions: dict[int, Session[ConnectionT]] = field(default_factory=dict)
    ended_notices: dict[int, float] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Session(Generic[ConnectionT]):
    """One client's session with one daemon.

    Attributes:
        deadline: when a session that is not paired expires.
        grace_deadline: when it expires although a daemon may come back; set while it is not paired.
    """

    session_id: int
    daemon: DaemonEntry[ConnectionT]
    client: ConnectionT
    state: SessionState
    deadline: float | None = None
    grace_deadline: float = 0.0


@dataclass(frozen=True, slots=True)
class TellClient(Generic[ConnectionT]):
    """Send a Control frame to a client; when the code is terminal, close it afterwards."""

    client: ConnectionT
    session_id: int
    code: SbrpErrorCode


@dataclass(frozen=True, slots=True)
class TellDaemon(Generic[ConnectionT]):
    """Send a Control frame to a daemon."""

    daemon: ConnectionT
    session_id: int
    code: SbrpErrorCode


@dataclass(frozen=True, slots=True)
class CloseDaemon(Generic[ConnectionT]):
    """Close a daemon's connection because a newer one took its place (WebSocket code 4001 `replaced`)."""

    daemon: ConnectionT


Action: TypeAlias = TellClient[ConnectionT] | TellDaemon[ConnectionT] | CloseDaemon[ConnectionT]


class SessionTable(Generic[ConnectionT]):
    """All daemons and sessions of one relay.

    Args:
        grace_seconds: how long sessions wait for a daemon that was lost; default 60.
        pending_seconds: how long a daemon that came back has to decide on each session; default 10.
        default_max_sessions: sessions per daemon whose token sets no limit; default 256.

    Attributes:
        dropped: frames that were not forwarded, by reason.
    """

    def __init__(
        self, *, grace_seconds: float = 60.0, pending_seconds: float = 10.0, default_max_sessions: int = 256
    ) -> None:
        self._grace_seconds = grace_seconds
        self._pending_seconds = pending_seconds
        self._default_max_sessions = default_max_sessions
        self._daemons: dict[str, DaemonEntry[ConnectionT]] = {}
        self._sessions: dict[int, Session[ConnectionT]] = {}
        self._deadlines: list[tuple[float, int, Session[ConnectionT]]] = []
        self._deadline_order = 0
        self.dropped: Counter[DropReason] = Counter()

    # --- looking up ---------------------------------------------------------------------------------------------------

    def daemon(self, daemon_id: str) -> DaemonEntry[ConnectionT] | None:
        """Return the entry of a daemon that is connected or has sessions waiting, else None."""
        return self._daemons.get(daemon_id)

    def session(self, session_id: int) -> Session[ConnectionT] | None:
        """Return an open session, else None."""
        return self._sessions.get(session_id)

    def is_online(self, daemon_id: str) -> bool:
        """Tell whether a daemon has an open connection."""
        entry = self._daemons.get(daemon_id)
        return entry is not None and entry.connection is not None

    def daemons(self) -> Iterator[DaemonEntry[ConnectionT]]:
        """Iterate over daemons that are connected or have sessions waiting."""
        return iter(self._daemons.values())

    def sessions(self) -> Iterator[Session[ConnectionT]]:
        """Iterate over open sessions."""
        return iter(self._sessions.values())

    def count(self) -> Counter[SessionState]:
        """Return how many open sessions are in each state."""
        return Counter(session.state for session in self._sessions.values())

    # --- events of clients --------------------------------------------------------------------------------------------

    def client_connected(self, session_id: int, daemon_id: str, client: ConnectionT) -> Session[ConnectionT] | None:
        """Pair a client with its daemon; None when that daemon is not connected.

        Raises:
            ValueError: the session id is in use; the adapter refuses such a client before its upgrade.
        """
        if session_id in self._sessions:
            msg = f"session id {session_id} is in use"
            raise ValueError(msg)
        entry = self._daemons.get(daemon_id)
        if entry is None or entry.connection is None:
            return None
        session = Session(session_id, entry, client, SessionState.PAIRED)
        entry.sessions[session_id] = session
        self._sessions[session_id] = session
        return session

    def client_lost(self, session: Session[ConnectionT]) -> list[Action[ConnectionT]]:
        """Close the session of a client that went away; nothing happens when it is closed already."""
        state, connection = session.state, session.daemon.connection
        if state is SessionState.CLOSED:
            return []
        self._close(session)
        if state is SessionState.PAUSED or connection is None:
            return []
        return [TellDaemon(connection, session.session_id, SbrpErrorCode.SESSION_ENDED)]

    def client_frame_dropped(self, session: Session[ConnectionT], frames: int = 1) -> None:
        """Count frames of a client that were read while its session was not paired."""
        paused = session.state is SessionState.PAUSED
        self.dropped[DropReason.CLIENT_WHILE_PAUSED if paused else DropReason.CLIENT_WHILE_PENDING] += frames

    # --- events of daemons --------------------------------------------------------------------------------------------

    def daemon_connected(
        self, daemon_id: str, connection: ConnectionT, *, can_resume: bool, now: float, max_sessions: int | None = None
    ) -> list[Action[ConnectionT]]:
        """Take a daemon's connection, which replaces an older one.

        Args:
            daemon_id: the token's `did`.
            connection: the new connection.
            can_resume: the token holds `session:resume`.
            now: the time.
            max_sessions: the token's `lim.concurrent_sessions`, if it has one.
        """
        actions: list[Action[ConnectionT]] = []
        entry = self._daemons.get(daemon_id)
        if entry is None:
            entry = self._daemons[daemon_id] = DaemonEntry(daemon_id, None, 0)
        elif entry.connection is not None:
            actions.append(CloseDaemon(entry.connection))
            actions += self._pause_sessions(entry, now)
        entry.connection = connection
        entry.max_sessions = max_sessions or self._default_max_sessions
        entry.ended_notices = {}
        for session in list(entry.sessions.values()):
            if can_resume:
                self._wait_for_signal(session, now)
                actions.append(TellClient(session.client, session.session_id, SbrpErrorCode.SESSION_PENDING))
                actions.append(TellDaemon(connection, session.session_id, SbrpErrorCode.SESSION_PENDING))
            else:
                actions.append(self._expire_session(session))
        return actions

    def daemon_lost(self, daemon_id: str, connection: ConnectionT, *, now: float) -> list[Action[ConnectionT]]:
        """Pause the sessions of a daemon that went away; nothing happens when `connection` was replaced already."""
        entry = self._daemons.get(daemon_id)
        if entry is None or entry.connection is not connection:
            return []
        entry.connection = None
        actions = self._pause_sessions(entry, now)
        self._forget_if_empty(entry)
        return actions

    def signal_ready(
        self, entry: DaemonEntry[ConnectionT], session_id: int, *, now: float
    ) -> list[Action[ConnectionT]]:
        """Resume a pending session, as its daemon says."""
        session = entry.sessions.get(session_id)
        if session is None:
            return self.frame_for_closed_session(entry, session_id, now=now)
        if session.state is not SessionState.PENDING:
            self.dropped[DropReason.SIGNAL_WITHOUT_EFFECT] += 1
            return []
        session.state = SessionState.PAIRED
        session.deadline = None
        return [TellClient(session.client, session_id, SbrpErrorCode.SESSION_RESUMED)]

    def signal_close(
        self, entry: DaemonEntry[ConnectionT], session_id: int, *, now: float
    ) -> list[Action[ConnectionT]]:
        """Close a session, as its daemon says."""
        session = entry.sessions.get(session_id)
        if session is None:
            return self.frame_for_closed_session(entry, session_id, now=now)
        return [self._expire_session(session)]

    def daemon_frame_dropped(self, frames: int = 1) -> None:
        """Count frames of a daemon for a session that is pending."""
        self.dropped[DropReason.DAEMON_WHILE_PENDING] += frames

    def frame_for_closed_session(
        self, entry: DaemonEntry[ConnectionT], session_id: int, *, now: float, frames: int = 1
    ) -> list[Action[ConnectionT]]:
        """Drop a daemon's frames for a session that is not open, and tell the daemon, at most once a second each."""
        self.dropped[DropReason.SESSION_NOT_OPEN] += frames
        notices = entry.ended_notices
        connection = entry.connection
        if connection is None or now - notices.get(session_id, float("-inf")) < ENDED_NOTICE_SECONDS:
            return []
        if session_id not in notices and len(notices) >= MAX_ENDED_NOTICES:
            _drop_old(notices, now)
            if len(notices) >= MAX_ENDED_NOTICES:
                return []
        notices.pop(session_id, None)
        notices[session_id] = now
        return [TellDaemon(connection, session_id, SbrpErrorCode.SESSION_ENDED)]

    # --- time and the operator ----------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """Return when `expire` has something to do, or None."""
        while self._deadlines and self._deadlines[0][2].deadline != self._deadlines[0][0]:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def expire(self, now: float) -> list[Action[ConnectionT]]:
        """Close sessions whose grace, or whose wait for a Signal, is over."""
        actions: list[Action[ConnectionT]] = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            actions.append(self._expire_session(heapq.heappop(self._deadlines)[2]))
        return actions

    def end_session(self, session: Session[ConnectionT]) -> list[Action[ConnectionT]]:
        """End a session for the relay's own reasons: a kick, or a client that cannot keep up.

        The client hears `session_expired` unless the adapter told it something else; the daemon hears `session_ended`.
        """
        if session.state is SessionState.CLOSED:
            return []
        state, connection = session.state, session.daemon.connection
        actions: list[Action[ConnectionT]] = [self._expire_session(session)]
        if connection is not None and state is not SessionState.PAUSED:
            actions.append(TellDaemon(connection, session.session_id, SbrpErrorCode.SESSION_ENDED))
        return actions

    # --- private ------------------------------------------------------------------------------------------------------

    def _pause_sessions(self, entry: DaemonEntry[ConnectionT], now: float) -> list[Action[ConnectionT]]:
        actions: list[Action[ConnectionT]] = []
        for session in entry.sessions.values():
            if session.state is SessionState.PAIRED:
                session.grace_deadline = now + self._grace_seconds
            # A daemon that comes and goes does not get a new grace each time: a pending session keeps its first.
            session.state = SessionState.PAUSED
            self._set_deadline(session, session.grace_deadline)
            actions.append(TellClient(session.client, session.session_id, SbrpErrorCode.SESSION_PAUSED))
        return actions

    def _wait_for_signal(self, session: Session[ConnectionT], now: float) -> None:
        session.state = SessionState.PENDING
        self._set_deadline(session, min(session.grace_deadline, now + self._pending_seconds))

    def _expire_session(self, session: Session[ConnectionT]) -> Action[ConnectionT]:
        self._close(session)
        return TellClient(session.client, session.session_id, SbrpErrorCode.SESSION_EXPIRED)

    def _close(self, session: Session[ConnectionT]) -> None:
        session.state = SessionState.CLOSED
        session.deadline = None
        del self._sessions[session.session_id]
        del session.daemon.sessions[session.session_id]
        self._forget_if_empty(session.daemon)

    def _forget_if_empty(self, entry: DaemonEntry[ConnectionT]) -> None:
        if entry.connection is None and not entry.sessions:
            del self._daemons[entry.daemon_id]

    def _set_deadline(self, session: Session[ConnectionT], deadline: float) -> None:
        session.deadline = deadline
        self._deadline_order += 1
        heapq.heappush(self._deadlines, (deadline, self._deadline_order, session))
        if len(self._deadlines) > 64 + 4 * len(self._sessions):
            self._drop_stale_deadlines()

    def _drop_stale_deadlines(self) -> None:
        waiting = ((session.deadline, session) for session in self._sessions.values())
        self._deadlines = [
            (deadline, order, session) for order, (deadline, session) in enumerate(waiting) if deadline is not None
        ]
        self._deadline_order = len(self._sessions)
        heapq.heapify(self._deadlines)


def _drop_old(notices: dict[int, float], now: float) -> None:
    for session_id in [sid for sid, at in notices.items() if now - at >= ENDED_NOTICE_SECONDS]:
        del notices[session_id]
