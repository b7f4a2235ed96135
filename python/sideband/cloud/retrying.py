"""Asks again for what failed in a way that may pass; the delays are those of `RetryPolicy`."""

from __future__ import annotations

import random as random_numbers
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sideband.errors import PeerError, SidebandError
from sideband.peer.clock import Clock
from sideband.peer.negotiator import ErrorClass
from sideband.peer.policies import RetryPolicy

__all__ = ["retrying"]

_Answer = TypeVar("_Answer")


async def retrying(
    call: Callable[[], Awaitable[_Answer]],
    *,
    policy: RetryPolicy,
    clock: Clock,
    classify: Callable[[BaseException], ErrorClass],
    on_failure: Callable[[SidebandError, float | None], None],
    random: Callable[[], float] = random_numbers.random,
) -> _Answer:
    """Return what `call` returns, at the first time that it does not fail.

    Args:
        call: what to do, again and again.
        policy: how often and after which delays; a Retry-After makes a delay longer.
        clock: where time comes from.
        classify: whether another try may help after an error.
        on_failure: told each error, with the seconds until the next try, None when there is none.
        random: returns a number from 0 up to 1, for the jitter.

    Raises:
        SidebandError: a fatal one, as it is.
        PeerError: `not_connected` after the last try that `policy` allows, with the last error as its cause.
    """
    retries = 0
    while True:
        try:
            return await call()
        except SidebandError as error:
            if classify(error) == "fatal":
                on_failure(error, None)
                raise
            if not policy.allows(retries):
                on_failure(error, None)
                raise PeerError("not_connected", f"gave up after {retries + 1} tries: {error}") from error
            delay = max(policy.delay(retries, random()), getattr(error, "retry_after", None) or 0.0)
            on_failure(error, delay)
        retries += 1
        await clock.sleep(delay)
