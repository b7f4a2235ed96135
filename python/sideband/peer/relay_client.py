"""A client's session over an open relay connection: handshake, trust, messages (docs/protocol/sbrp.md and peer.md)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from typing_extensions import Buffer

from sideband.errors import SbrpError, SbrpErrorCode, TransportError
from sideband.identity.trust import IdentityTrust, TrustOutcome
from sideband.secure_relay.client_endpoint import DEFAULT_HANDSHAKE_TIMEOUT, ClientEndpoint
from sideband.secure_relay.client_events import AcceptVerified, ClientEvent, Ended, Established, Failed
from sideband.transport.base import Connection, Messages

__all__ = ["RelayClient"]


class RelayClient:
    """One session with a daemon. Made by `negotiate`; one task at a time may `receive`, several may `send`.

    Attributes:
        endpoint: the session itself, without I/O.
        established: identity key, fingerprint, and how long the handshake took.
        trust: why the key is trusted.
    """

    def __init__(
        self, connection: Connection, endpoint: ClientEndpoint, established: Established, trust: TrustOutcome
    ) -> None:
        self.endpoint = endpoint
        self.established = established
        self.trust = trust
        self._connection = connection
        self._sending = asyncio.Lock()
        self._waiting: list[ClientEvent] = []
        self._reading: asyncio.Task[Messages] | None = None

    @classmethod
    async def negotiate(
        cls,
        connection: Connection,
        *,
        daemon_id: str,
        session_id: int,
        trust: IdentityTrust,
        handshake_timeout: float = DEFAULT_HANDSHAKE_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> RelayClient:
        """Make a session: the daemon proves its key, `trust` decides and pins, then the session keys are derived.

        The connection stays the caller's to close, also when this raises.

        Args:
            connection: to the relay, opened with a token for `session_id`.
            daemon_id: the daemon to reach, 1 to 255 UTF-8 bytes.
            session_id: the token's `sid`.
            trust: decides on the daemon's key. Its time does not count toward `handshake_timeout`.
            handshake_timeout: seconds until the daemon's accept has verified; default 30.
            clock: seconds; only differences count.

        Raises:
            SbrpError: `handshake_failed`, `handshake_timeout`, or the relay's own code such as `daemon_offline`.
            IdentityRefusedError: the key was refused.
            IdentityStoreError: the pin store failed.
            TransportError: the connection was lost.
        """
        endpoint = ClientEndpoint(daemon_id, session_id, clock=clock, handshake_timeout=handshake_timeout)
        try:
            return await _Negotiation(connection, endpoint, trust, handshake_timeout).run()
        except BaseException:
            endpoint.close()
            raise

    async def receive(self) -> list[ClientEvent]:
        """Wait for what happens next: data, a pause, a resume, a limit of the relay. Never an empty list.

        Raises:
            SbrpError: the session is over, for the reason its code tells.
            TransportError: the connection was lost; `ConnectionClosed` when it was closed in good order.
        """
        events, self._waiting = self._waiting, []
        while not events:
            if self.endpoint.ended:
                raise SbrpError(SbrpErrorCode.SESSION_CLEARED, "the session has ended")
            events = self.endpoint.receive_many(await self._read())
            pongs = self.endpoint.take_frames()
            # Waiting for room would stop the reading, and with it perhaps both directions for good; a client lives by
            # WebSocket pings anyway, which the transport answers.
            if pongs and self._connection.buffered_bytes == 0:
                await self._connection.send_many(pongs)
        if isinstance(events[-1], Ended | Failed):
            ending = events.pop()
            if events:
                self._waiting = [ending]
            else:
                raise _as_error(ending)
        return events

    async def send(self, plaintexts: Sequence[Buffer | tuple[Buffer, ...]]) -> None:
        """Seal and send messages of 0 to 65,508 bytes each, in order; wait while the transport's buffer is full.

        A tuple is one message in parts.

        Raises:
            SbrpError: `session_paused` (nothing was sent), `payload_too_large` (nothing was sent), `session_cleared`
                after the end, `sequence_error`.
            TransportError: the connection was lost.
        """
        async with self._sending:
            connection = self._connection
            masked = connection.masks_frames
            if masked is None:
                await connection.send_many(self.endpoint.seal(plaintexts))
            else:
                await connection.send_framed(self.endpoint.seal_framed(plaintexts, masked=masked))

    async def close(self) -> None:
        """Wipe the session's keys. The connection stays open."""
        self.endpoint.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
            self._reading = None

    async def leave(self) -> None:
        """Wipe the session's keys and close the connection: the session goes on by another way."""
        await self.close()
        await self._connection.close()

    def _adopt(self, events: list[ClientEvent], reading: asyncio.Task[Messages]) -> None:
        self._waiting = events
        self._reading = reading

    async def _read(self) -> Messages:
        if self._reading is None:
            return await self._connection.receive_many()
        reading, self._reading = self._reading, None
        return await reading


