"""What a caller can wait for: an active session, an attempt, a reconnect cycle."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

from sideband.errors import PeerError
from sideband.peer.lifecycle import PeerState

__all__ = ["Outcome", "PeerWaits", "ReconnectCycle", "ReconnectResult"]


class Outcome:
    """A result that many tasks may wait for; an error that nobody waits for is no failure of the program."""

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None
        self._done = False
        self._error: BaseException | None = None

    @property
    def done(self) -> bool:
        """Whether it is decided."""
        return self._done

    def succeed(self) -> None:
        """Let those who wait go on. Only the first decision counts."""
        if not self._done:
            self._done = True
            if self._future is not None:
                self._future.set_result(None)

    def fail(self, error: BaseException) -> None:
        """Raise `error` where someone waits. Only the first decision counts."""
        if not self._done:
            self._done = True
            self._error = error
            if self._future is not None:
                self._future.set_exception(error)
                self._future.exception()  # someone may have stopped waiting; asyncio need not complain

    async def wait(self) -> None:
        """Wait for the decision; raise its error."""
        if self._done:
            if self._error is not None:
                raise self._error
            return
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._future)


@dataclass(frozen=True, slots=True)
class ReconnectResult:
    """How a reconnect cycle ended.

    Attributes:
        outcome: "connected"; "aborted" by the application; "failed" for good, or for lack of attempts.
        error: what failed, only with "failed".
    """

    outcome: Literal["connected", "aborted", "failed"]
    error: BaseException | None = None


class ReconnectCycle:
    """The time from a lost session, or a failed attempt, to an active session or a closed peer.

    `await` it for its `ReconnectResult`; it never raises for a failed cycle.
    """

    def __init__(self) -> None:
        self._ended = Outcome()
        self.result: ReconnectResult | None = None

    def end(self, result: ReconnectResult) -> None:
        """Decide the cycle; for the peer."""
        self.result = result
        self._ended.succeed()

    def __await__(self) -> Generator[Any, None, ReconnectResult]:
        return self._wait().__await__()

    async def _wait(self) -> ReconnectResult:
        await self._ended.wait()
        return self.result or ReconnectResult("aborted")


class PeerWaits:
    """All that callers of one peer wait for.

    Attributes:
        ready: an active session.
        attempt: the end of the attempt under way, well or not.
        cycle: the reconnect cycle under way, or None.
    """

    def __init__(self) -> None:
        self.ready = Outcome()
        self.attempt = Outcome()
        self.cycle: ReconnectCycle | None = None

    def entered(self, state: PeerState, previous: PeerState) -> None:
        """The peer went from one state to another."""
        if previous is PeerState.ACTIVE and state is not PeerState.CLOSED:
            self.ready = Outcome()
        if state is PeerState.CONNECTING:
            self.attempt = Outcome()
        elif state is PeerState.ACTIVE:
            self.succeeded()
        elif state is PeerState.RECONNECTING and self.cycle is None:
            self.cycle = ReconnectCycle()
        elif state is PeerState.CLOSED:
            closed = PeerError("peer_closed", "the peer was disconnected")
            self.attempt.fail(closed)
            self.ready.fail(closed)

    def succeeded(self) -> None:
        """A session is active."""
        self.attempt.succeed()
        self.ready.succeed()

    def failed(self, error: BaseException, *, fatal: bool, closed: bool) -> None:
        """An attempt failed, which perhaps closed the peer."""
        self.attempt.fail(error)
        if closed:
            self.ready.fail(error if fatal else _closed_by(error))

    def end_cycle(self, result: ReconnectResult) -> None:
        """The reconnect cycle under way, if any, is over."""
        cycle, self.cycle = self.cycle, None
        if cycle is not None:
            cycle.end(result)


def _closed_by(error: BaseException) -> PeerError:
    closed = PeerError("peer_closed", f"the peer gave up: {error}")
    closed.__cause__ = error
    return closed
