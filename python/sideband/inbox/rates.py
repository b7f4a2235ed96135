"""Token buckets by key, in a table of bounded size. No I/O; time is passed in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from itertools import islice

from sideband.client_limits import TokenBucket
from sideband.errors import InboxError
from sideband.inbox.config import RateLimit

__all__ = ["Rates"]

_LOOKED_AT = 8


class Rates:
    """One bucket a key.

    Args:
        limit: of each bucket.
        max_keys: size of the table. When all of it is in use, keys that are not in it share one bucket.
    """

    def __init__(self, limit: RateLimit, max_keys: int) -> None:
        self._limit = limit
        self._max_keys = max_keys
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()
        self._strangers: TokenBucket | None = None

    def take(self, key: Hashable, now: float) -> None:
        """Count one.

        Raises:
            InboxError: `SHADE_RATE_LIMIT`: there were too many; `retry_after` tells when there is room again.
        """
        wait = self._bucket(key, now).take(now)
        if wait > 0:
            raise InboxError("SHADE_RATE_LIMIT", f"too many requests; try again in {wait:.0f} s", retry_after=wait)

    def __len__(self) -> int:
        return len(self._buckets)

    def _bucket(self, key: Hashable, now: float) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._buckets.move_to_end(key)
            return bucket
        if len(self._buckets) >= self._max_keys and not self._make_room(now):
            if self._strangers is None:
                self._strangers = self._new(now)
            return self._strangers
        bucket = self._buckets[key] = self._new(now)
        return bucket

    def _new(self, now: float) -> TokenBucket:
        return TokenBucket(self._limit.per_second, self._limit.burst, now)

    def _make_room(self, now: float) -> bool:
        # The longest unused come first; looking at a few keeps a flood of new keys from costing a scan each.
        for key, bucket in list(islice(self._buckets.items(), _LOOKED_AT)):
            if bucket.is_full(now):
                del self._buckets[key]
                return True
        return False
