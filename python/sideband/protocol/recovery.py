"""Pause and resume: the exchange of states, repeats, gaps, and what is given up (docs/protocol/sbp.md, "resume/1")."""

from __future__ import annotations

from sideband.errors import SbpError
from sideband.protocol.events import CallsLost, Event, EventsLost, ResumeCompleted, ResumeFailed
from sideband.protocol.link import Link
from sideband.protocol.resume import GAP, STATE, decode_resume

__all__ = ["Recovery"]


class Recovery:
    """Brings one connection over a pause.

    Attributes:
        gap_due: the number that a gap frame has to name, or None.
    """

    __slots__ = ("_early_state", "_gap_calls", "_gap_limit", "_gap_quiet", "_link", "gap_due")

    def __init__(self, link: Link) -> None:
        self._link = link
        self.gap_due: int | None = None
        self._early_state: int | None = None
        self._gap_calls: frozenset[bytes] = frozenset()
        self._gap_quiet = 0.0
        self._gap_limit = 0.0

    @property
    def settling(self) -> bool:
        """Whether repeats after a gap are still awaited, so that `heard` has to be called."""
        return bool(self._gap_calls)

    def heard(self) -> None:
        """Something covered came: what was repeated may not be over."""
        self._gap_quiet = self._link.clock() + self._link.limits.gap_quiet

    def asking(self) -> None:
        """Our state leaves now: only calls that had left before it can be hit by a gap in the answer."""
        link = self._link
        link.calls_at_cut = frozenset(link.calls - link.outbox.waiting_ids())

    def pause(self) -> None:
        """See `SbpConnection.pause`."""
        link = self._link
        if link.paused or link.closed:
            return
        link.paused = True
        link.awaiting_state = None
        link.outbox.blocked = True
        link.outbox.cut()
        link.reassembler.clear()
        link.calls_at_cut = frozenset(link.calls - link.outbox.waiting_ids())
        self._early_state = self.gap_due = None

    def resumed(self) -> list[Event]:
        """See `SbpConnection.resumed`."""
        link = self._link
        if link.closed:
            return []
        if not link.paused:
            self.pause()
        link.paused = False
        if link.remote is None:
            link.shut()
            return [ResumeFailed("the session was cut before its handshake was finished")]
        if link.order is None:
            link.outbox.blocked = False
            return self._lose_calls(link.calls_at_cut)
        link.order.state_due = True
        link.awaiting_state = link.clock() + link.limits.state_timeout
        if self._early_state is None:
            return []
        try:
            return self._state(self._early_state)
        except SbpError as error:
            return link.fail(error.code, "resume/1: the state names what has not left")

    def message(self, data: bytes) -> list[Event]:
        """Take in an ack, a state or a gap.

        Raises:
            SbpError: 1000, fatal, when it is malformed or names what has not left.
        """
        kind, number = decode_resume(data)
        if kind == STATE:
            return self._state(number)
        if kind == GAP:
            return self._gap(number)
        self._link.outbox.acknowledged(number)
        return []

    def next_deadline(self) -> float | None:
        """When `on_deadline` has something to do, or None."""
        link = self._link
        if link.closed:
            return None
        found = link.awaiting_state
        if link.order is not None and not link.paused:
            at = link.order.deadline
            if at is not None and (found is None or at < found):
                found = at
        if link.outbox.held_since is not None:
            at = link.outbox.held_since + link.limits.window_stall
            if found is None or at < found:
                found = at
        if self._gap_calls and not link.paused:
            at = min(self._gap_quiet, self._gap_limit)
            if found is None or at < found:
                found = at
        return found

    def on_deadline(self, now: float) -> list[Event]:
        """See `SbpConnection.on_deadline`."""
        link = self._link
        if link.closed:
            return []
        if link.awaiting_state is not None and now >= link.awaiting_state:
            link.shut()
            return [ResumeFailed(f"the other side's state did not come within {link.limits.state_timeout:g} s")]
        if link.order is not None and not link.paused:
            link.order.on_deadline(now)
        outbox = link.outbox
        if outbox.held_since is not None and now - outbox.held_since >= link.limits.window_stall:
            outbox.rolling = True
            outbox.held_since = None
            link.note("window rolls", "the other side acknowledges nothing; a cut now would lose messages")
        if self._gap_calls and not link.paused and now >= min(self._gap_quiet, self._gap_limit):
            lost, self._gap_calls = self._gap_calls, frozenset()
            return self._lose_calls(lost)
        return []

    def _state(self, number: int) -> list[Event]:
        link = self._link
        if link.paused:
            self._early_state = number
            return []
        window = link.outbox.window
        if window is None:
            return []
        events: list[Event] = []
        if number < window.base:
            self.gap_due = window.base
            events = self._lose_sent(number)
        link.outbox.acknowledged(max(number, window.base))
        awaited = link.awaiting_state is not None
        # Without a cut a state asks for what went missing; while that is under way another one adds nothing.
        repeated = link.outbox.repeat() if awaited or not link.outbox.repeating else 0
        if awaited:
            link.awaiting_state = None
            link.outbox.blocked = False
            events.append(ResumeCompleted(repeated))
        return events

    def _gap(self, number: int) -> list[Event]:
        link = self._link
        if link.order is None:
            return []
        gone = link.order.skip_to(number)
        if not gone:
            return []
        now = link.clock()
        # An answer may be among the repeats that follow now; whatever they leave open was lost.
        self._gap_calls |= link.calls_at_cut & link.calls
        self._gap_quiet = now + link.limits.gap_quiet
        self._gap_limit = now + link.limits.gap_timeout
        return [EventsLost(gone, sent=False)]

    def _lose_sent(self, number: int) -> list[Event]:
        link = self._link
        window = link.outbox.window
        lost = [begin for at, begin in window.dropped if at >= number] if window is not None else []
        events = sum(begin[_SUBJECT] == _EVENT for begin in lost)
        found: list[Event] = [EventsLost(events, sent=True)] if events else []
        return found + self._lose_calls({begin[2:18] for begin in lost})

    def _lose_calls(self, cids: set[bytes] | frozenset[bytes]) -> list[Event]:
        lost = tuple(self._link.calls.intersection(cids))
        self._link.calls.difference_update(lost)
        return [CallsLost(lost)] if lost else []


_SUBJECT = slice(18, 27)
_EVENT = b"\x05\0\0\0event"
