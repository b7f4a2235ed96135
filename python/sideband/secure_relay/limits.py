"""The limits a daemon holds by itself, since the relay is not trusted to (docs/protocol/peer.md, "Server side")."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sideband.errors import ConfigError

__all__ = ["DaemonLimits", "HandshakeGate", "TokenBucket"]


@dataclass(frozen=True, slots=True)
class DaemonLimits:
    """Limits of one `DaemonEndpoint`.

    Attributes:
        sessions: sessions at once, half-open ones included; 256.
        half_open: sessions whose inner handshake is not done; 64.
        handshakes_per_second: HandshakeInit frames answered a second, also the burst; 50.
        inner_handshake_seconds: from the accept until `confirm`; 300.
        resume_confirm_seconds: after the return of the relay connection, until the relay or the client shows that it
            still knows a session; 120.
        malformed_in_a_row: bad frames from the relay before its connection is given up; 10.
        replay_window: sequence numbers remembered a session, 64 to 65,536 in multiples of 64; 128.

    Raises:
        ConfigError: one of them is not positive.
    """

    sessions: int = 256
    half_open: int = 64
    handshakes_per_second: float = 50.0
    inner_handshake_seconds: float = 300.0
    resume_confirm_seconds: float = 120.0
    malformed_in_a_row: int = 10
    replay_window: int = 128

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value <= 0:
                msg = f"{field.name} is a positive number, got {value!r}"
                raise ConfigError(msg)


class TokenBucket:
    """Lets through `rate` events a second, and as many at once after a quiet second.

    Args:
        rate: events a second; the burst is the same number, at least 1.
        now: the clock's time, seconds.
    """

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._burst = max(1.0, rate)
        self._level = self._burst
        self._at = now

    def take(self, now: float) -> bool:
        """Return whether one more event may pass at `now`, and count it if so."""
        self._level = min(self._burst, self._level + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True


class HandshakeGate:
    """Decides whether a daemon answers one more HandshakeInit.

    Args:
        limits: the daemon's.
        now: the clock's time, seconds.
    """

    def __init__(self, limits: DaemonLimits, now: float) -> None:
        self._limits = limits
        self._rate = TokenBucket(limits.handshakes_per_second, now)

    def refusal(self, sessions: int, half_open: int, now: float) -> str | None:
        """Return why no handshake is answered at `now`, with so many sessions held; None counts one as answered."""
        limits = self._limits
        if sessions >= limits.sessions:
            return f"{limits.sessions} sessions are open"
        if half_open >= limits.half_open:
            return f"{limits.half_open} handshakes are unfinished"
        if not self._rate.take(now):
            return f"over {limits.handshakes_per_second:g} handshakes a second"
        return None
