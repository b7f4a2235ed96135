"""Deadlines that draw nearer only while a session is active (docs/protocol/peer.md, "RPC")."""

from __future__ import annotations

from collections.abc import Callable

from sideband.peer.clock import Clock, Timer

__all__ = ["ActiveDeadlines"]


class ActiveDeadlines:
    """Deadlines of calls, by cid.

    Calls with the same timeout are due in the order they were added, so each timeout has its own ordered dict: adding
    and discarding cost one dict operation, and one timer serves them all.

    Args:
        clock: where time comes from.
        expired: called with the cid of each deadline that is reached, after it was discarded.
    """

    def __init__(self, clock: Clock, expired: Callable[[bytes], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._due: dict[float, dict[bytes, float]] = {}
        self._stood_still = 0.0
        self._stopped_at: float | None = clock.time()
        self._timer: Timer | None = None
        self._timer_due = 0.0

    def start(self) -> None:
        """Let time run. Does nothing when it does."""
        if self._stopped_at is not None:
            self._stood_still += self._clock.time() - self._stopped_at
            self._stopped_at = None
            self._arm()

    def stop(self) -> None:
        """Let time stand still. Does nothing when it does."""
        if self._stopped_at is None:
            self._stopped_at = self._clock.time()
            self._disarm()

    def add(self, cid: bytes, timeout: float) -> None:
        """Set a deadline `timeout` seconds of running time from now; infinity sets none."""
        if timeout == float("inf"):
            return
        due = self._now() + timeout
        bucket = self._due.get(timeout)
        if bucket is None:
            bucket = self._due[timeout] = {}
        bucket[cid] = due
        if self._timer is None or due < self._timer_due:
            self._arm()

    def discard(self, cid: bytes, timeout: float) -> None:
        """Forget the deadline that `add` set with these arguments, if it is still there."""
        bucket = self._due.get(timeout)
        if bucket is not None:
            bucket.pop(cid, None)
            if not bucket:
                del self._due[timeout]

    def clear(self) -> None:
        """Forget all deadlines."""
        self._due.clear()
        self._disarm()

    def _now(self) -> float:
        now = self._clock.time() if self._stopped_at is None else self._stopped_at
        return now - self._stood_still

    def _arm(self) -> None:
        self._disarm()
        if self._stopped_at is not None or not self._due:
            return
        self._timer_due = min(next(iter(bucket.values())) for bucket in self._due.values())
        self._timer = self._clock.call_later(max(0.0, self._timer_due - self._now()), self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        now = self._now()
        late: list[tuple[bytes, float]] = []
        for timeout, bucket in self._due.items():
            for cid, due in bucket.items():
                if due > now:
                    break
                late.append((cid, timeout))
        for cid, timeout in late:
            self.discard(cid, timeout)
            self._expired(cid)
        self._arm()
