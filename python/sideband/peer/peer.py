"""A peer: one end of a session, with its calls and events (docs/protocol/peer.md)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, overload

from sideband._native import compute_fingerprint
from sideband.errors import PeerError
from sideband.peer.events import Events
from sideband.peer.lifecycle import (
    Action,
    ConnectRequested,
    CycleEnded,
    DisconnectRequested,
    DropConnection,
    Event,
    FailCalls,
    Failed,
    Lifecycle,
    Notify,
    PeerState,
    SendWaiting,
    SessionOpened,
    WaitToRetry,
)
from sideband.peer.listeners import Listeners, PeerEvent
from sideband.peer.options import PeerOptions
from sideband.peer.remote import RemoteSide
from sideband.peer.rpc import Rpc
from sideband.peer.streams import PeerStreams, Stream, StreamHandler, StreamKeeper
from sideband.peer.vendor_messages import VendorMessages
from sideband.peer.waiting import PeerWaits, ReconnectCycle, ReconnectResult
from sideband.protocol import events as sbp

if TYPE_CHECKING:
    from sideband.peer.identity_token import PeerIdentity
    from sideband.peer.link import LinkInfo
    from sideband.peer.session import Session
    from sideband.protocol.handshake import HandshakePayload

__all__ = ["Dial", "Peer"]

_log = logging.getLogger("sideband.peer")

H = TypeVar("H", bound=StreamHandler)


class Dial(Protocol):
    """What connects a peer, again and again."""

    async def run(self, peer: Peer) -> None:
        """Make attempts until the peer is closed."""


class Peer(RemoteSide):
    """One end of a session, over whatever carries it. `create_peer` makes one; a server hands over those it accepted.

    Attributes:
        id: what this side calls itself.
        rpc: calls both ways.
        events: events both ways.
    """

    def __init__(self, options: PeerOptions, dial: Dial | None = None, keeper: StreamKeeper | None = None) -> None:
        super().__init__()
        self.id = options.peer_id
        self.rpc = Rpc(options.rpc, options.connection, options.request_budget, options.clock, self._wake)
        self.events = Events(options.events, self._wake, self.report)
        self._streams = PeerStreams(options, self.report, keeper)
        self._options = options
        self._dial = dial
        self._machine = Lifecycle(options.connection, options.retry, options.random, accepted=dial is None)
        self._listeners = Listeners(self.report)
        self._waits = PeerWaits()
        self._task: asyncio.Task[None] | None = None
        self._farewell = ""
        self._cancelled_work: set[asyncio.Task[None]] = set()
        self._vendor = VendorMessages(self.report)

    # State

    @property
    def state(self) -> PeerState:
        """Where the peer stands; equal to its name, such as "active"."""
        return self._machine.state

    @property
    def connected(self) -> bool:
        """Whether a session stands: active or paused."""
        return self.state.connected

    @property
    def ready(self) -> bool:
        """Whether the session is active, so that frames can leave."""
        return self.state.ready

    @property
    def closed(self) -> bool:
        """Whether the peer is closed for good."""
        return self.state is PeerState.CLOSED

    @property
    def error(self) -> BaseException | None:
        """What ended the last attempt or session; None while all is well."""
        return self._machine.error

    @property
    def reconnecting(self) -> ReconnectCycle | None:
        """The reconnect cycle under way, to be awaited for its `ReconnectResult`; None outside one."""
        return self._waits.cycle

    # Connecting

    def start(self) -> None:
        """Begin to connect and return at once; `when_ready` waits.

        Raises:
            PeerError: `invalid_state` unless the peer is idle, connecting or negotiating.
        """
        self.apply(ConnectRequested())
        if self._task is None and self._dial is not None:
            self._task = asyncio.get_running_loop().create_task(self._dial.run(self), name=f"sideband peer {self.id}")

    async def connect(self) -> None:
        """Connect, and return once the session is active. While an attempt is under way, wait for that one.

        When the attempt fails its error is raised here; under `RetryPolicy(mode="on-error")` the peer goes on trying
        after a retryable one, and `when_ready` or `reconnecting` wait for what comes of it.

        Raises:
            PeerError: `invalid_state` when the peer is active, paused, reconnecting or closed; `peer_closed` when it
                was disconnected meanwhile.
            SidebandError: the attempt failed.
        """
        self.start()
        await self._waits.attempt.wait()

    async def disconnect(self) -> None:
        """Close the peer for good: calls fail with `peer_closed`, the other side is told. Idempotent."""
        if not self.closed:
            self.leave("")
            if self._task is not None and self._task is not asyncio.current_task():
                self._task.cancel()
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait((self._task,))
        await self.finish_work()

    async def when_ready(self) -> None:
        """Return once the session is active, at once when it is. Waits through pauses and retries.

        Raises:
            PeerError: `peer_closed` when the peer is closed, with what closed it as its cause.
            SidebandError: a fatal error closed the peer while this waited; it is raised itself.
        """
        if self.closed:
            raise PeerError("peer_closed", "the peer is closed") from self.error
        await self._waits.ready.wait()

    async def __aenter__(self) -> Self:
        if self.state is PeerState.IDLE:
            self.start()
        try:
            await self.when_ready()
        except BaseException:
            await self.disconnect()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    def on(self, event: PeerEvent, function: Callable[..., Any]) -> Callable[[], None]:
        """Call a function, sync or async, when something happens to the connection.

        The events and their arguments: state_change(state, previous), connected() (not on a resume),
        disconnected(error or None), reconnecting(attempt, delay in seconds), session_paused(), session_resumed(),
        path_changed(path), identity_changed(expected, received) with fingerprints, error(error). Events of the other
        side are `peer.events.on`.

        Returns:
            A function that takes the listener away again.

        Raises:
            ConfigError: there is no such event.
        """
        return self._listeners.add(event, function)

    # Streams

    async def open_stream(
        self, name: str, metadata: Mapping[str, Any] | None = None, *, digest: bool = False
    ) -> Stream:
        """Open a byte stream, and return it once the other side has taken it.

        Args:
            name: what it is for, 1 to 1,024 bytes of UTF-8; the other side has a handler for it.
            metadata: goes along: MessagePack values under string keys, at most 8 KiB.
            digest: end both directions with a BLAKE3 digest that the receiver checks. Where the session is encrypted
                each byte is protected anyway.

        Raises:
            PeerError: `stream_reset` when the other side refuses; `not_connected` without a session; `peer_closed`;
                `invalid_state` when the other side does not speak stream/1; `buffer_overflow` when 1,024 are open;
                `message_too_large` for the metadata.
            ValueError: for a name of another size, or metadata that MessagePack cannot carry.
        """
        return await self._streams.open(name, metadata, digest=digest)

    @overload
    def stream_handler(self, name: str, function: StreamHandler) -> Callable[[], None]: ...

    @overload
    def stream_handler(self, name: str) -> Callable[[H], H]: ...

    def stream_handler(self, name: str, function: StreamHandler | None = None) -> Callable[..., Any]:
        """Hand each stream of this name that the other side opens to an `async def`; `@peer.stream_handler("log")`.

        It runs in a task of its own, and at its end the stream is ended: what it wrote is delivered first, and what the
        other side sends after that resets the stream. When it raises, the stream is reset with code 2000 and
        `on_unhandled_error` is told. Streams of other names are refused.

        Returns:
            A function that takes the handler away again; as a decorator, the function itself.

        Raises:
            PeerError: `invalid_state` when the name has a handler.
        """
        return self._streams.handle(name) if function is None else self._streams.handle(name, function)

    # Vendor messages

    def send(self, subject: str, data: bytes) -> None:
        """Send a vendor message, unparsed, on a subject that begins with `app/` but not with `app/sb.`. Never waits.

        Raises:
            PeerError: `session_paused`; `not_connected` without a session; `peer_closed`; `message_too_large`;
                `buffer_overflow` when 64 MiB wait already.
            SbpError: 1000 for another subject.
        """
        if self.state is PeerState.PAUSED:
            raise PeerError("session_paused", "the session is paused; send again once it has resumed")
        if self.closed:
            raise PeerError("peer_closed", "the peer is closed")
        if self._session is None or not self.ready:
            raise PeerError("not_connected", f"no session is active: the peer is {self.state}")
        self._session.connection.send_app(subject, data)
        self._wake()

    def on_message(self, subject: str, function: Callable[[bytes], Any]) -> Callable[[], None]:
        """Call `function(data)` for each vendor message on exactly this subject; return what takes it away again.

        The function runs as the message is decoded and must not wait; what it raises goes to `on_unhandled_error`.

        Raises:
            SbpError: 1000 for a subject that does not begin with `app/`, or begins with `app/sb.`.
        """
        return self._vendor.add(subject, function)

    def __repr__(self) -> str:
        return f"<Peer {self.id!r} {self.state}>"

    # What follows is for the session, the dialer and the server.

    @property
    def options(self) -> PeerOptions:
        """What the peer was made with."""
        return self._options

    def apply(self, event: Event) -> float:
        """Let the lifecycle take an event and do what follows; return the seconds until a retry, where one is due.

        Raises:
            PeerError: `invalid_state`.
        """
        actions = self._machine.handle(event)
        if isinstance(event, Failed):
            self._waits.failed(event.error, fatal=event.fatal, closed=self.closed)
        return self._perform(actions)

    def leave(self, reason: str) -> None:
        """Close the peer for good, and queue the farewell that tells the other side why."""
        if not self.closed:
            self._farewell = reason
            self.apply(DisconnectRequested())

    def session_opened(
        self, session: Session, link: LinkInfo, remote: HandshakePayload, identity: PeerIdentity | None = None
    ) -> None:
        """Take over a session whose handshake is done."""
        previous, changed = self._link, self._link is not None and self._link.path != link.path
        self._session, self._link, self._remote, self._identity = session, link, remote, identity
        if link.replaced_key is not None and link.identity_key is not None:
            expected, received = compute_fingerprint(link.replaced_key), compute_fingerprint(link.identity_key)
            self._listeners.tell("identity_changed", expected, received)
        self.rpc.attach(session.connection)
        self.events.attach(session.connection)
        self._streams.attach(session, link)
        if self._options.upgrade is not None and link.path == "relay":
            session.upgrade = self._options.upgrade(self, session, link)
        if self.state is PeerState.NEGOTIATING:
            self.apply(SessionOpened())
        else:
            self._waits.succeeded()
            self._perform([SendWaiting()])
        if changed and previous is not None:
            self._listeners.tell("path_changed", link.path)

    def path_changed(self, path: str) -> None:
        """The session goes on by another way."""
        if self._link is not None and self._link.path != path:
            self._link = replace(self._link, path=path)
            self._listeners.tell("path_changed", path)

    def tell(self, event: PeerEvent, *arguments: object) -> None:
        """Tell the listeners of one of the peer's own events."""
        self._listeners.tell(event, *arguments)

    def report(self, error: BaseException) -> None:
        """Hand an error that has no caller to `on_unhandled_error`."""
        try:
            self._options.on_unhandled_error(error)
        except Exception:  # noqa: BLE001  (the last resort for errors must not raise one)
            _log.exception("on_unhandled_error itself failed")

    def events_lost(self, lost: sbp.EventsLost) -> None:
        """Tell that a cut was longer than what is kept for repeating."""
        whose = "own" if lost.sent else "of the other side's"
        self._listeners.tell(
            "error",
            PeerError(
                "buffer_overflow",
                f"{lost.count} {whose} messages were lost in a long pause",
                details={"lost": lost.count, "sent": lost.sent},
            ),
        )

    def app_received(self, subject: str, data: bytes) -> None:
        """Hand on a vendor message."""
        self._vendor.received(subject, data)

    def stream_received(self, data: bytes) -> None:
        """Hand on a message of stream/1."""
        if self._session is not None and self._session.streams is not None:
            self._session.streams.receive(data)

    async def finish_work(self) -> None:
        """Wait for the handlers that were cancelled, and for listeners at work."""
        work = self._cancelled_work - {asyncio.current_task()}
        if work:
            await asyncio.wait(work)
        await self._listeners.drain()

    def _perform(self, actions: Iterable[Action]) -> float:
        delay = 0.0
        for action in actions:
            match action:
                case Notify():
                    if action.name == "state_change":
                        self._entered(*action.arguments)  # type: ignore[arg-type]  # the lifecycle gives two states
                    self._listeners.tell(action.name, *action.arguments)
                case FailCalls():
                    self.rpc.fail(sent=action.sent, waiting=action.waiting, code=action.code, cause=self.error)
                case SendWaiting():
                    self.rpc.activate()
                    self.events.activate()
                case DropConnection():
                    self._drop_session()
                case CycleEnded():
                    self._waits.end_cycle(ReconnectResult(action.outcome, action.error))
                case WaitToRetry():
                    delay = action.delay
                case _:
                    pass  # opening the transport and the session is the dialer's next step anyway
        return delay

    def _entered(self, state: PeerState, previous: PeerState) -> None:
        if previous is PeerState.ACTIVE:
            self.rpc.deactivate()
            self.events.deactivate()
        self._waits.entered(state, previous)
        if state is PeerState.CLOSED:
            self.rpc.close()
            self._keep(self.events.close())
            self._keep(self._streams.close())

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None and session.error is None:
            session.close(self._farewell)
        self._keep(self.rpc.detach())
        self.events.detach()
        if session is not None:
            self._keep(self._streams.detach(session.error, lost=session.lost))

    def _keep(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        for task in tasks:
            self._cancelled_work.add(task)
            task.add_done_callback(self._cancelled_work.discard)

    def _wake(self) -> None:
        if self._session is not None:
            self._session.wake()
