"""Every row of "Session states at the relay", by name, and what the rows leave open."""

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sideband.errors import SbrpErrorCode as Code
from sideband.relay.table import (
    ENDED_NOTICE_SECONDS,
    MAX_ENDED_NOTICES,
    CloseDaemon,
    DropReason,
    Session,
    SessionState,
    SessionTable,
    TellClient,
    TellDaemon,
)

SID = 7


@dataclass
class Stage:
    """A table with one daemon and one client, taken to the state a row starts from."""

    table: SessionTable[str]
    session: Session[str]

    @property
    def daemon(self):
        return self.session.daemon


@pytest.fixture
def paired() -> Stage:
    table: SessionTable[str] = SessionTable(grace_seconds=60, pending_seconds=10)
    assert table.daemon_connected("d", "link-1", can_resume=True, now=0) == []
    session = table.client_connected(SID, "d", "client")
    assert session is not None
    return Stage(table, session)


@pytest.fixture
def paused(paired: Stage) -> Stage:
    paired.table.daemon_lost("d", "link-1", now=100)
    return paired


@pytest.fixture
def pending(paused: Stage) -> Stage:
    paused.table.daemon_connected("d", "link-2", can_resume=True, now=110)
    return paused


def test_none_client_connects_daemon_online(paired: Stage) -> None:
    assert paired.session.state is SessionState.PAIRED
    assert paired.table.session(SID) is paired.session
    assert paired.table.next_deadline() is None


def test_none_client_connects_daemon_offline(paused: Stage) -> None:
    assert paused.table.client_connected(8, "d", "other") is None
    assert paused.table.client_connected(8, "never seen", "other") is None
    assert paused.table.session(8) is None


def test_paired_daemon_lost(paired: Stage) -> None:
    actions = paired.table.daemon_lost("d", "link-1", now=100)
    assert actions == [TellClient("client", SID, Code.SESSION_PAUSED)]
    assert paired.session.state is SessionState.PAUSED
    assert paired.table.next_deadline() == 160
    assert not paired.table.is_online("d")


def test_paired_signal_close(paired: Stage) -> None:
    actions = paired.table.signal_close(paired.daemon, SID, now=1)
    assert actions == [TellClient("client", SID, Code.SESSION_EXPIRED)]
    assert_closed(paired)


def test_paired_client_lost(paired: Stage) -> None:
    actions = paired.table.client_lost(paired.session)
    assert actions == [TellDaemon("link-1", SID, Code.SESSION_ENDED)]
    assert_closed(paired)


def test_paused_daemon_back_without_resume(paused: Stage) -> None:
    actions = paused.table.daemon_connected("d", "link-2", can_resume=False, now=110)
    assert actions == [TellClient("client", SID, Code.SESSION_EXPIRED)]
    assert_closed(paused)
    assert paused.table.is_online("d")


def test_paused_daemon_back_with_resume(paused: Stage) -> None:
    actions = paused.table.daemon_connected("d", "link-2", can_resume=True, now=110)
    assert actions == [
        TellClient("client", SID, Code.SESSION_PENDING),
        TellDaemon("link-2", SID, Code.SESSION_PENDING),
    ]
    assert paused.session.state is SessionState.PENDING


def test_paused_grace_over(paused: Stage) -> None:
    assert paused.table.expire(159.9) == []
    assert paused.table.expire(160) == [TellClient("client", SID, Code.SESSION_EXPIRED)]
    assert_closed(paused)
    assert paused.table.daemon("d") is None


def test_paused_client_lost(paused: Stage) -> None:
    assert paused.table.client_lost(paused.session) == []
    assert_closed(paused)


def test_pending_signal_ready(pending: Stage) -> None:
    actions = pending.table.signal_ready(pending.daemon, SID, now=111)
    assert actions == [TellClient("client", SID, Code.SESSION_RESUMED)]
    assert pending.session.state is SessionState.PAIRED
    assert pending.table.next_deadline() is None


def test_pending_signal_close(pending: Stage) -> None:
    assert pending.table.signal_close(pending.daemon, SID, now=111) == [TellClient("client", SID, Code.SESSION_EXPIRED)]
    assert_closed(pending)


def test_pending_client_lost(pending: Stage) -> None:
    assert pending.table.client_lost(pending.session) == [TellDaemon("link-2", SID, Code.SESSION_ENDED)]
    assert_closed(pending)


def test_pending_10_seconds_without_a_signal(pending: Stage) -> None:
    assert pending.table.next_deadline() == 120
    assert pending.table.expire(119.9) == []
    assert pending.table.expire(120) == [TellClient("client", SID, Code.SESSION_EXPIRED)]
    assert_closed(pending)


