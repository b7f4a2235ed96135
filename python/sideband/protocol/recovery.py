"""Pause and resume: the exchange of states, repeats, gaps, and what is given up (docs/protocol/sbp.md, "resume/1")."""

from __future__ import annotations

from sideband.errors import SbpError
from sideband.protocol.events import CallsLost, Event, EventsLost, ResumeCompleted, ResumeFailed
from sideband.protocol.resume import GAP, STATE, decode_resume
from sideband.protocol.state import ConnectionState

__all__ = ["Recovery"]


class Recovery:
    """Brings one connection over a pause.

    Attributes:
        gap_due: the number that a gap frame has to name, or None.
    """

    __slots__ = ("_early_state", "_gap_calls", "_gap_limit", "_gap_quiet", "_state", "gap_due")

    def __init__(self, state: ConnectionState) -> None:
        self._state = state
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
        self._gap_quiet = self._state.clock() + self._state.limits.gap_quiet

    def asking(self) -> None:
        """Our state leaves now: only calls that had left before it can be hit by a gap in the answer."""
        state = self._state
        state.calls_at_cut = frozenset(state.calls - state.outbox.waiting_ids())

    def pause(self) -> None:
        """See `SbpConnection.pause`."""
        state = self._state
        if state.paused or state.closed:
            return
        state.paused = True
        state.awaiting_state = None
        state.outbox.blocked = True
        state.outbox.cut()
        state.reassembler.clear()
        state.calls_at_cut = frozenset(state.calls - state.outbox.waiting_ids())
        self._early_state = self.gap_due = None

    def resumed(self) -> list[Event]:
        """See `SbpConnection.resumed`."""
        state = self._state
        if state.closed:
            return []
        if not state.paused:
            self.pause()
        state.paused = False
        if state.remote is None:
            state.shut()
            return [ResumeFailed("the session was cut before its handshake was finished")]
        if state.order is None:
            state.outbox.blocked = False
            return self._lose_calls(state.calls_at_cut)
        state.order.state_due = True
        state.awaiting_state = state.clock() + state.limits.state_timeout
        if self._early_state is None:
            return []
        try:
            return self._take_state(self._early_state)
        except SbpError as error:
            return state.fail(error.code, "resume/1: the state names what has not left")

    def message(self, data: bytes) -> list[Event]:
        """Take in an ack, a state or a gap.

        Raises:
            SbpError: 1000, fatal, when it is malformed or names what has not left.
        """
        kind, number = decode_resume(data)
        if kind == STATE:
            return self._take_state(number)
        if kind == GAP:
            return self._take_gap(number)
        self._state.outbox.acknowledged(number)
        return []

    def next_deadline(self) -> float | None:
        """When `on_deadline` has something to do, or None."""
        state = self._state
        if state.closed:
            return None
        found = state.awaiting_state
        if state.order is not None and not state.paused:
            at = state.order.deadline
            if at is not None and (found is None or at < found):
                found = at
        if state.outbox.held_since is not None:
            at = state.outbox.held_since + state.limits.window_stall
            if found is None or at < found:
                found = at
        if self._gap_calls and not state.paused:
            at = min(self._gap_quiet, self._gap_limit)
            if found is None or at < found:
                found = at
        return found

    def on_deadline(self, now: float) -> list[Event]:
        """See `SbpConnection.on_deadline`."""
        state = self._state
        if state.closed:
            return []
        if state.awaiting_state is not None and now >= state.awaiting_state:
            state.shut()
            return [ResumeFailed(f"the other side's state did not come within {state.limits.state_timeout:g} s")]
        if state.order is not None and not state.paused:
            state.order.on_deadline(now)
        outbox = state.outbox
        if outbox.held_since is not None and now - outbox.held_since >= state.limits.window_stall:
            outbox.rolling = True
            outbox.held_since = None
            state.note("window rolls", "the other side acknowledges nothing; a cut now would lose messages")
        if self._gap_calls and not state.paused and now >= min(self._gap_quiet, self._gap_limit):
            lost, self._gap_calls = self._gap_calls, frozenset()
            return self._lose_calls(lost)
        return []

    def _take_state(self, number: int) -> list[Event]:
        state = self._state
        if state.paused:
            self._early_state = number
            return []
        window = state.outbox.window
        if window is None:
            return []
        events: list[Event] = []
        if number < window.base:
            self.gap_due = window.base
            events = self._lose_sent(number)
        state.outbox.acknowledged(max(number, window.base))
        awaited = state.awaiting_state is not None
        # Without a cut a state asks for what went missing; while that is under way another one adds nothing.
        repeated = state.outbox.repeat() if awaited or not state.outbox.repeating else 0
        if awaited:
            state.awaiting_state = None
            state.outbox.blocked = False
            events.append(ResumeCompleted(repeated))
        return events

    def _take_gap(self, number: int) -> list[Event]:
        state = self._state
        if state.order is None:
            return []
        gone = state.order.skip_to(number)
        if not gone:
            return []
        now = state.clock()
        # An answer may be among the repeats that follow now; whatever they leave open was lost.
        self._gap_calls |= state.calls_at_cut & state.calls
        self._gap_quiet = now + state.limits.gap_quiet
        self._gap_limit = now + state.limits.gap_timeout
        return [EventsLost(gone, sent=False)]

    def _lose_sent(self, number: int) -> list[Event]:
        state = self._state
        window = state.outbox.window
        lost = [] if window is None else window.dropped_from(number)
        events = sum(begin[_SUBJECT] == _EVENT for begin in lost)
        found: list[Event] = [EventsLost(events, sent=True)] if events else []
        return found + self._lose_calls({begin[2:18] for begin in lost})

    def _lose_calls(self, cids: set[bytes] | frozenset[bytes]) -> list[Event]:
        lost = tuple(self._state.calls.intersection(cids))
        self._state.calls.difference_update(lost)
        return [CallsLost(lost)] if lost else []


_SUBJECT = slice(18, 27)
_EVENT = b"\x05\0\0\0event"
