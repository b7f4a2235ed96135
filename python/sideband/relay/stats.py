"""Counts of one relay since its start. Connections count their own frames; sums are made when somebody looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sideband.errors import SbrpErrorCode

if TYPE_CHECKING:
    from sideband.relay.connection import RelayConnection

__all__ = ["RelayStats", "Traffic"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Frames and bytes (headers included) that were forwarded. Up is client to daemon."""

    frames_up: int = 0
    bytes_up: int = 0
    frames_down: int = 0
    bytes_down: int = 0


class RelayStats:
    """What metrics show.

    Attributes:
        accepted: upgrades that became connections, by role.
        refused: upgrades that were refused, by reason.
        control_sent: Control frames, by code.
        lag_seconds: how late the last look around came, a measure of a busy event loop.
        worst_lag_seconds: the worst since `take_worst_lag`.
    """

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.control_sent: Counter[SbrpErrorCode] = Counter()
        self.lag_seconds = 0.0
        self.worst_lag_seconds = 0.0
        self._closed = Traffic()
        self._high_water: dict[str, int] = {"client": 0, "daemon": 0}

    def add_closed(self, connection: RelayConnection) -> None:
        """Keep the counts of a connection that is gone."""
        self._closed = _add(self._closed, connection)
        self._note_high_water(connection)

    def traffic(self, connections: Iterable[RelayConnection]) -> Traffic:
        """Return the sums, open connections included."""
        total = self._closed
        for connection in connections:
            total = _add(total, connection)
        return total

    def high_water(self, connections: Iterable[RelayConnection]) -> dict[str, int]:
        """Return the longest outgoing queue in bytes since the start, by role."""
        for connection in connections:
            self._note_high_water(connection)
        return dict(self._high_water)

    def note_lag(self, seconds: float) -> None:
        """Take note of how late a timer ran."""
        self.lag_seconds = seconds
        self.worst_lag_seconds = max(self.worst_lag_seconds, seconds)

    def take_worst_lag(self) -> float:
        """Return the worst lag since the last call."""
        worst, self.worst_lag_seconds = self.worst_lag_seconds, 0.0
        return worst

    def _note_high_water(self, connection: RelayConnection) -> None:
        role = connection.token.role
        self._high_water[role] = max(self._high_water[role], connection.outlet.high_water_bytes)


def _add(total: Traffic, connection: RelayConnection) -> Traffic:
    return Traffic(
        total.frames_up + connection.frames_up,
        total.bytes_up + connection.bytes_up,
        total.frames_down + connection.frames_down,
        total.bytes_down + connection.bytes_down,
    )
