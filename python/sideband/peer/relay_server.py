"""Accepts peers through a relay: a daemon (docs/protocol/peer.md, "Server side" and "Session pause and resume")."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from typing_extensions import override

from sideband.errors import ConfigError, PeerError, SidebandError, TransportError
from sideband.peer.acceptance import Acceptance, Acceptor
from sideband.peer.negotiator import REPLACED_CLOSE_CODE
from sideband.peer.peer import Peer
from sideband.peer.policies import RetryPolicy
from sideband.peer.pump import FAREWELL_SECONDS
from sideband.peer.relay_negotiators import RelayDaemonNegotiator
from sideband.peer.relay_sessions import RelaySessions
from sideband.peer.server import Server
from sideband.peer.waiting import Outcome
from sideband.secure_relay.daemon_endpoint import DaemonEndpoint
from sideband.transport.base import ConnectOptions, Transport

__all__ = ["DAEMON_RETRY", "STEADY_SECONDS", "RelayServer"]

_log = logging.getLogger("sideband.peer")

DAEMON_RETRY = RetryPolicy(mode="on-error")
"""How a daemon comes back to its relay unless told otherwise: 1 s doubling to 30 s, jitter 0.2, without end."""
STEADY_SECONDS = 5.0
"""A relay connection that stood so long starts the back-off anew."""


class RelayServer(Server):
    """A daemon: one connection to a relay carries all its peers. `listen` makes one.

    While the relay connection is down, the peers are paused and keep their keys; they go on when it is back.

    Args:
        endpoint: the relay's URL; None when the connection parameters name it.
        negotiator: the daemon's id, key and tokens.
        transport: what connects.
        acceptance: how sessions are accepted.
    """

    def __init__(
        self,
        endpoint: str | None,
        negotiator: RelayDaemonNegotiator,
        transport: Transport,
        acceptance: Acceptance,
    ) -> None:
        options = acceptance.options
        self._endpoint = endpoint
        self._negotiator = negotiator
        self._transport = transport
        self._options = options
        self._retry = DAEMON_RETRY if options.retry.mode == "never" else options.retry
        self._acceptor = Acceptor(acceptance)
        self._wire = DaemonEndpoint(
            negotiator.daemon_id, negotiator.identity, clock=options.clock.time, limits=negotiator.limits
        )
        self._sessions = RelaySessions(self._wire, self._acceptor, options.clock.time)
        self._task: asyncio.Task[None] | None = None
        self._first = Outcome()
        self._over = Outcome()
        self._stood_since: float | None = None
        self._closing = False

    @property
    @override
    def address(self) -> str:
        return self._endpoint or ""

    @property
    def daemon_id(self) -> str:
        """The daemon's id, by which clients find it."""
        return self._negotiator.daemon_id

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the daemon's identity key, for people to compare."""
        return self._negotiator.fingerprint

    @property
    def online(self) -> bool:
        """Whether the relay connection stands."""
        return self._wire.connected

    @property
    @override
    def connections(self) -> tuple[Peer, ...]:
        return self._acceptor.connections

    async def start(self) -> None:
        """Connect to the relay, and return once the first connection stands.

        Raises:
            SidebandError: a fatal error; retryable ones are retried.
        """
        self._task = asyncio.create_task(self._run(), name=f"sideband daemon {self.daemon_id}")
        try:
            await self._first.wait()
        except BaseException:
            await self.close()
            raise

    async def wait_closed(self) -> None:
        """Wait until the daemon is closed.

        Raises:
            SidebandError: what ended it, when it was not `close`; such as another process that uses its key.
        """
        await self._over.wait()

    @override
    async def close(self) -> None:
        self._closing = True
        self._acceptor.close()
        with contextlib.suppress(SidebandError, TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._sessions.finish()
                await self._sessions.daemon.flush()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._acceptor.finish()
        self._over.succeed()

    async def _run(self) -> None:
        writer = asyncio.create_task(self._sessions.write(), name="sideband daemon writer")
        reader = asyncio.create_task(self._stay_connected(), name="sideband daemon connection")
        tasks = (writer, reader)
        try:
            # Neither returns while the daemon can go on.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        if self._closing:
            return
        error = next(outcome for outcome in outcomes if isinstance(outcome, Exception))
        _log.error("the daemon stops: %s", error)
        self._first.fail(error)
        self._acceptor.fail_all(error)
        await self._sessions.finish()
        self._over.fail(error)

    async def _stay_connected(self) -> None:
        clock, retries = self._options.clock, 0
        while True:
            self._stood_since = None
            error = await self._failure_of_connection()
            if self._stood_since is not None and clock.time() - self._stood_since >= STEADY_SECONDS:
                retries = 0
            fatal = self._negotiator.classify_error(error) == "fatal"
            if fatal or self._closing or not self._retry.allows(retries):
                raise error
            delay = max(self._retry.delay(retries, self._options.random()), getattr(error, "retry_after", None) or 0.0)
            retries += 1
            _log.warning("the relay connection is down (%s); next attempt in %.1f s", error, delay)
            await clock.sleep(delay)

    async def _failure_of_connection(self) -> Exception:
        try:
            await self._connect_once()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return PeerError("cancelled", "a callback of the attempt was cancelled")
        except TransportError as error:
            return _replaced() if error.close_code == REPLACED_CLOSE_CODE else error
        except Exception as error:  # noqa: BLE001  (whatever ends a relay connection is judged by the negotiator, and told)
            return error
        return PeerError("not_connected", "the relay connection ended")

    async def _connect_once(self) -> None:
        params = await self._negotiator.next_params()
        endpoint = params.endpoint or self._endpoint
        if endpoint is None:
            raise ConfigError("neither listen nor the connection parameters name a relay")
        connection = await self._transport.connect(endpoint, ConnectOptions(headers=params.headers))
        try:
            self._negotiator.accepted()
            self._endpoint = endpoint
            self._stood_since = self._options.clock.time()
            self._first.succeed()
            await self._sessions.daemon.serve(connection)
        finally:
            await connection.close()


def _replaced() -> TransportError:
    text = "another process connected with this daemon's key, and only one can be the daemon: end one of the two"
    return TransportError("abnormal_close", text, close_code=REPLACED_CLOSE_CODE)
