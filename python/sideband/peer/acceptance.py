"""What a server does with a session before the application sees it: handshake, identity, policy."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from sideband.errors import PeerError, SbrpError, SbrpErrorCode, SidebandError, TokenError
from sideband.peer.identity_token import IDENTITY_METADATA_KEY, IdentityVerifier, PeerIdentity
from sideband.peer.lifecycle import Failed
from sideband.peer.link import LinkInfo
from sideband.peer.options import PeerOptions
from sideband.peer.peer import Peer
from sideband.peer.session import Session
from sideband.peer.streams import StreamKeeper
from sideband.protocol.connection import SbpConnection
from sideband.protocol.handshake import HandshakePayload

__all__ = ["Acceptance", "Acceptor", "OnConnection"]

_log = logging.getLogger("sideband.peer")

OnConnection: TypeAlias = Callable[[Peer], Any]
"""Called with each accepted peer, sync or async. Register handlers before the first `await`: nothing of the other side
is looked at before that."""

REFUSED = "refused"
"""The reason a client is told when policy turns it away."""
SHUTDOWN = "shutdown"
"""The one reason after which a client may try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """How a server accepts sessions.

    Attributes:
        on_connection: called with each peer.
        options: what its peers are made with; `retry` does not apply to them.
        verify_identity: verifies the identity token that a client sends; None ignores tokens.
        authorize: asked with the verified identity, None for a client without one; anything but True refuses. None
            accepts everyone.
        handshake_seconds: from the session's beginning until the client's handshake; 5 min.
        introspection: whether `$sideband/rpc.list` and `$sideband/rpc.describe` are answered; they are.
    """

    on_connection: OnConnection
    options: PeerOptions
    verify_identity: IdentityVerifier | None = None
    authorize: Callable[[PeerIdentity | None], bool | Awaitable[bool]] | None = None
    handshake_seconds: float = 300.0
    introspection: bool = True


