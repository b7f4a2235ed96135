"""The sessions of a daemon over its relay connection: who gets which frame, and whose turn it is to send."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from sideband.errors import PeerError, SbrpError, SbrpErrorCode, SidebandError
from sideband.peer.acceptance import Acceptor
from sideband.peer.link import LinkSignal
from sideband.peer.relay_daemon import RelayDaemon
from sideband.peer.relay_link import relay_link_info
from sideband.peer.session import Session
from sideband.secure_relay.daemon_endpoint import DaemonEndpoint
from sideband.secure_relay.daemon_events import (
    DaemonEvent,
    SessionData,
    SessionEnded,
    SessionOpened,
    SessionPaused,
    SessionRefused,
    SessionResumed,
)

__all__ = ["TURN_BYTES", "RelaySessions"]

_News = TypeVar("_News")

_log = logging.getLogger("sideband.peer")

TURN_BYTES = 64 * 1024
"""What one session may send before it is another's turn."""


class RelaySessions:
    """Binds a `DaemonEndpoint` to the sessions of an `Acceptor`.

    Frames that come in are handled as they are decoded, so no session keeps another waiting; frames that go out take
    turns of `TURN_BYTES`.

    Args:
        endpoint: the daemon's sessions on the wire.
        acceptor: what makes peers of them.
        clock: seconds, the endpoint's.
    """

    def __init__(self, endpoint: DaemonEndpoint, acceptor: Acceptor, clock: Callable[[], float]) -> None:
        self.daemon = RelayDaemon(endpoint, self._happened, clock=clock)
        self._endpoint = endpoint
        self._acceptor = acceptor
        self._sessions: dict[int, Session] = {}
        self._turns: dict[int, None] = {}
        self._wake = asyncio.Event()
        self._endings: set[asyncio.Task[None]] = set()
        self._refusing = False

    @property
    def open(self) -> int:
        """Sessions that are not over."""
        return len(self._sessions)

    async def write(self) -> None:
        """Send what the sessions have to send, in turns; runs as long as the daemon does."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._turns:
                sid = next(iter(self._turns))
                del self._turns[sid]
                session = self._sessions.get(sid)
                if session is not None:
                    await self._take_turn(sid, session)

    async def finish(self) -> None:
        """Take no more sessions, and wait until those that are over have said farewell."""
        self._refusing = True
        while self._endings:
            await asyncio.wait(set(self._endings))

    async def _take_turn(self, sid: int, session: Session) -> None:
        frames = session.take(TURN_BYTES)
        if not frames:
            return
        if session.wants_write:
            self._turns[sid] = None
        try:
            await self.daemon.send(sid, frames)
        except SbrpError as error:
            # Paused meanwhile: the frames count as swallowed by the cut. Ended: the endpoint tells by its event.
            if error.code not in (SbrpErrorCode.SESSION_PAUSED, SbrpErrorCode.SESSION_CLEARED):
                session.fail(error)

    def _happened(self, event: DaemonEvent) -> None:
        if isinstance(event, SessionData):
            session = self._sessions.get(event.session_id)
            if session is not None:
                self._guard(session, session.receive, event.plaintexts)
        elif isinstance(event, SessionOpened):
            self._opened(event.session_id)
        elif isinstance(event, SessionPaused):
            self._signal(event.session_id, LinkSignal.PAUSED)
        elif isinstance(event, SessionResumed):
            self._signal(event.session_id, LinkSignal.RESUMED)
        elif isinstance(event, SessionEnded):
            session = self._sessions.get(event.session_id)
            if session is not None and not (session.upgrade is not None and session.upgrade.relay_ended()):
                session.fail(_ending(event))
        elif isinstance(event, SessionRefused):
            _log.warning("a client was refused: %s", event.message)

    def _guard(self, session: Session, act: Callable[[_News], None], news: _News) -> None:
        try:
            act(news)
        except Exception as error:  # noqa: BLE001  (a fault in handling one session must not end all the others)
            _log.exception("a session failed")
            session.fail(PeerError("cancelled", f"a session failed: {type(error).__name__}"))

    def _opened(self, sid: int) -> None:
        if self._refusing:
            self.daemon.end(sid, shutdown=True)
            return

        def wake() -> None:
            self._turns[sid] = None
            self._wake.set()

        session = self._acceptor.open(relay_link_info(sid), wake, lambda: self._endpoint.confirm(sid))
        self._sessions[sid] = session
        session.ended.add_done_callback(lambda _: self._over(sid, session))

    def _signal(self, sid: int, signal: LinkSignal) -> None:
        session = self._sessions.get(sid)
        if session is not None:
            self._guard(session, session.signal, signal)

    def _over(self, sid: int, session: Session) -> None:
        task = asyncio.get_running_loop().create_task(self._say_farewell(sid, session), name="sideband farewell")
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _say_farewell(self, sid: int, session: Session) -> None:
        error = session.error or PeerError("not_connected", "the session ended")
        if not session.connection.closed:
            session.connection.close("")
        if session.upgrade is not None:
            await session.upgrade.finish()
        try:
            while frames := session.take(TURN_BYTES):
                await self.daemon.send(sid, frames)
        except SidebandError as failure:
            _log.debug("a farewell was not sent: %s", failure)
        self._sessions.pop(sid, None)
        self._turns.pop(sid, None)
        details = error.details if isinstance(error, PeerError) else {}
        self.daemon.end(sid, shutdown=details.get("closed_here") == "shutdown")
        await self._acceptor.ended(session, error)


def _ending(event: SessionEnded) -> SidebandError:
    if event.code is SbrpErrorCode.SESSION_ENDED:
        return PeerError("peer_closed", "the client left", details={"reason": event.message})
    return SbrpError(event.code, event.message, session_id=event.session_id)
