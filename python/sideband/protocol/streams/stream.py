"""One byte stream as the application sees it, without I/O (docs/protocol/streams.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sideband.errors import PeerError, PeerErrorCode
from sideband.protocol.streams.events import StreamFailed
from sideband.protocol.streams.limits import ResetCode
from sideband.protocol.streams.receiving import Incoming
from sideband.protocol.streams.sending import Outgoing

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from sideband.protocol.streams.engine import Streams
    from sideband.protocol.streams.kept import KeptStreams

__all__ = ["ByteStream"]


class ByteStream:
    """Both directions of one stream. It outlives its session by `StreamLimits.kept_seconds`, to go on in the next.

    Attributes:
        name: what the opener called it.
        metadata: what the opener sent along.
        ours: whether this side opened it.
        accepted: whether the side that did not open it has taken it.
        failure: why it was given up, or None.
        data: a place for the layer above to note what belongs to the stream.
    """

    __slots__ = (
        "_deficit",
        "_incoming",
        "_kept",
        "_outgoing",
        "_owes_resume",
        "_packed",
        "_reviving",
        "_scheduled",
        "_short",
        "_streams",
        "_token",
        "_unaccepted",
        "accepted",
        "data",
        "failure",
        "id",
        "metadata",
        "name",
        "ours",
    )

    def __init__(
        self,
        *,
        ours: bool,
        name: str,
        metadata: dict[str, Any],
        packed: bytes,
        token: bytes,
        outgoing: Outgoing,
        incoming: Incoming,
        kept: KeptStreams,
    ) -> None:
        self.ours = ours
        self.name = name
        self.metadata = metadata
        self.accepted = False
        self.failure: StreamFailed | None = None
        self.data: Any = None
        self.id = 0
        self._packed = packed
        self._token = token
        self._outgoing = outgoing
        self._incoming = incoming
        self._kept = kept
        self._streams: Streams | None = None
        self._scheduled = False
        self._short = False
        self._owes_resume = False
        self._reviving = False
        self._deficit = 0
        self._unaccepted = False

    def __repr__(self) -> str:
        # Never the token: whoever has it can take the stream over.
        return f"<ByteStream {self.name!r} id={self.id} {'ours' if self.ours else 'theirs'}>"

    @property
    def closed(self) -> bool:
        """Whether both directions are over, in whichever way."""
        return self.failure is not None or (self._outgoing.delivered and self._incoming.finished)

    @property
    def delivered(self) -> bool:
        """Whether the other side has confirmed everything up to our `end`."""
        return self._outgoing.delivered

    @property
    def written(self) -> int:
        """Bytes written so far."""
        return self._outgoing.written

    @property
    def confirmed(self) -> int:
        """Bytes of them that the other side is known to have consumed."""
        return self._outgoing.base

    @property
    def unsent(self) -> int:
        """Bytes written that have not left this side."""
        return self._outgoing.pending

    @property
    def received(self) -> int:
        """Bytes that have come so far, read or not."""
        return self._incoming.window.received

    @property
    def readable(self) -> int:
        """Bytes that can be read now."""
        return self._incoming.buffered

    @property
    def at_end(self) -> bool:
        """Whether the other side has ended, and everything was read."""
        return self._incoming.drained

    @property
    def ended(self) -> bool:
        """Whether this side has ended."""
        return self._outgoing.ended

    @property
    def error(self) -> PeerError | None:
        """Why the stream was given up, as `check` raises it; None while it was not."""
        return None if self.failure is None else _error(self.failure)

    def check(self) -> None:
        """Raise why the stream was given up, if it was.

        Raises:
            PeerError: `stream_reset` or `integrity_error`.
        """
        if self.failure is not None:
            raise _error(self.failure)

    @property
    def room(self) -> int:
        """How many bytes `write` would take now."""
        streams = self._streams
        if streams is None or self._outgoing.ended or self.failure is not None:
            return 0
        return streams._backlog.room(self)

    def accept(self) -> None:
        """Take a stream that the other side opened; it may send from now on.

        Raises:
            PeerError: `invalid_state` for a stream of this side, or one accepted before; `stream_reset` after a reset.
        """
        self.check()
        if self.ours or self.accepted:
            raise PeerError("invalid_state", "only a stream that the other side opened is accepted, and once")
        self.accepted = True
        if self._streams is not None:
            self._streams._accept(self)

    def write(self, data: Buffer) -> int:
        """Queue the first bytes of `data`, as many as there is room for, and return how many.

        `bytes` are sent from where they are; anything mutable is copied before the call returns. After a short write a
        `StreamWritable` tells when to go on.

        Raises:
            PeerError: `invalid_state` after `end`; `stream_reset` or `integrity_error` after a failure.
        """
        if self.failure is not None:
            raise _error(self.failure)
        outgoing, streams = self._outgoing, self._streams
        if outgoing.ended:
            raise PeerError("invalid_state", "nothing can be written after the end of a stream")
        view = memoryview(data).cast("B")
        taken = outgoing.write(view, 0 if streams is None else streams._backlog.room(self))
        self._short = taken < view.nbytes
        if streams is not None:
            streams._wrote(self, taken)
        return taken

    def end(self, digest: bytes | None = None) -> None:
        """Tell the other side that everything was written; it can still send. Again is fine.

        Args:
            digest: 32 bytes to end with, for an other side that has called `withhold`; None ends as was agreed when
                the stream was opened.

        Raises:
            PeerError: `stream_reset` or `integrity_error` after a failure.
        """
        self.check()
        if not self._outgoing.ended:
            if digest is not None:
                self._outgoing.give_digest(digest)
            self._outgoing.ended = True
            self._short = False
            if self._streams is not None:
                self._streams._ended(self)

    def withhold(self) -> None:
        """Let the application check the digest of what comes, and `confirm` once it has taken care of all of it.

        Call it before the other side can have ended. Its `end` then has to carry a digest, of whatever both sides have
        agreed on; see `remote_digest`.
        """
        self._incoming.withhold()

    @property
    def remote_digest(self) -> bytes | None:
        """The digest with which the other side has ended; None before, or without one."""
        return self._incoming.expected

    def confirm(self) -> None:
        """After `withhold`, and once `at_end`: let the other side report success."""
        self.check()
        self._incoming.withheld = False
        if self._incoming.drained and self._streams is not None:
            self._streams._confirmed(self)

    def read(self, max_bytes: int | None = None) -> memoryview | None:
        """Return the next bytes that came, at most `max_bytes`; None while there are none, or at the end.

        Reading is what gives the other side room to send more.

        Raises:
            PeerError: `integrity_error` when the digest was wrong, `stream_reset` after another failure.
        """
        if self.failure is not None:
            raise _error(self.failure)
        chunk = self._incoming.read(max_bytes)
        if chunk is None:
            return None
        if self._streams is not None:
            self._streams._consumed(self, chunk.nbytes)
        else:
            self._kept._unread_budget.release(chunk.nbytes)
            self._incoming.window.consume(chunk.nbytes, 0.0, None, may_grow=False)
        return chunk

    def reset(self, code: int = ResetCode.CANCELLED, reason: str = "") -> None:
        """Give up both directions; what was not read or sent is gone. Nothing happens when it is closed already.

        Raises:
            ValueError: for a code that has not 16 bits.
        """
        if not 0 < code < 1 << 16:
            raise ValueError(f"a reset's code is 1 to 65535, got {code}")
        if self.closed:
            return
        if self._streams is not None:
            self._streams._reset(self, code, reason)
        else:
            self._kept._fail(self, code, reason)


def _error(failure: StreamFailed) -> PeerError:
    who = "the other side" if failure.remote else "this side"
    code: PeerErrorCode = "integrity_error" if failure.code == ResetCode.INTEGRITY else "stream_reset"
    text = f"{who} gave the stream up with code {failure.code}" + (f": {failure.reason}" if failure.reason else "")
    return PeerError(code, text, details={"code": failure.code, "remote": failure.remote})