def test_pending_grace_over_before_the_10_seconds(paused: Stage) -> None:
    paused.table.daemon_connected("d", "link-2", can_resume=True, now=155)
    assert paused.table.next_deadline() == 160
    assert paused.table.expire(160) == [TellClient("client", SID, Code.SESSION_EXPIRED)]


def test_pending_data_from_the_daemon_is_dropped_and_counted(pending: Stage) -> None:
    pending.table.daemon_frame_dropped()
    assert pending.table.dropped == {DropReason.DAEMON_WHILE_PENDING: 1}
    assert pending.session.state is SessionState.PENDING


def test_client_frames_while_paused_or_pending_are_counted_apart(paused: Stage) -> None:
    paused.table.client_frame_dropped(paused.session)
    paused.table.daemon_connected("d", "link-2", can_resume=True, now=110)
    paused.table.client_frame_dropped(paused.session)
    assert paused.table.dropped == {DropReason.CLIENT_WHILE_PAUSED: 1, DropReason.CLIENT_WHILE_PENDING: 1}


@pytest.mark.parametrize("event", ["signal_ready", "signal_close", "frame_for_closed_session"])
def test_any_frame_for_a_session_that_is_not_open(paired: Stage, event: str) -> None:
    tell = getattr(paired.table, event)
    notice = [TellDaemon("link-1", 99, Code.SESSION_ENDED)]
    assert tell(paired.daemon, 99, now=10.0) == notice
    assert tell(paired.daemon, 99, now=10.0 + ENDED_NOTICE_SECONDS - 0.01) == []
    assert tell(paired.daemon, 99, now=10.0 + ENDED_NOTICE_SECONDS) == notice
    assert paired.table.dropped == {DropReason.SESSION_NOT_OPEN: 3}


def test_another_daemons_session_counts_as_not_open(paired: Stage) -> None:
    paired.table.daemon_connected("e", "link-e", can_resume=True, now=0)
    entry = paired.table.daemon("e")
    assert entry is not None
    assert paired.table.signal_close(entry, SID, now=1) == [TellDaemon("link-e", SID, Code.SESSION_ENDED)]
    assert paired.session.state is SessionState.PAIRED


def test_notices_of_closed_sessions_are_bounded(paired: Stage) -> None:
    answered = sum(
        bool(paired.table.frame_for_closed_session(paired.daemon, 1000 + n, now=5.0))
        for n in range(MAX_ENDED_NOTICES + 50)
    )
    assert answered == MAX_ENDED_NOTICES
    assert len(paired.daemon.ended_notices) == MAX_ENDED_NOTICES
    assert paired.table.frame_for_closed_session(paired.daemon, 5, now=6.0) != []
    assert len(paired.daemon.ended_notices) == 1


def test_signal_ready_for_a_paired_session_has_no_effect(paired: Stage) -> None:
    assert paired.table.signal_ready(paired.daemon, SID, now=1) == []
    assert paired.session.state is SessionState.PAIRED
    assert paired.table.dropped == {DropReason.SIGNAL_WITHOUT_EFFECT: 1}


def test_a_second_connection_of_the_daemon_replaces_the_first(paired: Stage) -> None:
    actions = paired.table.daemon_connected("d", "link-2", can_resume=True, now=5)
    assert actions == [
        CloseDaemon("link-1"),
        TellClient("client", SID, Code.SESSION_PAUSED),
        TellClient("client", SID, Code.SESSION_PENDING),
        TellDaemon("link-2", SID, Code.SESSION_PENDING),
    ]
    assert paired.table.daemon_lost("d", "link-1", now=6) == []
    assert paired.session.state is SessionState.PENDING
    assert paired.table.is_online("d")


def test_a_pending_session_whose_daemon_is_lost_again_keeps_its_first_grace(pending: Stage) -> None:
    assert pending.table.daemon_lost("d", "link-2", now=115) == [TellClient("client", SID, Code.SESSION_PAUSED)]
    assert pending.session.state is SessionState.PAUSED
    assert pending.table.next_deadline() == 160


def test_a_resumed_session_gets_a_full_grace_the_next_time(pending: Stage) -> None:
    pending.table.signal_ready(pending.daemon, SID, now=111)
    pending.table.daemon_lost("d", "link-2", now=500)
    assert pending.table.next_deadline() == 560


def test_end_session_tells_both_sides_but_no_daemon_that_is_away(paired: Stage) -> None:
    assert paired.table.end_session(paired.session) == [
        TellClient("client", SID, Code.SESSION_EXPIRED),
        TellDaemon("link-1", SID, Code.SESSION_ENDED),
    ]
    assert paired.table.end_session(paired.session) == []
    assert paired.table.client_lost(paired.session) == []


