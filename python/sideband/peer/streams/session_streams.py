"""The streams of one session: between its frames and those who read and write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sideband.errors import PeerError
from sideband.peer.streams.keeper import StreamKeeper
from sideband.peer.streams.stream import Stream
from sideband.protocol.handshake import RESUME_1, STREAM_1
from sideband.protocol.streams import (
    DIRECT_SESSION_WINDOW,
    ByteStream,
    StreamFailed,
    StreamOpened,
    StreamReadable,
    Streams,
    StreamWritable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sideband.peer.link import LinkInfo
    from sideband.peer.options import PeerOptions
    from sideband.peer.session import Session
    from sideband.protocol.streams.schedule import Frame

__all__ = ["SessionStreams"]


class SessionStreams:
    """Drives the streams of a session for which `usable` holds.

    Args:
        session: whose frames carry them.
        link: what carries the session.
        keeper: where streams wait when the session is lost.
        options: of them the streams' limits and the clock.
        on_opened: told of each stream that the other side opens; it accepts or resets it.

    Attributes:
        receive_frame: takes in a frame if it is a plain data message; False leaves it to the connection.
    """

    def __init__(
        self,
        session: Session,
        link: LinkInfo,
        keeper: StreamKeeper,
        options: PeerOptions,
        on_opened: Callable[[ByteStream], None],
    ) -> None:
        limits = options.streams
        if link.path != "relay":
            limits = replace(limits, max_session_window=max(limits.max_session_window, DIRECT_SESSION_WINDOW))
        self._session = session
        self._keeper = keeper
        self._on_opened = on_opened
        self._outlives = link.resumable or link.keeps_streams
        self._clock = options.clock.time
        self._quiet_seconds = limits.quiet_seconds
        self._quiet_from = 0.0
        self._alone = min(limits.chunk_bytes, link.max_frame_payload)
        self._together = max(self._alone, limits.batch_bytes)
        self._over = False
        self._engine = Streams(
            opener=session.connection.opener,
            max_frame_payload=link.max_frame_payload,
            kept=keeper.kept,
            limits=limits,
            budget=options.stream_budget,
            unread_budget=options.unread_budget,
            clock=options.clock.time,
            wake=session.wake,
        )
        self.receive_frame = self._engine.receive_frame

    @staticmethod
    def usable(session: Session, link: LinkInfo) -> bool:
        """Whether both sides speak streams here: where a session can be paused, they need resume/1."""
        capabilities = session.connection.capabilities
        return STREAM_1 in capabilities and (not link.resumable or RESUME_1 in capabilities)

    @property
    def wants_write(self) -> bool:
        """Whether `take` would return something now."""
        return self._engine.wants_write

    def open(self, name: str, metadata: Mapping[str, Any] | None, *, digest: bool) -> Stream:
        """Open a stream; see `Streams.open`."""
        return Stream(self._engine.open(name, metadata, digest=digest), self._keeper)

    def revive(self) -> None:
        """Go on with the streams of a session that was lost."""
        self._engine.revive()
        self._session.wake()

    def receive(self, message: bytes) -> None:
        """Take in any other message of stream/1."""
        self._engine.receive(message)

    def settle(self) -> None:
        """Do what follows from what came, and from what was called: nothing of it waits."""
        engine = self._engine
        if not self._over:
            self._queue_control()
        for event in engine.poll():
            kind = type(event)
            if kind is StreamOpened:
                self._on_opened(event.stream)
                continue
            stream = event.stream.data
            if not isinstance(stream, Stream):
                continue  # reset before anybody took it
            if kind is StreamReadable:
                stream.heard(readable=True)
            elif kind is StreamWritable:
                stream.heard(writable=True)
            elif kind is StreamFailed:
                stream.failed()
            else:
                stream.heard()
        self._keeper.settle()

    def take(self, *, behind_others: bool) -> list[Frame]:
        """Return what leaves now, once the connection has nothing else to send: credit, then data.

        A call or an event that comes up next must not wait behind much data. So it is one chunk at a time, unless the
        session has carried nothing else for a while.

        Args:
            behind_others: whether something else leaves just before it.
        """
        now = self._clock()
        if behind_others:
            self._quiet_from = now + self._quiet_seconds
        frames = self._engine.take(self._together if now >= self._quiet_from else self._alone)
        draining = self._keeper.draining
        if draining:
            draining.difference_update([stream for stream in draining if stream.sent()])
        return frames

    def pause(self) -> None:
        """The session is cut but may come back."""
        self._engine.pause()

    def resumed(self) -> None:
        """The session is back, and the other side has told what it has."""
        self._engine.resumed()

    def end(self, *, lost: bool, reason: str) -> list[asyncio.Task[None]]:
        """The session is over. Streams of a lost one wait for the next where it can be told from any other.

        Returns:
            The tasks of handlers that were cancelled, for the owner to await.
        """
        if self._over:
            return []
        self._over = True
        tasks: list[asyncio.Task[None]] = []
        if lost and self._outlives:
            self._engine.detach()
        else:
            current = asyncio.current_task()
            handled = [stream.data.task for stream in self._engine.live if isinstance(stream.data, Stream)]
            tasks = [task for task in handled if task is not None and task is not current]
            self._engine.close(reason=reason)
            for task in tasks:
                task.cancel()
        self.settle()
        return tasks

    def _queue_control(self) -> None:
        connection = self._session.connection
        try:
            for message in self._engine.take_control():
                connection.send_stream_control(message)
        except PeerError as error:
            if not connection.closed:
                self._session.fail(error)
