"""When to ping a connection and when to give it up (docs/protocol/relay.md, "Flow"). No I/O; time is passed in."""

from __future__ import annotations

from enum import Enum

__all__ = ["MAX_UNANSWERED", "Keepalive", "Verdict"]

MAX_UNANSWERED = 2
"""Pings in a row without any inbound byte after which a connection is given up."""


class Verdict(Enum):
    """What a look at the clock came to."""

    NOTHING = "nothing"
    PING = "ping"
    DEAD = "dead"


class Keepalive:
    """One connection's signs of life.

    Args:
        interval_seconds: between pings.
        now: the time.

    Attributes:
        heard: set by the adapter when any byte comes in.
        unanswered: pings since then.
    """

    __slots__ = ("_due", "_interval", "_looked", "heard", "unanswered")

    def __init__(self, interval_seconds: float, now: float) -> None:
        self._interval = interval_seconds
        self._due = now + interval_seconds
        self._looked = now
        self.heard = False
        self.unanswered = 0

    def look(self, now: float, *, reading: bool) -> Verdict:
        """Say what is due.

        Args:
            now: the time.
            reading: whether the relay reads from this connection; while it does not, the clock stands.
        """
        if not reading:
            self._due += now - self._looked
        self._looked = now
        if self.heard:
            self.heard = False
            self.unanswered = 0
        if now < self._due:
            return Verdict.NOTHING
        if self.unanswered >= MAX_UNANSWERED:
            return Verdict.DEAD
        self.unanswered += 1
        self._due = now + self._interval
        return Verdict.PING