class _Negotiation:
    def __init__(
        self, connection: Connection, endpoint: ClientEndpoint, trust: IdentityTrust, handshake_timeout: float
    ) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._trust = trust
        self._handshake_timeout = handshake_timeout
        self._reading: asyncio.Task[Messages] | None = None
        self._deciding: asyncio.Task[TrustOutcome] | None = None
        self._events: list[ClientEvent] = []

    async def run(self) -> RelayClient:
        try:
            verified = await self._verified_accept()
            self._deciding = asyncio.create_task(self._trust.resolve(self._endpoint.daemon_id, verified.identity_key))
            outcome = await self._decision(self._deciding)
            established, *rest = self._endpoint.establish()
            if not isinstance(established, Established):
                raise _as_error(established)
            client = RelayClient(self._connection, self._endpoint, established, outcome)
            client._adopt(self._events + rest, self._read_ahead())
            self._reading = None
            return client
        finally:
            await _cancel(self._reading, self._deciding)

    async def _verified_accept(self) -> AcceptVerified:
        deadline = asyncio.timeout(self._handshake_timeout)
        try:
            async with deadline:
                with contextlib.suppress(TransportError):
                    # A relay that refuses says why and closes at once: what it said is read below, and when it said
                    # nothing the reading raises the same error.
                    await self._connection.send(self._endpoint.start())
                while True:
                    for event in self._endpoint.receive(await self._connection.receive()):
                        if isinstance(event, AcceptVerified):
                            return event
                        if isinstance(event, Ended | Failed):
                            raise _as_error(event)
                        self._events.append(event)
        except TimeoutError:
            if not deadline.expired():
                raise
            text = f"no answer within {self._handshake_timeout:g} s; the daemon may be overloaded, try again"
            raise SbrpError(SbrpErrorCode.HANDSHAKE_TIMEOUT, text) from None

    async def _decision(self, deciding: asyncio.Task[TrustOutcome]) -> TrustOutcome:
        # A user may compare fingerprints for minutes; unless someone reads meanwhile, the relay's pings go unanswered
        # and it takes the client for dead.
        while True:
            reading = self._read_ahead()
            await asyncio.wait({deciding, reading}, return_when=asyncio.FIRST_COMPLETED)
            if deciding.done():
                return deciding.result()
            self._reading = None
            for event in self._endpoint.receive_many(reading.result()):
                if isinstance(event, Ended | Failed):
                    raise _as_error(event)
                self._events.append(event)

    def _read_ahead(self) -> asyncio.Task[Messages]:
        if self._reading is None:
            self._reading = asyncio.create_task(self._connection.receive_many())
        return self._reading


async def _cancel(*tasks: asyncio.Task[Any] | None) -> None:
    owned = [task for task in tasks if task is not None]
    for task in owned:
        task.cancel()
    # What they raise is told by what ended the negotiation.
    await asyncio.gather(*owned, return_exceptions=True)


def _as_error(event: ClientEvent) -> SbrpError:
    if isinstance(event, Failed):
        return event.error
    if isinstance(event, Ended):
        return SbrpError(event.code, event.message)
    return SbrpError(SbrpErrorCode.HANDSHAKE_FAILED, f"unexpected {type(event).__name__}")
