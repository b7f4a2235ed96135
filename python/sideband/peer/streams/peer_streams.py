"""The streams of one peer: opening them, and handling those that the other side opens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from sideband.errors import PeerError
from sideband.peer.streams.keeper import StreamKeeper
from sideband.peer.streams.session_streams import SessionStreams
from sideband.peer.streams.stream import Stream
from sideband.protocol.streams import ByteStream, ResetCode

if TYPE_CHECKING:
    from sideband.peer.link import LinkInfo
    from sideband.peer.options import PeerOptions
    from sideband.peer.session import Session

__all__ = ["PeerStreams", "StreamHandler"]

StreamHandler: TypeAlias = Callable[[Stream], Awaitable[None]]
"""An `async def` that is given each stream of one name, in a task of its own."""

H = TypeVar("H", bound=StreamHandler)

HANDLER_FAILED = 2000
"""The code of the reset that follows when a handler raises: the same number as an RPC's ApplicationError."""


class PeerStreams:
    """Made by the peer.

    Args:
        options: the peer's.
        report: told what a handler raised.
        keeper: the server's; None for a peer that connects, which has its own.
    """

    def __init__(
        self, options: PeerOptions, report: Callable[[BaseException], None], keeper: StreamKeeper | None = None
    ) -> None:
        self._options = options
        self._report = report
        self._own_keeper = keeper is None
        self._keeper = StreamKeeper(options) if keeper is None else keeper
        self._handlers: dict[str, StreamHandler] = {}
        self._session: SessionStreams | None = None
        self._identity_key: bytes | None = None
        self._connected = False
        self._closed = False

    async def open(self, name: str, metadata: Mapping[str, Any] | None, *, digest: bool) -> Stream:
        """See `Peer.open_stream`."""
        if self._closed:
            raise PeerError("peer_closed", f"the stream {name!r} was not opened: the peer is closed")
        if not self._connected:
            raise PeerError("not_connected", f"the stream {name!r} was not opened: there is no session")
        if self._session is None:
            raise PeerError(
                "invalid_state",
                "this session has no streams: both sides have to speak stream/1, and over a relay resume/1 too",
            )
        stream = self._session.open(name, metadata, digest=digest)
        try:
            await stream.accepted()
        except asyncio.CancelledError:
            stream.reset()
            raise
        return stream

    @overload
    def handle(self, name: str, function: StreamHandler) -> Callable[[], None]: ...

    @overload
    def handle(self, name: str) -> Callable[[H], H]: ...

    def handle(self, name: str, function: StreamHandler | None = None) -> Callable[..., Any]:
        """See `Peer.stream_handler`."""
        if function is None:

            def register(wanted: H) -> H:
                self.handle(name, wanted)
                return wanted

            return register
        if name in self._handlers:
            raise PeerError("invalid_state", f"streams named {name!r} already have a handler")
        self._handlers[name] = function

        def remove() -> None:
            if self._handlers.get(name) is function:
                del self._handlers[name]

        return remove

    # What follows is for the peer that owns this object.

    def attach(self, session: Session, link: LinkInfo) -> None:
        """Use a new session, and go on in it with the streams of one that was lost."""
        self._connected = True
        changed = link.replaced_key is not None or link.identity_key != self._identity_key
        self._identity_key = link.identity_key
        if self._own_keeper and changed:
            # Whoever holds another key may be somebody else, to whom these bytes were not written.
            self._keeper.clear("the other side's identity key has changed")
        if not SessionStreams.usable(session, link):
            return
        self._session = session.streams = SessionStreams(session, link, self._keeper, self._options, self._opened)
        if self._own_keeper:
            self._session.revive()

    def detach(self, error: Exception | None, *, lost: bool) -> list[asyncio.Task[None]]:
        """The session is over; return the handlers' tasks that were cancelled."""
        session, self._session = self._session, None
        self._connected = False
        reason = "the session ended" if error is None else f"the session ended: {error}"
        return (
            [] if session is None else session.end(lost=lost and not (self._closed and self._own_keeper), reason=reason)
        )

    def close(self) -> list[asyncio.Task[None]]:
        """The peer is closed; return the handlers' tasks that were cancelled."""
        self._closed = True
        self._handlers.clear()
        return self._keeper.close() if self._own_keeper else []

    def _opened(self, opened: ByteStream) -> None:
        if opened.closed:
            return  # given up before anybody could look at it: open and reset came together
        handler = self._handlers.get(opened.name)
        session = self._session
        if handler is None or session is None:
            opened.reset(ResetCode.REFUSED, "nobody takes streams of this name")
            return
        stream = Stream(opened, self._keeper)
        opened.accept()
        stream.task = asyncio.get_running_loop().create_task(
            self._run(handler, stream), name=f"sideband stream {stream.name[:64]}"
        )
        self._keeper.own(stream.task)

    async def _run(self, handler: StreamHandler, stream: Stream) -> None:
        try:
            await handler(stream)
            await stream.finish()
        except asyncio.CancelledError:
            stream.reset()
            raise
        except Exception as error:  # noqa: BLE001  (whatever a handler raises is reported, and ends its stream only)
            # Once the stream was given up its handler is told so by an error, which is no news.
            told = stream.error is not None and isinstance(error, PeerError) and error.code in _GIVEN_UP
            stream.reset(HANDLER_FAILED, "the handler failed")
            if not told:
                self._report(error)


_GIVEN_UP = ("stream_reset", "integrity_error")
"""What a stream raises once it was given up."""
