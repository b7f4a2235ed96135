"""The tables "States" and "Policies" of docs/protocol/peer.md, row by row."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sideband.errors import ConfigError, PeerError, TransportError
from sideband.peer.lifecycle import (
    ConnectRequested,
    CycleEnded,
    DisconnectRequested,
    DropConnection,
    Event,
    FailCalls,
    Failed,
    Lifecycle,
    Notify,
    OpenSession,
    OpenTransport,
    PeerState,
    RetryDue,
    SendWaiting,
    SessionOpened,
    SessionPaused,
    SessionPending,
    SessionResumed,
    TransportOpened,
    WaitToRetry,
)
from sideband.peer.policies import ConnectionPolicy, EventPolicy, RetryPolicy, RpcPolicy

LOST = TransportError("abnormal_close", "cut")
RETRY = RetryPolicy(mode="on-error", jitter=0.0)
PAUSE = ConnectionPolicy(on_disconnect="pause")

PATHS: dict[PeerState, list[Event]] = {
    PeerState.IDLE: [],
    PeerState.CONNECTING: [ConnectRequested()],
    PeerState.NEGOTIATING: [ConnectRequested(), TransportOpened()],
    PeerState.ACTIVE: [ConnectRequested(), TransportOpened(), SessionOpened()],
    PeerState.PAUSED: [ConnectRequested(), TransportOpened(), SessionOpened(), SessionPaused()],
    PeerState.RECONNECTING: [ConnectRequested(), Failed(LOST, fatal=False)],
    PeerState.CLOSED: [DisconnectRequested()],
}
EVENTS: dict[str, Event] = {
    "connect": ConnectRequested(),
    "disconnect": DisconnectRequested(),
    "transport": TransportOpened(),
    "session": SessionOpened(),
    "pause": SessionPaused(),
    "pending": SessionPending(),
    "resume": SessionResumed(),
    "lost": Failed(LOST, fatal=False),
    "fatal": Failed(LOST, fatal=True),
    "retry": RetryDue(),
}
# What follows in each state; an event that is not named is illegal there.
LEGAL: dict[PeerState, dict[str, PeerState]] = {
    PeerState.IDLE: {"connect": PeerState.CONNECTING, "disconnect": PeerState.CLOSED},
    PeerState.CONNECTING: {
        "connect": PeerState.CONNECTING,
        "disconnect": PeerState.CLOSED,
        "transport": PeerState.NEGOTIATING,
        "lost": PeerState.RECONNECTING,
        "fatal": PeerState.CLOSED,
    },
    PeerState.NEGOTIATING: {
        "connect": PeerState.NEGOTIATING,
        "disconnect": PeerState.CLOSED,
        "session": PeerState.ACTIVE,
        "lost": PeerState.RECONNECTING,
        "fatal": PeerState.CLOSED,
    },
    PeerState.ACTIVE: {
        "disconnect": PeerState.CLOSED,
        "pause": PeerState.PAUSED,
        "lost": PeerState.RECONNECTING,
        "fatal": PeerState.CLOSED,
    },
    PeerState.PAUSED: {
        "disconnect": PeerState.CLOSED,
        "pause": PeerState.PAUSED,
        "pending": PeerState.PAUSED,
        "resume": PeerState.ACTIVE,
        "lost": PeerState.RECONNECTING,
        "fatal": PeerState.CLOSED,
    },
    PeerState.RECONNECTING: {"disconnect": PeerState.CLOSED, "retry": PeerState.CONNECTING},
    PeerState.CLOSED: {"disconnect": PeerState.CLOSED},
}


def machine_in(state: PeerState, connection: ConnectionPolicy | None = None, retry: RetryPolicy = RETRY) -> Lifecycle:
    machine = Lifecycle(connection or ConnectionPolicy(), retry, lambda: 0.5)
    for event in PATHS[state]:
        machine.handle(event)
    assert machine.state is state
    return machine


@pytest.mark.parametrize(("state", "name"), list(itertools.product(PeerState, EVENTS)))
def test_each_event_in_each_state(state: PeerState, name: str) -> None:
    machine = machine_in(state)
    following = LEGAL[state].get(name)
    if following is None:
        with pytest.raises(PeerError) as caught:
            machine.handle(EVENTS[name])
        assert caught.value.code == "invalid_state"
        assert machine.state is state
        return
    actions = machine.handle(EVENTS[name])
    assert machine.state is following
    changes = [action.arguments for action in actions if isinstance(action, Notify) and action.name == "state_change"]
    assert changes == ([(following, state)] if following is not state else [])
    if following is state:
        assert actions == []


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("state", [PeerState.ACTIVE, PeerState.PAUSED])
def test_an_accepted_peer_knows_active_paused_and_closed_only(state: PeerState, name: str) -> None:
    machine = Lifecycle(ConnectionPolicy(), RETRY, lambda: 0.5, accepted=True)
    assert machine.state is PeerState.ACTIVE
    if state is PeerState.PAUSED:
        machine.handle(SessionPaused())
    following = LEGAL[state].get(name)
    if following is None:
        with pytest.raises(PeerError, match="invalid_state"):
            machine.handle(EVENTS[name])
        return
    machine.handle(EVENTS[name])
    assert machine.state is (PeerState.CLOSED if following is PeerState.RECONNECTING else following)


def test_connected_is_active_or_paused_and_ready_is_active_only() -> None:
    assert [state.value for state in PeerState if state.connected] == ["active", "paused"]
    assert [state.value for state in PeerState if state.ready] == ["active"]
    assert PeerState.ACTIVE == "active"
    assert f"{PeerState.PAUSED}" == "paused"


def test_the_way_to_active() -> None:
    machine = machine_in(PeerState.IDLE)
    assert machine.handle(ConnectRequested()) == [
        Notify("state_change", (PeerState.CONNECTING, PeerState.IDLE)),
        OpenTransport(),
    ]
    assert machine.handle(TransportOpened()) == [
        Notify("state_change", (PeerState.NEGOTIATING, PeerState.CONNECTING)),
        OpenSession(),
    ]
    assert machine.handle(SessionOpened()) == [
        Notify("state_change", (PeerState.ACTIVE, PeerState.NEGOTIATING)),
        Notify("connected"),
        SendWaiting(),
    ]


def test_resume_is_not_connected_again() -> None:
    actions = machine_in(PeerState.PAUSED).handle(SessionResumed())
    assert actions == [
        Notify("state_change", (PeerState.ACTIVE, PeerState.PAUSED)),
        Notify("session_resumed"),
        SendWaiting(),
    ]


CUT = FailCalls(sent=True, waiting=False, code="not_connected")
ALL = FailCalls(sent=True, waiting=True, code="not_connected")


@pytest.mark.parametrize(
    ("policy", "state", "event", "expected"),
    [
        ("fail", PeerState.ACTIVE, "pause", [ALL]),
        ("fail", PeerState.ACTIVE, "lost", [ALL]),
        ("fail", PeerState.PAUSED, "lost", [ALL]),
        ("fail", PeerState.CONNECTING, "lost", [FailCalls(sent=False, waiting=True, code="not_connected")]),
        ("pause", PeerState.ACTIVE, "pause", []),
        ("pause", PeerState.ACTIVE, "lost", [CUT]),
        ("pause", PeerState.PAUSED, "lost", [CUT]),
        ("pause", PeerState.CONNECTING, "lost", []),
        ("pause", PeerState.ACTIVE, "fatal", [ALL]),
        ("fail", PeerState.ACTIVE, "fatal", [ALL]),
        ("pause", PeerState.PAUSED, "disconnect", [FailCalls(sent=True, waiting=True, code="peer_closed")]),
        ("fail", PeerState.ACTIVE, "disconnect", [FailCalls(sent=True, waiting=True, code="peer_closed")]),
    ],
)
def test_what_a_cut_does_to_calls(policy: str, state: PeerState, event: str, expected: list[FailCalls]) -> None:
    machine = machine_in(state, ConnectionPolicy(on_disconnect=policy))
    actions = machine.handle(EVENTS[event])
    assert [action for action in actions if isinstance(action, FailCalls)] == expected


def test_a_lost_session_is_retried_and_told() -> None:
    assert machine_in(PeerState.ACTIVE, PAUSE).handle(Failed(LOST, fatal=False)) == [
        DropConnection(),
        Notify("state_change", (PeerState.RECONNECTING, PeerState.ACTIVE)),
        CUT,
        Notify("disconnected", (LOST,)),
        Notify("error", (LOST,)),
        Notify("reconnecting", (1, 1.0)),
        WaitToRetry(1.0, 1),
    ]


def test_a_failed_attempt_was_never_connected() -> None:
    actions = machine_in(PeerState.NEGOTIATING).handle(Failed(LOST, fatal=False))
    assert Notify("disconnected", (LOST,)) not in actions
    assert Notify("error", (LOST,)) in actions


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (Failed(LOST, fatal=True), CycleEnded("failed", LOST)),
        (DisconnectRequested(), CycleEnded("aborted")),
    ],
)
def test_a_cycle_ends_by_failure_or_by_the_application(event: Event, outcome: CycleEnded) -> None:
    machine = machine_in(PeerState.RECONNECTING)
    assert machine.reconnect_cycle
    machine.handle(RetryDue())
    actions = machine.handle(event)
    assert [action for action in actions if isinstance(action, CycleEnded)] == [outcome]
    assert not machine.reconnect_cycle


def test_a_cycle_ends_by_an_active_session() -> None:
    machine = machine_in(PeerState.RECONNECTING)
    machine.handle(RetryDue())
    machine.handle(TransportOpened())
    assert CycleEnded("connected") in machine.handle(SessionOpened())
    assert not machine.reconnect_cycle


def test_without_a_retry_policy_the_first_error_closes() -> None:
    machine = machine_in(PeerState.CONNECTING, retry=RetryPolicy())
    actions = machine.handle(Failed(LOST, fatal=False))
    assert machine.state is PeerState.CLOSED
    assert machine.error is LOST
    assert actions == [
        DropConnection(),
        Notify("state_change", (PeerState.CLOSED, PeerState.CONNECTING)),
        ALL,
        Notify("error", (LOST,)),
    ]


def delays_until_closed(policy: RetryPolicy, limit: int) -> list[float]:
    machine = machine_in(PeerState.CONNECTING, retry=policy)
    delays: list[float] = []
    while len(delays) < limit:
        actions = machine.handle(Failed(LOST, fatal=False))
        waits = [action.delay for action in actions if isinstance(action, WaitToRetry)]
        if not waits:
            break
        delays += waits
        machine.handle(RetryDue())
    return delays


def test_the_delay_doubles_up_to_its_maximum() -> None:
    assert delays_until_closed(RETRY, 8) == [1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_max_attempts_counts_retries_not_the_first_try(limit: int) -> None:
    assert len(delays_until_closed(RetryPolicy(mode="on-error", max_attempts=limit), 100)) == limit


def test_the_count_starts_anew_on_active() -> None:
    machine = machine_in(PeerState.CONNECTING, retry=RetryPolicy(mode="on-error", jitter=0, max_attempts=2))
    for _ in range(3):
        assert WaitToRetry(1.0, 1) in machine.handle(Failed(LOST, fatal=False))
        machine.handle(RetryDue())
        assert WaitToRetry(2.0, 2) in machine.handle(Failed(LOST, fatal=False))
        machine.handle(RetryDue())
        machine.handle(TransportOpened())
        machine.handle(SessionOpened())


@pytest.mark.parametrize(("asked", "waited"), [(0.2, 1.0), (7.0, 7.0), (90.0, 90.0), (None, 1.0)])
def test_the_other_side_may_ask_for_a_longer_wait(asked: float | None, waited: float) -> None:
    actions = machine_in(PeerState.CONNECTING).handle(Failed(LOST, fatal=False, retry_after=asked))
    assert WaitToRetry(waited, 1) in actions


@given(st.integers(0, 5_000), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_jitter_stays_within_its_share(retries: int, fraction: float, jitter: float) -> None:
    policy = RetryPolicy(mode="on-error", jitter=jitter)
    plain = RetryPolicy(mode="on-error", jitter=0).delay(retries, fraction)
    assert plain == min(2.0 ** min(retries, 10), 30.0)
    assert plain * (1 - jitter) <= policy.delay(retries, fraction) <= plain * (1 + jitter)


def test_the_defaults_of_the_page() -> None:
    assert ConnectionPolicy().on_disconnect == "fail"
    assert RpcPolicy().default_timeout == 10
    assert RpcPolicy().disconnect_buffer_limit == 64 * 1024
    assert RpcPolicy().max_running_handlers == 1_024
    assert RpcPolicy().max_waiting_requests == 16_384
    assert RpcPolicy().max_waiting_bytes == 16 * 1024 * 1024
    assert EventPolicy().max_buffered_events == 128
    retry = RetryPolicy()
    assert (retry.mode, retry.initial, retry.max, retry.max_attempts, retry.jitter) == ("never", 1, 30, 0, 0.2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ConnectionPolicy(on_disconnect="ignore"),
        lambda: RpcPolicy(default_timeout=0),
        lambda: RpcPolicy(default_timeout=float("nan")),
        lambda: RpcPolicy(max_running_handlers=0),
        lambda: RpcPolicy(disconnect_buffer_limit=-1),
        lambda: EventPolicy(subscriber_queue=0),
        lambda: EventPolicy(max_buffered_events=-1),
        lambda: RetryPolicy(mode="always"),
        lambda: RetryPolicy(initial=-1),
        lambda: RetryPolicy(initial=5, max=4),
        lambda: RetryPolicy(jitter=1.5),
        lambda: RetryPolicy(max_attempts=-1),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(make: object) -> None:
    with pytest.raises(ConfigError):
        make()  # type: ignore[operator]  # each entry is a factory


class AnyOrder(RuleBasedStateMachine):
    """Whatever comes in whatever order: the state is the table's, and cycles open and close in pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Lifecycle(PAUSE, RetryPolicy(mode="on-error", max_attempts=3), lambda: 0.5)
        self.cycles_open = 0

    @rule(name=st.sampled_from(sorted(EVENTS)))
    def event(self, name: str) -> None:
        before = self.machine.state
        following = LEGAL[before].get(name)
        if following is None:
            with pytest.raises(PeerError):
                self.machine.handle(EVENTS[name])
            return
        was_in_cycle = self.machine.reconnect_cycle
        actions = self.machine.handle(EVENTS[name])
        if following is PeerState.RECONNECTING and self.machine.state is PeerState.CLOSED:
            following = PeerState.CLOSED  # the attempts ran out
        assert self.machine.state is following
        ended = [action for action in actions if isinstance(action, CycleEnded)]
        assert len(ended) == int(was_in_cycle and following in (PeerState.ACTIVE, PeerState.CLOSED))

    @invariant()
    def a_cycle_is_open_only_while_trying(self) -> None:
        if self.machine.reconnect_cycle:
            assert self.machine.state in (PeerState.RECONNECTING, PeerState.CONNECTING, PeerState.NEGOTIATING)


TestAnyOrder = AnyOrder.TestCase
