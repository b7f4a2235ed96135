"""The lifecycle of a peer as a pure state machine: events in, actions out.

Implements docs/protocol/peer.md, "States" and the table of "Policies". It opens nothing, waits for nothing and reads no
clock; `Peer` performs the actions and reports what became of them as the next event.

    idle -> connecting -> negotiating -> active <-> paused
    connecting, negotiating, active, paused -> reconnecting -> connecting
    any -> closed, which is final

A peer that a server accepted begins active and knows active, paused and closed only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from sideband.errors import PeerError, PeerErrorCode
from sideband.peer.policies import ConnectionPolicy, RetryPolicy

__all__ = [
    "Action",
    "ConnectRequested",
    "CycleEnded",
    "DisconnectRequested",
    "DropConnection",
    "Event",
    "FailCalls",
    "Failed",
    "Lifecycle",
    "Notify",
    "NotifyName",
    "OpenSession",
    "OpenTransport",
    "PeerState",
    "RetryDue",
    "SendWaiting",
    "SessionOpened",
    "SessionPaused",
    "SessionPending",
    "SessionResumed",
    "TransportOpened",
    "WaitToRetry",
]


class PeerState(str, Enum):  # noqa: UP042  (comparing with plain strings is part of the API; StrEnum changes nothing)
    """The states of a peer (docs/protocol/peer.md, "States")."""

    IDLE = "idle"
    CONNECTING = "connecting"
    NEGOTIATING = "negotiating"
    ACTIVE = "active"
    PAUSED = "paused"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"

    def __str__(self) -> str:
        return self.value

    @property
    def connected(self) -> bool:
        """Whether a session stands: active or paused."""
        return self in (PeerState.ACTIVE, PeerState.PAUSED)

    @property
    def ready(self) -> bool:
        """Whether frames can leave: active only."""
        return self is PeerState.ACTIVE


# Events


@dataclass(frozen=True, slots=True)
class ConnectRequested:
    """The application asked for a session."""


@dataclass(frozen=True, slots=True)
class DisconnectRequested:
    """The application ended the peer."""


@dataclass(frozen=True, slots=True)
class TransportOpened:
    """The transport connection stands."""


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The negotiator and the SBP handshake have finished."""


@dataclass(frozen=True, slots=True)
class SessionPaused:
    """The other end's connection to the relay is lost; the session is kept."""


@dataclass(frozen=True, slots=True)
class SessionPending:
    """The other end is back at the relay and has yet to say whether it still knows the session."""


@dataclass(frozen=True, slots=True)
class SessionResumed:
    """The session goes on with the same keys."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed, or the session was lost.

    Attributes:
        error: what happened.
        fatal: whether trying again is pointless or forbidden.
        retry_after: seconds the other side asked to wait, or None.
        orderly: whether the other side merely said goodbye, which is no `error` event.
    """

    error: BaseException
    fatal: bool
    retry_after: float | None = None
    orderly: bool = False


@dataclass(frozen=True, slots=True)
class RetryDue:
    """The delay that `WaitToRetry` asked for is over."""


Event: TypeAlias = (
    ConnectRequested
    | DisconnectRequested
    | TransportOpened
    | SessionOpened
    | SessionPaused
    | SessionPending
    | SessionResumed
    | Failed
    | RetryDue
)

# Actions

NotifyName: TypeAlias = Literal[
    "state_change", "connected", "disconnected", "reconnecting", "session_paused", "session_resumed", "error"
]


@dataclass(frozen=True, slots=True)
class OpenTransport:
    """Open a transport connection, with fresh connection parameters."""


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Negotiate a session on the transport connection."""


@dataclass(frozen=True, slots=True)
class DropConnection:
    """Close the transport connection, if there is one."""


@dataclass(frozen=True, slots=True)
class WaitToRetry:
    """Report `RetryDue` after `delay` seconds; `attempt` counts the retries in a row from 1."""

    delay: float
    attempt: int


@dataclass(frozen=True, slots=True)
class FailCalls:
    """Fail calls with `code`: those already sent, those still waiting to be sent, or both."""

    sent: bool
    waiting: bool
    code: PeerErrorCode


@dataclass(frozen=True, slots=True)
class SendWaiting:
    """Send the calls and events that waited for an active session."""


@dataclass(frozen=True, slots=True)
class CycleEnded:
    """A reconnect cycle is over: connected, aborted by the application, or failed with `error`."""

    outcome: Literal["connected", "aborted", "failed"]
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the application, with the arguments of that event."""

    name: NotifyName
    arguments: tuple[object, ...] = ()


Action: TypeAlias = (
    OpenTransport | OpenSession | DropConnection | WaitToRetry | FailCalls | SendWaiting | CycleEnded | Notify
)