def test_end_session_while_paused(paused: Stage) -> None:
    assert paused.table.end_session(paused.session) == [TellClient("client", SID, Code.SESSION_EXPIRED)]


def test_a_session_id_in_use_is_refused(paired: Stage) -> None:
    with pytest.raises(ValueError, match="in use"):
        paired.table.client_connected(SID, "d", "thief")


def test_the_tokens_limit_of_sessions_else_the_default() -> None:
    table: SessionTable[str] = SessionTable(default_max_sessions=256)
    table.daemon_connected("a", "a-1", can_resume=False, now=0, max_sessions=3)
    table.daemon_connected("b", "b-1", can_resume=False, now=0)
    assert [entry.max_sessions for entry in table.daemons()] == [3, 256]


def test_a_flapping_daemon_leaves_no_trail_of_deadlines(paired: Stage) -> None:
    for n in range(1000):
        paired.table.daemon_connected("d", f"link-{n}", can_resume=True, now=n * 0.001)
    assert len(paired.table._deadlines) < 100
    assert paired.table.next_deadline() is not None


def assert_closed(stage: Stage) -> None:
    assert stage.session.state is SessionState.CLOSED
    assert stage.table.session(SID) is None
    assert stage.table.next_deadline() is None
    assert stage.table.count() == {}


class TableMachine(RuleBasedStateMachine):
    """Random events; whatever happens, the table and what it told the two sides agree."""

    def __init__(self) -> None:
        super().__init__()
        self.table: SessionTable[str] = SessionTable()
        self.now = 0.0
        self.links: dict[str, str] = {}
        self.told: dict[int, SessionState] = {}
        self.count = 0

    def apply(self, actions) -> None:
        for action in actions:
            if isinstance(action, TellClient):
                assert self.told[action.session_id] is not SessionState.CLOSED, "told after the end"
                self.told[action.session_id] = {
                    Code.SESSION_PAUSED: SessionState.PAUSED,
                    Code.SESSION_PENDING: SessionState.PENDING,
                    Code.SESSION_RESUMED: SessionState.PAIRED,
                    Code.SESSION_EXPIRED: SessionState.CLOSED,
                }[action.code]
            elif isinstance(action, TellDaemon):
                assert action.daemon in self.links.values(), "told a connection that is gone"

    @rule(daemon=st.sampled_from("ab"), can_resume=st.booleans())
    def daemon_connects(self, daemon: str, can_resume: bool) -> None:
        self.count += 1
        self.links[daemon] = f"{daemon}-{self.count}"
        self.apply(self.table.daemon_connected(daemon, self.links[daemon], can_resume=can_resume, now=self.now))

    @rule(daemon=st.sampled_from("ab"))
    def daemon_goes(self, daemon: str) -> None:
        link = self.links.pop(daemon, "none")
        self.apply(self.table.daemon_lost(daemon, link, now=self.now))

    @rule(daemon=st.sampled_from("ab"))
    def client_connects(self, daemon: str) -> None:
        self.count += 1
        session = self.table.client_connected(self.count, daemon, f"client-{self.count}")
        assert (session is not None) == (daemon in self.links)
        if session is not None:
            self.told[self.count] = SessionState.PAIRED

    @rule(data=st.data())
    def client_goes(self, data: st.DataObject) -> None:
        if sessions := list(self.table.sessions()):
            session = data.draw(st.sampled_from(sessions))
            self.apply(self.table.client_lost(session))
            self.told[session.session_id] = SessionState.CLOSED

    @rule(data=st.data(), ready=st.booleans())
    def daemon_signals(self, data: st.DataObject, ready: bool) -> None:
        if self.links and self.told:
            entry = self.table.daemon(data.draw(st.sampled_from(sorted(self.links))))
            assert entry is not None
            session_id = data.draw(st.sampled_from(sorted(self.told)))
            event = self.table.signal_ready if ready else self.table.signal_close
            self.apply(event(entry, session_id, now=self.now))

    @rule(seconds=st.floats(0, 80))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.apply(self.table.expire(self.now))

    @invariant()
    def both_sides_know_the_state(self) -> None:
        open_sessions = {session.session_id: session.state for session in self.table.sessions()}
        assert open_sessions == {sid: state for sid, state in self.told.items() if state is not SessionState.CLOSED}

    @invariant()
    def only_sessions_that_wait_have_a_deadline_and_none_is_overdue(self) -> None:
        for session in self.table.sessions():
            assert (session.deadline is None) == (session.state is SessionState.PAIRED)
            assert session.deadline is None or session.deadline > self.now - 1e-9
        assert {entry.daemon_id for entry in self.table.daemons() if entry.connection} == set(self.links)


TableMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTableMachine = TableMachine.TestCase
