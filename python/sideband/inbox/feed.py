"""What one bridge connection delivers: every blob above a cursor, in order, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sideband.inbox.store import Blob, InboxStore

__all__ = ["Feed"]


class Feed:
    """The blobs of an address above a cursor, in pages, as they come.

    It listens from its construction on, before the first read, so that nothing stored between is missed. A blob that
    the store hands over right after the last one read needs no read. What is kept of those is bounded by a page; when
    the connection is slower than that, they are read again once it has room.

    Args:
        store: where the blobs are.
        address: whose.
        since: the cursor.
        page_blobs: most blobs in a page.
        catch_up_blobs: most blobs in a page that follows a full one.
        page_bytes: a page ends with the blob that reaches this.
        now_ms: Unix time in ms.

    Attributes:
        address: whose blobs.
        cursor: of the last blob handed over.
    """

    __slots__ = (
        "_catch_up_blobs",
        "_closed",
        "_dirty",
        "_limit",
        "_now_ms",
        "_page_blobs",
        "_page_bytes",
        "_pushed",
        "_pushed_bytes",
        "_reading",
        "_store",
        "_waiter",
        "address",
        "cursor",
    )

    def __init__(
        self,
        store: InboxStore,
        address: str,
        since: int,
        *,
        page_blobs: int,
        catch_up_blobs: int,
        page_bytes: int,
        now_ms: Callable[[], int],
    ) -> None:
        self.cursor = since
        self._store = store
        self.address = address
        self._page_blobs = self._limit = page_blobs
        self._catch_up_blobs = catch_up_blobs
        self._page_bytes = page_bytes
        self._now_ms = now_ms
        self._pushed: list[Blob] = []
        self._pushed_bytes = 0
        self._dirty = True
        self._reading = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        store.notices.listen(address, self)

    @property
    def closed(self) -> bool:
        """Whether nothing comes any more."""
        return self._closed

    def notify(self, previous: int | None, blob: Blob | None) -> None:
        """Take note of a blob. See `Listener`."""
        if blob is not None and self._follows(previous):
            self._pushed.append(blob)
            self._pushed_bytes += len(blob.ciphertext)
        else:
            self._dirty = True
        self._wake()

    async def next(self, seconds: float) -> list[Blob]:
        """Return the next page; an empty list after `seconds` without a blob, or once closed.

        Raises:
            StoreError: the store cannot be read.
        """
        try:
            async with asyncio.timeout(seconds):
                while not self._closed:
                    if self._pushed:
                        page = self._take_pushed()
                    elif self._dirty:
                        page = await self._read()
                    else:
                        page = []
                        await self._wait()
                    if page:
                        return page
        except TimeoutError:
            pass
        return []

    def close(self) -> None:
        """Listen no more, and let a waiting `next` return. Idempotent."""
        self._closed = True
        self._store.notices.unlisten(self.address, self)
        self._wake()

    def _follows(self, previous: int | None) -> bool:
        tail = self._pushed[-1].cursor if self._pushed else self.cursor
        return (
            previous == tail
            and not self._dirty
            and not self._reading
            and len(self._pushed) < self._page_blobs
            and self._pushed_bytes < self._page_bytes
        )

    def _take_pushed(self) -> list[Blob]:
        pushed, self._pushed, self._pushed_bytes = self._pushed, [], 0
        self.cursor = pushed[-1].cursor
        now = self._now_ms()
        return [blob for blob in pushed if blob.expires_at > now]

    async def _read(self) -> list[Blob]:
        self._dirty, self._reading = False, True
        try:
            page = await self._store.read(
                self.address, self.cursor, limit=self._limit, max_bytes=self._page_bytes, now=self._now_ms()
            )
        except BaseException:
            self._dirty = True
            raise
        finally:
            self._reading = False
        if page.blobs:
            self.cursor = page.blobs[-1].cursor
        if page.more:
            self._dirty = True
        self._limit = self._catch_up_blobs if page.more else self._page_blobs
        return page.blobs

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