class Lifecycle:
    """One peer's state, and what each event makes of it.

    Args:
        connection: what a cut does to calls.
        retry: whether and when to try again.
        random: returns a number from 0 up to 1, for the jitter.
        accepted: True for a peer that a server accepted: it begins active and is closed by any loss.
    """

    def __init__(
        self,
        connection: ConnectionPolicy,
        retry: RetryPolicy,
        random: Callable[[], float],
        *,
        accepted: bool = False,
    ) -> None:
        self.state = PeerState.ACTIVE if accepted else PeerState.IDLE
        self.error: BaseException | None = None
        self.reconnect_cycle = False
        self._on_disconnect = connection.on_disconnect
        self._retry = RetryPolicy() if accepted else retry
        self._random = random
        self._retries = 0

    def handle(self, event: Event) -> list[Action]:
        """Take one event and return what to do, in order.

        Raises:
            PeerError: `invalid_state` when the event makes no sense in this state; nothing has changed then.
        """
        match event:
            case DisconnectRequested():
                return self._disconnect()
            case ConnectRequested():
                return self._connect()
            case TransportOpened():
                self._expect(event, PeerState.CONNECTING)
                return [*self._enter(PeerState.NEGOTIATING), OpenSession()]
            case SessionOpened():
                self._expect(event, PeerState.NEGOTIATING)
                return self._opened()
            case SessionPaused():
                return self._paused(event)
            case SessionPending():
                self._expect(event, PeerState.PAUSED)
                return []
            case SessionResumed():
                self._expect(event, PeerState.PAUSED)
                return [*self._enter(PeerState.ACTIVE), Notify("session_resumed"), SendWaiting()]
            case Failed():
                self._expect(event, PeerState.CONNECTING, PeerState.NEGOTIATING, PeerState.ACTIVE, PeerState.PAUSED)
                return self._failed(event)
            case RetryDue():
                self._expect(event, PeerState.RECONNECTING)
                return [*self._enter(PeerState.CONNECTING), OpenTransport()]

    def _connect(self) -> list[Action]:
        if self.state in (PeerState.CONNECTING, PeerState.NEGOTIATING):
            return []
        self._expect(ConnectRequested(), PeerState.IDLE)
        return [*self._enter(PeerState.CONNECTING), OpenTransport()]

    def _opened(self) -> list[Action]:
        self._retries = 0
        self.error = None
        actions = [*self._enter(PeerState.ACTIVE), Notify("connected")]
        if self.reconnect_cycle:
            self.reconnect_cycle = False
            actions.append(CycleEnded("connected"))
        return [*actions, SendWaiting()]

    def _paused(self, event: Event) -> list[Action]:
        if self.state is PeerState.PAUSED:
            return []  # the other end came back and was lost again before it resumed
        self._expect(event, PeerState.ACTIVE)
        actions = self._enter(PeerState.PAUSED)
        if self._on_disconnect == "fail":
            actions.append(FailCalls(sent=True, waiting=True, code="not_connected"))
        return [*actions, Notify("session_paused")]

    def _failed(self, event: Failed) -> list[Action]:
        self.error = event.error
        told = () if event.orderly else (Notify("error", (event.error,)),)
        if event.fatal or not self._retry.allows(self._retries):
            lost = FailCalls(sent=True, waiting=True, code="not_connected")
            return self._close(lost, "failed", event.error, told)
        delay = self._retry.delay(self._retries, self._random())
        if event.retry_after is not None:
            delay = max(delay, event.retry_after)
        self._retries += 1
        was_connected = self.state.connected
        self.reconnect_cycle = True
        actions: list[Action] = [DropConnection(), *self._enter(PeerState.RECONNECTING)]
        waiting = self._on_disconnect == "fail"
        if was_connected or waiting:
            actions.append(FailCalls(sent=was_connected, waiting=waiting, code="not_connected"))
        if was_connected:
            actions.append(Notify("disconnected", (event.error,)))
        actions += [
            *told,
            Notify("reconnecting", (self._retries, delay)),
            WaitToRetry(delay, self._retries),
        ]
        return actions

    def _disconnect(self) -> list[Action]:
        if self.state is PeerState.CLOSED:
            return []
        return self._close(FailCalls(sent=True, waiting=True, code="peer_closed"), "aborted", None, ())

    def _close(
        self,
        calls: FailCalls,
        outcome: Literal["aborted", "failed"],
        error: BaseException | None,
        last: Iterable[Notify],
    ) -> list[Action]:
        was_connected = self.state.connected
        actions: list[Action] = [DropConnection(), *self._enter(PeerState.CLOSED), calls]
        if was_connected:
            actions.append(Notify("disconnected", (error,)))
        if self.reconnect_cycle:
            self.reconnect_cycle = False
            actions.append(CycleEnded(outcome, error))
        return [*actions, *last]

    def _enter(self, state: PeerState) -> list[Action]:
        previous, self.state = self.state, state
        return [Notify("state_change", (state, previous))]

    def _expect(self, event: Event, *states: PeerState) -> None:
        if self.state not in states:
            raise PeerError(
                "invalid_state",
                f"{type(event).__name__} is possible while {' or '.join(states)}, and the peer is {self.state}",
                details={"state": self.state.value},
            )
