"""Moves one relayed session to a direct channel and, where need be, back (docs/protocol/sbdp.md, "Upgrade")."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from sideband.direct import upgrade as machine
from sideband.direct.channels import Channel, Channels
from sideband.direct.messages import Offer, encode
from sideband.direct.policy import DirectPolicy
from sideband.errors import PeerError, SidebandError
from sideband.peer.clock import Clock, Timer
from sideband.peer.link import LinkSignal
from sideband.peer.pump import FAREWELL_SECONDS, MAX_BATCH_BYTES
from sideband.peer.upgrade import PathUpgrade, UpgradeFactory
from sideband.protocol.handshake import DIRECT_1

if TYPE_CHECKING:
    from sideband.peer.link import LinkInfo
    from sideband.peer.peer import Peer
    from sideband.peer.session import Session

__all__ = ["ChannelSource", "SessionUpgrade", "upgrades", "when_direct"]

_log = logging.getLogger("sideband.direct")


class ChannelSource(Protocol):
    """What finds channels for one attempt; `Channels` does."""

    async def gather(self, remote: Offer | None = None) -> Offer:
        """Return what the other side has to know; on the daemon, with what the client has told."""

    def reach(self, remote: Offer) -> None:
        """Try to connect."""

    def keep(self, channel: bytes) -> None:
        """Close everything but this channel."""

    async def close(self) -> None:
        """Close everything."""


MakeChannels = Callable[[bytes, Callable[[Channel], None]], ChannelSource]


def upgrades(policy: DirectPolicy | None = None) -> UpgradeFactory | None:
    """Return what `PeerOptions.upgrade` takes: sessions over a relay become direct ones where `policy` lets them.

    Args:
        policy: whether and how; by default direct is preferred.

    Returns:
        None where the policy forbids it: then nothing is offered and nothing taken.
    """
    policy = policy or DirectPolicy()
    if policy.mode == "forbid":
        return None

    def make(peer: Peer, session: Session, link: LinkInfo) -> PathUpgrade | None:
        del link  # the peer asks for relayed sessions only
        if policy.mode == "require":
            session.connection.hold()
        if DIRECT_1 not in session.connection.capabilities:
            if policy.mode == "require":
                session.fail(PeerError("not_connected", "the other side takes no direct sessions; policy requires one"))
            return None
        client, clock = session.connection.opener, peer.options.clock

        def channels(attempt: bytes, on_ready: Callable[[Channel], None]) -> ChannelSource:
            return Channels(attempt, policy, client=client, clock=clock, on_ready=on_ready)

        upgrade = SessionUpgrade(session, policy, clock, channels, peer.path_changed)
        if client:
            upgrade.begin()
        return upgrade

    return make


async def when_direct(peer: Peer) -> None:
    """Return once the peer's session is a direct one, at once when it is.

    Raises:
        SidebandError: the peer was closed first; under the policy "require" because no direct way was found.
    """
    changed = asyncio.Event()
    remove = [peer.on("path_changed", lambda _: changed.set()), peer.on("state_change", lambda *_: changed.set())]
    try:
        while not (peer.path or "").startswith("direct"):
            if peer.closed:
                raise peer.error or PeerError("peer_closed", "the peer was disconnected")
            await changed.wait()
            changed.clear()
    finally:
        for each in remove:
            each()


class SessionUpgrade:
    """Binds the state machine of an upgrade to a session and its channels.

    Args:
        session: the relayed session, whose handshake is done.
        policy: whether it may move.
        clock: where time comes from.
        make_channels: returns what finds channels for an attempt.
        on_path: told the path once the session has moved.
    """

    def __init__(
        self,
        session: Session,
        policy: DirectPolicy,
        clock: Clock,
        make_channels: MakeChannels,
        on_path: Callable[[str], None],
    ) -> None:
        self.state = machine.Upgrade(
            client=session.connection.opener, allowed=policy.mode != "forbid", invitations=policy.max_attempts
        )
        self._session = session
        self._policy = policy
        self._clock = clock
        self._make_channels = make_channels
        self._on_path = on_path
        self._source: ChannelSource | None = None
        self._channels: dict[bytes, Channel] = {}
        self._gate = asyncio.Event()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closings: set[asyncio.Task[None]] = set()
        self._timer: Timer | None = None
        self._deadline: Timer | None = None
        if policy.mode == "require":
            self._deadline = clock.call_later(self._patience, self._overdue)
        self._gathering = False
        self._finished = False

    def begin(self) -> None:
        """Begin an attempt, on the client; nothing happens while one is under way."""
        attempt = secrets.token_bytes(16)
        if self.state.allowed and not self._finished:
            self._own(self._offer(attempt))

    def invite(self) -> None:
        """Ask the client to begin, on the daemon."""
        if not self.state.client and self.state.phase is machine.Phase.IDLE:
            self._say(encode("ask", secrets.token_bytes(16)))

    def received(self, data: bytes) -> None:
        """See `PathUpgrade.received`."""
        self.perform(self.state.message(data, self._session.connection.expected))

    def relay_paused(self) -> bool:
        """See `PathUpgrade.relay_paused`."""
        if self.state.phase is machine.Phase.DIRECT:
            self.perform(self.state.relay_paused())
            return True
        self._session.stay()
        self.perform(self.state.relay_paused())
        return False

    def relay_resumed(self) -> None:
        """See `PathUpgrade.relay_resumed`."""
        self.perform(self.state.relay_resumed())

    def relay_ended(self) -> bool:
        """See `PathUpgrade.relay_ended`."""
        actions = self.state.relay_ended()
        gone = any(isinstance(action, machine.Lost) for action in actions)
        self.perform([action for action in actions if not isinstance(action, machine.Lost)])
        return not gone

    async def finish(self) -> None:
        """See `PathUpgrade.finish`."""
        self._finished = True
        self._disarm()
        if self._deadline is not None:
            self._deadline.cancel()
        channel = self._channels.get(self.state.channel or b"")
        writers = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in writers:
            task.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        if channel is not None and self.state.phase in (machine.Phase.SWITCHING, machine.Phase.DIRECT):
            with contextlib.suppress(SidebandError, TimeoutError):
                async with asyncio.timeout(FAREWELL_SECONDS):
                    while frames := self._session.take(MAX_BATCH_BYTES, direct=True):
                        await channel.link.send(frames)
            await channel.link.close()
        if self._source is not None:
            await self._source.close()
        if self._closings:
            await asyncio.wait(self._closings)

    def perform(self, actions: Iterable[machine.Action]) -> None:
        """Do what the state machine asks for."""
        session = self._session
        for action in actions:
            match action:
                case machine.Say():
                    self._say(action.message)
                case machine.Invited():
                    self.begin()
                case machine.Try():
                    self._own(self._try(action.attempt, action.remote))
                case machine.Choose():
                    self._choose(action.channel)
                case machine.Switch():
                    self._switch(action.attempt, action.channel)
                case machine.Gate():
                    self._gate.set()
                case machine.Back():
                    number = session.connection.expected
                    session.rewind(encode("back", action.attempt, {"n": number}))
                case machine.Welcome():
                    session.welcome_back()
                case machine.Channels():
                    self._close_channels()
                case machine.Moved():
                    self._moved()
                case machine.Pause():
                    self.state.relay_resumed()
                    session.signal(LinkSignal.PAUSED)
                case machine.Lost():
                    session.fail(PeerError("not_connected", "the direct way was lost"))

    # What follows is private.

    @property
    def _patience(self) -> float:
        # The daemon waits a little longer than the client, who alone gives up.
        return self._policy.timeout * (1.0 if self.state.client else 1.5)

    async def _offer(self, attempt: bytes) -> None:
        if self.state.phase is not machine.Phase.IDLE or self._gathering:
            return
        source = self._new_source(attempt)
        self._gathering = True
        try:
            own = await source.gather()
        finally:
            self._gathering = False
        actions = self.state.start(attempt, own)
        if not actions:
            if self._source is source:
                self._source = None
            await source.close()
            return
        self._arm(self._patience)
        self.perform(actions)

    async def _try(self, attempt: bytes, remote: Offer) -> None:
        if self.state.client:
            if self._source is not None:
                self._source.reach(remote)
            return
        source = self._new_source(attempt)
        self._arm(self._patience)
        own = await source.gather(remote)
        if self._source is not source:
            return  # that attempt is over, and another one may be under way
        self.perform(self.state.answer(own))
        source.reach(remote)

    def _new_source(self, attempt: bytes) -> ChannelSource:
        self._gate.clear()
        self._source = self._make_channels(attempt, self._ready)
        return self._source

    def _ready(self, channel: Channel) -> None:
        self._channels[channel.id] = channel
        self._own(self._read(channel))
        self.perform(self.state.ready(channel.id))

    def _choose(self, chosen: bytes) -> None:
        self._channels = {chosen: self._channels[chosen]}
        if self._source is not None:
            self._source.keep(chosen)

    def _switch(self, attempt: bytes, chosen: bytes) -> None:
        def make(number: int) -> bytes:
            # Not from inside `take`: what follows may send.
            asyncio.get_running_loop().call_soon(lambda: self.perform(self.state.left()))
            return encode("switch", attempt, {"n": number})

        self._arm(self._policy.timeout)
        self._session.move(make, self._wake.set)
        self._own(self._write(self._channels[chosen]))

    def _moved(self) -> None:
        self._disarm()
        channel = self._channels[self.state.channel or b""]
        if not self._session.moved.done():
            self._session.moved.set_result(None)
        self._on_path(f"direct:{channel.transport}")

    def _close_channels(self) -> None:
        self._disarm()
        self._channels = {}
        self._gate.set()  # whoever waits sees that there is nothing to wait for any more
        self._wake.set()
        source, self._source = self._source, None
        if source is not None:
            task = asyncio.get_running_loop().create_task(source.close(), name="sideband direct end")
            self._closings.add(task)
            task.add_done_callback(self._closings.discard)
        self._give_up_where_required()

    async def _read(self, channel: Channel) -> None:
        try:
            while True:
                frames = await channel.link.receive()
                await self._gate.wait()
                if self._channels.get(channel.id) is not channel:
                    return
                self._session.receive(frames)
        except SidebandError as error:
            self._lost(channel, error)

    async def _write(self, channel: Channel) -> None:
        session, wake = self._session, self._wake
        wake.set()
        try:
            while self._channels.get(channel.id) is channel:
                await wake.wait()
                wake.clear()
                while frames := session.take(MAX_BATCH_BYTES, direct=True):
                    await channel.link.send(frames)
        except SidebandError as error:
            self._lost(channel, error)

    def _lost(self, channel: Channel, error: SidebandError) -> None:
        if self._channels.get(channel.id) is channel:
            _log.info("a direct channel (%s) ended: %s", channel.transport, error)
            self.perform(self.state.lost(channel.id))

    def _say(self, message: bytes) -> None:
        with contextlib.suppress(PeerError):  # the session is over, and tells so itself
            self._session.connection.send_direct(message)
            self._session.wake()

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = self._clock.call_later(seconds, self._expired)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        self._timer = None
        self.perform(self.state.expired())

    def _overdue(self) -> None:
        # Also where no attempt has begun, or what has to be gathered for it takes too long.
        if self.state.phase in (machine.Phase.IDLE, machine.Phase.OFFERED, machine.Phase.TRYING):
            self._give_up_where_required()

    def _give_up_where_required(self) -> None:
        if self._policy.mode == "require" and not self._finished:
            self._session.fail(PeerError("not_connected", "no direct way was found, and policy requires one"))

    def _own(self, work: asyncio._CoroutineLike[None]) -> None:
        if self._finished:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work, name="sideband direct")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
