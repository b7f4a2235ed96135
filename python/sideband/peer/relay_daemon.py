"""A daemon's sessions over a relay connection, and over the next one (docs/protocol/sbrp.md and peer.md)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from typing_extensions import Buffer

from sideband.errors import SbrpError, SbrpErrorCode, TransportError
from sideband.secure_relay.daemon_endpoint import DaemonEndpoint
from sideband.secure_relay.daemon_events import ConnectionFailed, DaemonEvent
from sideband.transport.base import Connection

__all__ = ["RelayDaemon"]


class RelayDaemon:
    """Moves the frames of a `DaemonEndpoint`, which outlives its connections.

    Args:
        endpoint: the sessions. Its clock must run as fast as `clock`.
        on_event: told everything that happens, in order, from the task that runs `serve`. It must not wait: one session
            that is slow would stop all others.
        clock: seconds, the endpoint's.
    """

    def __init__(
        self,
        endpoint: DaemonEndpoint,
        on_event: Callable[[DaemonEvent], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self._on_event = on_event
        self._clock = clock
        self._connection: Connection | None = None
        self._sending = asyncio.Lock()
        self._wake = asyncio.Event()
        self._deadline: float | None = None

    async def serve(self, connection: Connection) -> None:
        """Serve every session over `connection` until it ends; then all of them are paused, none is lost.

        The connection stays the caller's to close. Call it again with the next connection.

        Raises:
            SbrpError: the relay ended the connection with a code, or sent too many malformed frames.
            TransportError: the connection was lost; `ConnectionClosed` when it was closed in good order.
        """
        if self._connection is not None:
            msg = "a daemon has one relay connection at a time"
            raise RuntimeError(msg)
        self._connection = connection
        tasks: set[asyncio.Task[None]] = set()
        try:
            self._tell(self.endpoint.on_reconnected())
            tasks = {asyncio.create_task(self._read(connection)), asyncio.create_task(self._keep())}
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self._connection = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tell(self.endpoint.on_disconnected())
        for task in done:
            task.result()

    async def send(self, session_id: int, plaintexts: Sequence[Buffer | tuple[Buffer, ...]]) -> None:
        """Seal and send messages of 0 to 65,508 bytes each, in order; wait while the transport's buffer is full.

        A tuple is one message in parts.

        Raises:
            SbrpError: `session_paused` when the connection is gone (it may have been lost under way), `session_cleared`
                when the session has ended, `payload_too_large` (nothing was sent), `sequence_error`.
        """
        async with self._sending:
            connection = self._connection
            if connection is None:
                # This says more where the session is over.
                self.endpoint.seal(session_id, plaintexts)
                raise _lost(session_id)
            masked = connection.masks_frames
            try:
                # An accept or a signal that waits goes first: data must not overtake it.
                if masked is None:
                    sealed = self.endpoint.seal(session_id, plaintexts)
                    await connection.send_many(self.endpoint.take_frames() + sealed)
                else:
                    wire = self.endpoint.seal_framed(session_id, plaintexts, masked=masked)
                    if frames := self.endpoint.take_frames():
                        await connection.send_many(frames)
                    await connection.send_framed(wire)
            except TransportError:
                raise _lost(session_id) from None

    def end(self, session_id: int, *, shutdown: bool = False) -> None:
        """End a session from this side; its client is told by the relay. With `shutdown` it may come back at once."""
        self.endpoint.end(session_id, shutdown=shutdown)
        self._wake.set()

    async def flush(self) -> None:
        """Send what the endpoint has queued by itself, such as the farewells of `endpoint.close()`.

        Raises:
            TransportError: the connection was lost.
        """
        async with self._sending:
            frames = self.endpoint.take_frames()
            if frames and self._connection is not None:
                await self._connection.send_many(frames)

    def _tell(self, events: list[DaemonEvent]) -> None:
        failure: SbrpError | None = None
        for event in events:
            self._on_event(event)
            if isinstance(event, ConnectionFailed):
                failure = event.error
        if failure is not None and self._connection is not None:
            raise failure
        if self.endpoint.has_frames or self.endpoint.deadline != self._deadline:
            self._wake.set()

    async def _read(self, connection: Connection) -> None:
        while True:
            self._tell(self.endpoint.receive_many(await connection.receive_many()))

    async def _keep(self) -> None:
        # Apart from the reader, so that waiting for room to send an accept or a pong never stops the reading.
        while True:
            self._deadline = self.endpoint.deadline
            remaining = None if self._deadline is None else max(0.0, self._deadline - self._clock())
            try:
                async with asyncio.timeout(remaining):
                    await self._wake.wait()
            except TimeoutError:
                self._tell(self.endpoint.on_timer())
            self._wake.clear()
            try:
                await self.flush()
            except TransportError:
                # The reader meets the same loss and reports it.
                return


def _lost(session_id: int) -> SbrpError:
    text = "the relay connection is gone; what was under way may be lost"
    return SbrpError(SbrpErrorCode.SESSION_PAUSED, text, session_id=session_id)
