"""A feed hands over what is above its cursor, in order and once, however puts and reads fall together."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sideband.inbox.feed import Feed
from sideband.inbox.store import DEFAULT_QUOTAS, Blob, MemoryInboxStore, NewBlob, message_id

NOW = 1_790_000_000_000

STEPS = st.lists(
    st.sampled_from(["put", "put", "put", "next", "wake", "delete", "later"]) | st.just("burst"), max_size=60
)


class World:
    """One address, one feed, a clock."""

    def __init__(self, page_blobs: int, page_bytes: int) -> None:
        self.now = NOW
        self.store = MemoryInboxStore()
        self.feed = Feed(
            self.store,
            "bob",
            0,
            page_blobs=page_blobs,
            catch_up_blobs=page_blobs * 3,
            page_bytes=page_bytes,
            now_ms=lambda: self.now,
        )
        self.put: list[Blob] = []
        self.gone: set[int] = set()
        self.got: list[Blob] = []

    async def step(self, name: str) -> None:
        match name:
            case "put":
                await self.add()
            case "burst":
                for _ in range(7):
                    await self.add()
            case "next":
                self.got += await self.feed.next(0)
            case "wake":
                self.feed.notify(None, None)
            case "delete" if self.put:
                blob = self.put[len(self.put) // 2]
                if await self.store.delete("bob", blob.msg_id, now=self.now, forget_at=self.now + 10**9):
                    self.gone.add(blob.cursor)
            case "later":
                self.now += 20_000
                self.gone |= {blob.cursor for blob in self.put if blob.expires_at <= self.now}

    async def add(self) -> None:
        content = b"%d" % len(self.put)
        expires_at = self.now + (60_000 if len(self.put) % 3 else 10**9)
        new = NewBlob("bob", message_id(content), content, bytes(32), expires_at)
        receipt = await self.store.put(new, DEFAULT_QUOTAS, self.now)
        self.put.append(Blob(receipt.cursor, new.msg_id, content, "", expires_at))


@settings(max_examples=200)
@given(STEPS, st.integers(1, 5), st.integers(1, 12))
def test_each_once_and_in_order(steps: list[str], page_blobs: int, page_bytes: int) -> None:
    async def run() -> World:
        world = World(page_blobs, page_bytes)
        await world.store.register("bob", bytes(32), envelope_key=None, signed_at=NOW, limit=1)
        for name in steps:
            await world.step(name)
        while page := await world.feed.next(0):
            world.got += page
        world.feed.close()
        return world

    world = asyncio.run(run())
    cursors = [blob.cursor for blob in world.got]
    assert cursors == sorted(set(cursors))
    assert {blob.cursor for blob in world.put} - set(cursors) <= world.gone
    assert len(world.store.notices) == 0


async def test_what_is_pushed_is_bounded_by_a_page() -> None:
    world = World(5, 10**6)
    await world.store.register("bob", bytes(32), envelope_key=None, signed_at=NOW, limit=1)
    assert await world.feed.next(0) == []
    for _ in range(50):
        await world.add()
    assert len(world.feed._pushed) == 5
    got: list[Any] = []
    while page := await world.feed.next(0):
        got += page
    assert [blob.ciphertext for blob in got] == [b"%d" % number for number in range(50)]


async def test_closing_ends_a_wait() -> None:
    world = World(5, 100)
    waiting = asyncio.create_task(world.feed.next(3600))
    await asyncio.sleep(0)
    world.feed.close()
    world.feed.close()
    assert await waiting == []
    assert world.feed.closed
