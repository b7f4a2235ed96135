"""What a caller can wait for: an active session, an attempt, a reconnect cycle."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Outcome", "ReconnectCycle", "ReconnectResult"]


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
