"""Who is connected right now, for reports and admins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sideband.relay.table import SessionTable

if TYPE_CHECKING:
    from sideband.relay.connection import RelayConnection

__all__ = ["DaemonPresence", "RelaySnapshot", "SessionInfo", "take_snapshot"]


@dataclass(frozen=True, slots=True)
class DaemonPresence:
    """A daemon with an open connection; `since` in Unix seconds."""

    daemon_id: str
    since: float


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """An open session. Up is client to daemon; frames and bytes (headers included) are those forwarded."""

    session_id: int
    daemon_id: str
    user_id: str
    state: str
    since: float
    frames_up: int
    bytes_up: int
    frames_down: int
    bytes_down: int


@dataclass(frozen=True, slots=True)
class RelaySnapshot:
    """Daemons that are online, and open sessions."""

    daemons: tuple[DaemonPresence, ...]
    sessions: tuple[SessionInfo, ...]


def take_snapshot(table: SessionTable[RelayConnection]) -> RelaySnapshot:
    """Return what `table` holds now."""
    return RelaySnapshot(
        daemons=tuple(
            DaemonPresence(entry.daemon_id, entry.connection.opened_at)
            for entry in table.daemons()
            if entry.connection is not None
        ),
        sessions=tuple(
            SessionInfo(
                session.session_id,
                session.daemon.daemon_id,
                session.client.token.subject,
                session.state.value,
                session.client.opened_at,
                session.client.frames_up,
                session.client.bytes_up,
                session.client.frames_down,
                session.client.bytes_down,
            )
            for session in table.sessions()
        ),
    )