class Acceptor:
    """The sessions of one server, from their first byte to their last.

    Args:
        acceptance: how they are accepted.
    """

    def __init__(self, acceptance: Acceptance) -> None:
        self._acceptance = acceptance
        self._sessions: dict[Session, Peer | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper = StreamKeeper(acceptance.options)

    @property
    def connections(self) -> tuple[Peer, ...]:
        """The peers that are active or paused, oldest first."""
        return tuple(peer for peer in self._sessions.values() if peer is not None and peer.connected)

    def open(self, link: LinkInfo, wake: Callable[[], None], on_accepted: Callable[[], None] | None = None) -> Session:
        """Begin a session on a link; the caller moves its frames and calls `ended` when it is over.

        Args:
            link: what carries it.
            wake: called when the session may have something to send.
            on_accepted: called when the client's handshake has come.
        """
        options = self._acceptance.options

        def on_handshake(remote: HandshakePayload) -> None:
            timer.cancel()
            if on_accepted is not None:
                on_accepted()
            task = asyncio.create_task(self._admit(session, link, remote), name="sideband admission")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        connection = SbpConnection(
            local=options.handshake(),
            opener=False,
            max_frame_payload=link.max_frame_payload,
            clock=options.clock.time,
            send_budget=options.send_budget,
            resumable=link.resumable,
            limits=options.limits,
        )
        session = Session(connection, options.clock, wake, on_handshake, lambda error: self._over(session, error))
        seconds = self._acceptance.handshake_seconds
        late = SbrpError(SbrpErrorCode.HANDSHAKE_TIMEOUT, f"no SBP handshake came within {seconds:g} s")
        timer = options.clock.call_later(seconds, lambda: session.fail(late))
        session.ended.add_done_callback(lambda _: timer.cancel())
        self._sessions[session] = None
        return session

    async def ended(self, session: Session, error: Exception) -> None:
        """Tell that a session is over, and wait for what its handlers still do."""
        session.fail(error)
        peer = self._sessions.pop(session, None)
        if peer is not None:
            await peer.finish_work()

    def close(self, reason: str = SHUTDOWN) -> None:
        """Tell every client that the server ends; their farewells still have to be sent."""
        for session, peer in tuple(self._sessions.items()):
            if peer is not None:
                peer.leave(reason)
            session.close(reason)

    def fail_all(self, error: Exception) -> None:
        """End every session without a farewell: nothing leads to their clients any more."""
        for session in tuple(self._sessions):
            session.fail(error)

    async def finish(self) -> None:
        """Wait for admissions, `on_connection` tasks and handlers of streams, cancelled."""
        tasks = (self._tasks | set(self._keeper.close())) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _over(self, session: Session, error: Exception) -> None:
        peer = self._sessions.get(session)
        if peer is not None and not peer.closed:
            goodbye = isinstance(error, PeerError) and error.code == "peer_closed"
            peer.apply(Failed(error, fatal=True, orderly=goodbye))

    async def _admit(self, session: Session, link: LinkInfo, remote: HandshakePayload) -> None:
        identity, refusal = await self._decide(link, remote)
        if session.ended.done():
            return
        if refusal is not None:
            # Without a handshake of ours before it, so that the client's attempt fails and it never takes itself for
            # connected.
            session.close(refusal)
            return
        session.connection.start()
        peer = Peer(self._acceptance.options, keeper=self._keeper)
        if self._acceptance.introspection:
            peer.rpc.serve_introspection()
        self._sessions[session] = peer
        peer.session_opened(session, link, remote, identity)
        session.wake()
        await self._introduce(session, peer)

    async def _introduce(self, session: Session, peer: Peer) -> None:
        work: asyncio.Future[Any] | None = None
        try:
            result = self._acceptance.on_connection(peer)
            if inspect.isawaitable(result):
                work = asyncio.ensure_future(result)
                await asyncio.sleep(0)  # up to its first await: what it registers by then misses nothing
            session.bind(peer)
            if work is not None:
                await work
        except asyncio.CancelledError:
            if work is not None:
                work.cancel()
                await asyncio.wait((work,))
            raise
        except Exception as error:  # noqa: BLE001  (whatever the application raises is reported, and ends this peer only)
            peer.report(error)
            await peer.disconnect()

    async def _decide(self, link: LinkInfo, remote: HandshakePayload) -> tuple[PeerIdentity | None, str | None]:
        """Return who it is, and the reason that a client is told when it is refused."""
        options = self._acceptance.options
        task = asyncio.current_task()
        late = False

        def give_up() -> None:
            nonlocal late
            late = True
            if task is not None:
                task.cancel()

        timer = options.clock.call_later(options.admission_timeout, give_up)
        try:
            identity = await self._identify(link, remote)
            return identity, None if await self._authorized(identity) else REFUSED
        except asyncio.CancelledError:
            if not late or (task is not None and task.cancelling() > 1):
                raise
            _log.error("a client was sent away: verify_identity and authorize took %g s", options.admission_timeout)
            return None, SHUTDOWN
        except TokenError as error:
            _log.warning("a client was refused: %s", error)
            # Nothing is known against the client, and the issuer will be back.
            return None, SHUTDOWN if error.reason == "keys_unavailable" else REFUSED
        except SidebandError as error:
            _log.warning("a client was refused: %s", error)
            return None, REFUSED
        except Exception as error:  # noqa: BLE001  (deny by default: a policy that fails has not allowed anything)
            self._acceptance.options.on_unhandled_error(error)
            return None, REFUSED
        finally:
            timer.cancel()
            if late and task is not None:
                task.uncancel()

    async def _identify(self, link: LinkInfo, remote: HandshakePayload) -> PeerIdentity | None:
        token = remote.metadata.get(IDENTITY_METADATA_KEY)
        if token is None or self._acceptance.verify_identity is None:
            return None
        return await self._acceptance.verify_identity(str(token), link.session_id)

    async def _authorized(self, identity: PeerIdentity | None) -> bool:
        if self._acceptance.authorize is None:
            return True
        answer = self._acceptance.authorize(identity)
        # Only a plain True lets in: a policy that forgets to return must not open the door.
        return (await answer if inspect.isawaitable(answer) else answer) is True
