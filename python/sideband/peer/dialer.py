"""Connects a peer, again and again as its lifecycle says."""

from __future__ import annotations

import asyncio

from sideband.errors import PeerError, TransportError
from sideband.peer.lifecycle import Failed, PeerState, RetryDue, TransportOpened
from sideband.peer.link import Link
from sideband.peer.negotiator import ConnectionParams, Negotiator
from sideband.peer.options import PeerOptions
from sideband.peer.peer import Peer
from sideband.peer.pump import run_session
from sideband.peer.session import Session
from sideband.protocol.connection import SbpConnection
from sideband.protocol.handshake import HandshakePayload
from sideband.transport.base import ConnectOptions, Transport

__all__ = ["Dialer"]


class Dialer:
    """The attempts of one peer.

    Args:
        endpoint: where to connect, unless the negotiator's parameters name another place.
        transport: what connects.
        negotiator: what opens a session on the connection.
        options: the peer's.
    """

    def __init__(
        self, endpoint: str | None, transport: Transport, negotiator: Negotiator, options: PeerOptions
    ) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._negotiator = negotiator
        self._options = options
        self._delay = 0.0

    async def run(self, peer: Peer) -> None:
        """Make attempts until the peer is closed."""
        while True:
            self._judge(peer, await self._failure_of_attempt(peer))
            if peer.closed:
                break
            await self._options.clock.sleep(self._delay)
            peer.apply(RetryDue())
        await peer.finish_work()

    def _judge(self, peer: Peer, error: Exception) -> None:
        # A session's end is told when it happens, long before its connection is closed; the other failures only here.
        if peer.state not in (PeerState.CLOSED, PeerState.RECONNECTING):
            fatal = self._negotiator.classify_error(error) == "fatal"
            self._delay = peer.apply(Failed(error, fatal, getattr(error, "retry_after", None)))

    async def _failure_of_attempt(self, peer: Peer) -> Exception:
        try:
            await self._attempt(peer)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return PeerError("cancelled", "a callback of the attempt was cancelled")
        except Exception as error:  # noqa: BLE001  (whatever ends an attempt is the lifecycle's to judge, and is told)
            return error
        return PeerError("not_connected", "the session ended")

    async def _attempt(self, peer: Peer) -> None:
        params = await self._negotiator.get_connection_params()
        endpoint = params.endpoint or self._endpoint
        if endpoint is None:
            raise PeerError("invalid_state", "neither the peer nor its connection parameters name an endpoint")
        connection = await self._transport.connect(endpoint, ConnectOptions(headers=params.headers))
        try:
            peer.apply(TransportOpened())
            await self._serve(peer, await self._negotiator.negotiate(connection), params)
        finally:
            await self._negotiator.terminate(connection)

    async def _serve(self, peer: Peer, link: Link, params: ConnectionParams) -> None:
        options, wake = self._options, asyncio.Event()

        def on_handshake(remote: HandshakePayload) -> None:
            timer.cancel()
            peer.session_opened(session, link.info, remote)
            session.bind(peer)

        connection = SbpConnection(
            local=options.handshake(params.metadata),
            opener=True,
            max_frame_payload=link.info.max_frame_payload,
            clock=options.clock.time,
            send_budget=options.send_budget,
            resumable=link.info.resumable,
            limits=options.limits,
        )
        session = Session(connection, options.clock, wake.set, on_handshake, lambda error: self._judge(peer, error))
        late = TransportError("timeout", f"no SBP handshake came within {options.handshake_timeout:g} s")
        timer = options.clock.call_later(options.handshake_timeout, lambda: session.fail(late))
        connection.start()
        wake.set()
        try:
            await run_session(link, session, wake)
        finally:
            timer.cancel()
