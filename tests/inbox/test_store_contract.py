"""What every store of inboxes promises: one suite, four stores."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sideband.errors import InboxError
from sideband.inbox.store import (
    DEFAULT_QUOTAS,
    Blob,
    EnvelopeKeyRecord,
    InboxStore,
    NewBlob,
    Quotas,
    Receipt,
    message_id,
    sender_hint,
)

from .conftest import gather_all

NOW = 1_777_900_000_000
LATER = NOW + 7 * 86_400_000
ALICE, BOB, CAROL = (bytes([number]) * 32 for number in (1, 2, 3))
KEY_1, KEY_2 = (EnvelopeKeyRecord(bytes([number]) * 32, bytes([number]) * 64) for number in (4, 5))

OpenStore = Callable[[str], Awaitable[InboxStore]]


async def register(store: InboxStore, address: str = "bob", key: bytes = BOB, **changed: Any) -> bool:
    words: dict[str, Any] = {"envelope_key": None, "signed_at": NOW, "limit": 100, **changed}
    return await store.register(address, key, **words)


async def put(
    store: InboxStore,
    content: bytes,
    *,
    address: str = "bob",
    sender: bytes = ALICE,
    expires_at: int = LATER,
    quotas: Quotas = DEFAULT_QUOTAS,
    now: int = NOW,
) -> Receipt:
    return await store.put(NewBlob(address, message_id(content), content, sender, expires_at), quotas, now)


async def read(
    store: InboxStore, since: int = 0, *, address: str = "bob", limit: int = 50, **changed: Any
) -> list[Blob]:
    words: dict[str, Any] = {"max_bytes": 2**30, "now": NOW, **changed}
    return (await store.read(address, since, limit=limit, **words)).blobs


async def refusal(call: Awaitable[Any]) -> str:
    with pytest.raises(InboxError) as caught:
        await call
    return caught.value.code


class Heard:
    """A listener that keeps what it heard."""

    def __init__(self) -> None:
        self.notices: list[tuple[int | None, Blob | None]] = []
        self.event = asyncio.Event()

    def notify(self, previous: int | None, blob: Blob | None) -> None:
        self.notices.append((previous, blob))
        self.event.set()


async def test_the_first_use_of_an_address_wins(store: InboxStore) -> None:
    assert await register(store)
    assert not await register(store)
    assert await refusal(register(store, key=CAROL)) == "SHADE_UNAUTHORIZED"
    owner = await store.owner("bob")
    assert owner is not None
    assert (owner.address, owner.signing_key, owner.highest, owner.envelope_key) == ("bob", BOB, 0, None)
    assert await store.owner("carol") is None


async def test_of_many_at_once_one_gets_the_address(store: InboxStore) -> None:
    async def attempt(number: int) -> str:
        try:
            return str(await register(store, key=bytes([number]) * 32))
        except InboxError as error:
            return error.code

    outcomes = await gather_all(*(attempt(number) for number in range(20)))
    assert sorted(outcomes) == ["SHADE_UNAUTHORIZED"] * 19 + ["True"]


async def test_the_number_of_addresses_is_limited(store: InboxStore) -> None:
    assert await register(store, "a", limit=2)
    assert await register(store, "b", limit=2)
    assert await refusal(register(store, "c", limit=2)) == "SHADE_QUOTA_EXCEEDED"
    assert not await register(store, "a", limit=2)


async def test_the_newest_envelope_key_is_published(store: InboxStore) -> None:
    async def published() -> EnvelopeKeyRecord | None:
        owner = await store.owner("bob")
        assert owner is not None
        return owner.envelope_key

    await register(store, envelope_key=KEY_1)
    assert await published() == KEY_1
    await register(store, signed_at=NOW + 1)
    assert await published() == KEY_1
    await register(store, envelope_key=KEY_2, signed_at=NOW)
    assert await published() == KEY_1
    await register(store, envelope_key=KEY_2, signed_at=NOW + 2)
    assert await published() == KEY_2


async def test_the_newest_watchers_count(store: InboxStore) -> None:
    async def watchers() -> frozenset[str]:
        owner = await store.owner("bob")
        assert owner is not None
        return owner.watchers

    await register(store)
    assert await watchers() == frozenset()
    await store.set_watchers("bob", frozenset({"alice", "carol"}), signed_at=NOW)
    await store.set_watchers("bob", frozenset({"mallory"}), signed_at=NOW)
    assert await watchers() == {"alice", "carol"}
    await store.set_watchers("bob", frozenset(), signed_at=NOW + 1)
    assert await watchers() == frozenset()


async def test_a_put_is_read_as_it_came(store: InboxStore) -> None:
    await register(store)
    content = bytes(range(256)) * 16
    receipt = await put(store, content, expires_at=NOW + 60_000)
    assert not receipt.duplicate
    assert await read(store) == [Blob(receipt.cursor, message_id(content), content, sender_hint(ALICE), NOW + 60_000)]
    owner = await store.owner("bob")
    assert owner is not None
    assert owner.highest >= receipt.cursor > 0


async def test_a_blob_of_1_mib(store: InboxStore) -> None:
    await register(store)
    content = bytes(range(256)) * 4096
    await put(store, content)
    assert [blob.ciphertext for blob in await read(store)] == [content]


async def test_an_address_nobody_owns_takes_nothing(store: InboxStore) -> None:
    assert await refusal(put(store, b"x")) == "SHADE_NOT_FOUND"
    assert await read(store) == []
    assert not await store.delete("bob", message_id(b"x"), now=NOW, forget_at=LATER)


async def test_the_same_put_again_is_answered_the_same(store: InboxStore) -> None:
    await register(store)
    first = await put(store, b"x", expires_at=NOW + 60_000)
    again = await put(store, b"x", expires_at=NOW + 90_000, sender=CAROL)
    assert again == Receipt(first.cursor, first.expires_at, duplicate=True)
    assert len(await read(store)) == 1
    await register(store, "carol", CAROL)
    assert not (await put(store, b"x", address="carol")).duplicate


async def test_a_thousand_puts_at_once_of_one_blob_are_one_delivery(store: InboxStore) -> None:
    await register(store)
    heard = Heard()
    store.notices.listen("bob", heard)
    receipts = await gather_all(*(put(store, b"same") for _ in range(1000)))
    assert sum(not receipt.duplicate for receipt in receipts) == 1
    assert len({receipt.cursor for receipt in receipts}) == 1
    assert len(await read(store)) == 1
    assert len(heard.notices) == 1


async def test_puts_at_once_have_cursors_of_their_own_and_order(store: InboxStore) -> None:
    await register(store)
    await register(store, "carol", CAROL)
    contents = [b"%d" % number for number in range(100)]
    receipts = await gather_all(
        *(put(store, content, address="carol" if number % 3 == 0 else "bob") for number, content in enumerate(contents))
    )
    for address in ("bob", "carol"):
        blobs = await read(store, address=address, limit=100)
        cursors = [blob.cursor for blob in blobs]
        assert cursors == sorted(set(cursors))
        by_cursor = {blob.cursor: blob.ciphertext for blob in blobs}
        for number, (content, receipt) in enumerate(zip(contents, receipts, strict=True)):
            if (number % 3 == 0) == (address == "carol"):
                assert by_cursor[receipt.cursor] == content


async def test_pages_go_on_after_their_last_cursor(store: InboxStore) -> None:
    await register(store)
    for number in range(7):
        await put(store, b"%d" % number)
    first = await store.read("bob", 0, limit=3, max_bytes=2**30, now=NOW)
    second = await store.read("bob", first.blobs[-1].cursor, limit=3, max_bytes=2**30, now=NOW)
    third = await store.read("bob", second.blobs[-1].cursor, limit=3, max_bytes=2**30, now=NOW)
    pages = [first, second, third]
    assert [[blob.ciphertext for blob in page.blobs] for page in pages] == [
        [b"0", b"1", b"2"],
        [b"3", b"4", b"5"],
        [b"6"],
    ]
    assert [page.more for page in pages] == [True, True, False]
    exact = await store.read("bob", 0, limit=7, max_bytes=2**30, now=NOW)
    assert (len(exact.blobs), exact.more) == (7, False)


async def test_a_page_ends_with_the_blob_that_reaches_its_bytes(store: InboxStore) -> None:
    await register(store)
    for number in range(4):
        await put(store, bytes([number]) * 1000)

    async def page(max_bytes: int) -> tuple[int, bool]:
        found = await store.read("bob", 0, limit=50, max_bytes=max_bytes, now=NOW)
        return len(found.blobs), found.more

    assert [await page(size) for size in (1, 1000, 1001, 3000, 3001)] == [
        (1, True),
        (1, True),
        (2, True),
        (3, True),
        (4, False),
    ]


async def test_expired_blobs_are_invisible_at_once(store: InboxStore) -> None:
    await register(store)
    await put(store, b"short", expires_at=NOW + 60_000)
    await put(store, b"long")
    assert len(await read(store, now=NOW + 59_999)) == 2
    assert [blob.ciphertext for blob in await read(store, now=NOW + 60_000)] == [b"long"]
    assert not await store.delete("bob", message_id(b"short"), now=NOW + 60_000, forget_at=LATER)


async def test_what_has_expired_can_be_put_again(store: InboxStore) -> None:
    await register(store)
    first = await put(store, b"x", expires_at=NOW + 60_000)
    assert (await put(store, b"x", now=NOW + 59_999)).duplicate
    second = await put(store, b"x", now=NOW + 60_000)
    assert not second.duplicate
    assert second.cursor > first.cursor
    assert [blob.cursor for blob in await read(store, now=NOW + 60_000)] == [second.cursor]


async def test_a_deleted_blob_is_gone_and_remembered(store: InboxStore) -> None:
    await register(store)
    first = await put(store, b"x")
    forget_at = NOW + 86_400_000
    assert await store.delete("bob", message_id(b"x"), now=NOW, forget_at=forget_at)
    assert not await store.delete("bob", message_id(b"x"), now=NOW, forget_at=forget_at)
    assert not await store.delete("bob", message_id(b"y"), now=NOW, forget_at=forget_at)
    assert await read(store) == []
    again = await put(store, b"x", now=forget_at - 1)
    assert again == Receipt(first.cursor, first.expires_at, duplicate=True)
    assert await read(store) == []
    forgotten = await put(store, b"x", now=forget_at)
    assert not forgotten.duplicate
    assert forgotten.cursor > first.cursor


async def test_a_blob_can_be_deleted_a_second_time_when_it_was_forgotten(store: InboxStore) -> None:
    await register(store)
    for number in range(2):
        now = NOW + 86_400_000 * number
        assert not (await put(store, b"x", now=now, expires_at=now + 60_000)).duplicate
        assert await store.delete("bob", message_id(b"x"), now=now, forget_at=now + 86_400_000)


async def test_purge_takes_what_has_expired_and_forgets_what_was_deleted(store: InboxStore) -> None:
    await register(store)
    await register(store, "carol", CAROL)
    for number in range(3):
        await put(store, b"%d" % number, expires_at=NOW + 60_000)
    await put(store, b"carol's", address="carol", expires_at=NOW + 60_000)
    await put(store, b"stays")
    await put(store, b"deleted")
    await store.delete("bob", message_id(b"deleted"), now=NOW, forget_at=NOW + 120_000)
    assert await store.purge(NOW + 59_999) == 0
    assert await store.purge(NOW + 60_000) == 4
    assert (await put(store, b"deleted", now=NOW + 119_999)).duplicate
    assert await store.purge(NOW + 120_000) == 0
    assert not (await put(store, b"deleted", now=NOW)).duplicate
    assert [blob.ciphertext for blob in await read(store)] == [b"stays", b"deleted"]


async def test_cursors_only_rise_over_delete_purge_and_restart(lasting_url: str, stores: OpenStore) -> None:
    store = await stores(lasting_url)
    await register(store)
    cursors = [(await put(store, b"0")).cursor]
    await store.delete("bob", message_id(b"0"), now=NOW, forget_at=LATER)
    cursors.append((await put(store, b"1", expires_at=NOW + 1)).cursor)
    await store.purge(NOW + 1)
    await store.close()
    store = await stores(lasting_url)
    owner = await store.owner("bob")
    assert owner is not None
    assert owner.highest >= cursors[-1]
    cursors.append((await put(store, b"2")).cursor)
    await store.close()
    store = await stores(lasting_url)
    await store.purge(LATER)
    cursors.append((await put(store, b"3", now=LATER, expires_at=LATER * 2)).cursor)
    assert cursors == sorted(set(cursors))


async def test_what_was_put_and_deleted_is_there_after_a_restart(lasting_url: str, stores: OpenStore) -> None:
    store = await stores(lasting_url)
    await register(store, envelope_key=KEY_1)
    await store.set_watchers("bob", frozenset({"alice"}), signed_at=NOW)
    first = await put(store, b"stays")
    await put(store, b"goes")
    await store.delete("bob", message_id(b"goes"), now=NOW, forget_at=LATER)
    await store.close()
    store = await stores(lasting_url)
    assert [blob.ciphertext for blob in await read(store)] == [b"stays"]
    assert (await put(store, b"stays")) == Receipt(first.cursor, first.expires_at, duplicate=True)
    assert (await put(store, b"goes")).duplicate
    owner = await store.owner("bob")
    assert owner is not None
    assert (owner.envelope_key, owner.watchers) == (KEY_1, {"alice"})
    assert await refusal(register(store, key=CAROL)) == "SHADE_UNAUTHORIZED"


async def test_a_reader_that_has_seen_a_cursor_misses_no_lower_one(store: InboxStore) -> None:
    await register(store)
    seen: list[int] = []

    async def follow() -> None:
        while len(seen) < 60:
            await asyncio.sleep(0)
            seen.extend(blob.cursor for blob in await read(store, seen[-1] if seen else 0))

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        for number in range(60):
            tasks.create_task(put(store, b"%d" % number))
    assert seen == [blob.cursor for blob in await read(store, limit=100)]


@pytest.mark.parametrize(
    ("quotas", "sizes", "fits"),
    [
        (Quotas(blobs=3), [1, 1, 1, 1], 3),
        (Quotas(bytes=100), [60, 40, 1], 2),
        (Quotas(bytes=100), [60, 41], 1),
        (Quotas(blobs_per_sender=2), [1, 1, 1], 2),
    ],
    ids=["blobs", "bytes to the last", "a byte too many", "blobs of a sender"],
)
async def test_quotas(store: InboxStore, quotas: Quotas, sizes: list[int], fits: int) -> None:
    await register(store)
    contents = [bytes([number]) * size for number, size in enumerate(sizes)]
    for content in contents[:fits]:
        assert not (await put(store, content, quotas=quotas)).duplicate
    assert await refusal(put(store, contents[fits], quotas=quotas)) == "SHADE_QUOTA_EXCEEDED"
    assert (await put(store, contents[0], quotas=quotas)).duplicate
    assert [blob.ciphertext for blob in await read(store)] == contents[:fits]
    await store.delete("bob", message_id(contents[0]), now=NOW, forget_at=LATER)
    assert not (await put(store, contents[fits], quotas=quotas)).duplicate


async def test_a_senders_quota_is_no_other_senders(store: InboxStore) -> None:
    await register(store)
    quotas = Quotas(blobs_per_sender=1)
    await put(store, b"alice's", quotas=quotas)
    assert not (await put(store, b"carol's", sender=CAROL, quotas=quotas)).duplicate
    assert await refusal(put(store, b"alice's other", quotas=quotas)) == "SHADE_QUOTA_EXCEEDED"


@pytest.mark.parametrize(
    "quotas", [Quotas(blobs=2), Quotas(bytes=2), Quotas(blobs_per_sender=2)], ids=["blobs", "bytes", "sender"]
)
async def test_what_has_expired_takes_no_room(store: InboxStore, quotas: Quotas) -> None:
    await register(store)
    await put(store, b"a", expires_at=NOW + 60_000, quotas=quotas)
    await put(store, b"b", quotas=quotas)
    assert await refusal(put(store, b"c", quotas=quotas, now=NOW + 59_999)) == "SHADE_QUOTA_EXCEEDED"
    assert not (await put(store, b"c", quotas=quotas, now=NOW + 60_000)).duplicate
    await store.purge(NOW + 60_000)
    assert await refusal(put(store, b"d", quotas=quotas, now=NOW + 60_000)) == "SHADE_QUOTA_EXCEEDED"


async def test_puts_at_once_never_go_beyond_a_quota(store: InboxStore) -> None:
    await register(store)

    async def attempt(number: int) -> bool:
        try:
            await put(store, b"%d" % number, quotas=Quotas(blobs=10))
        except InboxError as error:
            return error.code != "SHADE_QUOTA_EXCEEDED"
        return True

    assert sum(await gather_all(*(attempt(number) for number in range(40)))) == 10
    assert len(await read(store)) == 10


async def test_listeners_hear_of_their_address_once_it_can_be_read(store: InboxStore) -> None:
    await register(store)
    await register(store, "carol", CAROL)
    heard, other = Heard(), Heard()
    store.notices.listen("bob", heard)
    store.notices.listen("carol", other)
    receipt = await put(store, b"x")
    await asyncio.wait_for(heard.event.wait(), 60)
    previous, blob = heard.notices[0]
    assert blob is None or (previous, blob) == (receipt.cursor - 1, (await read(store))[0])
    store.notices.unlisten("bob", heard)
    await put(store, b"y")
    assert (len(heard.notices), other.notices) == (1, [])


@pytest.mark.servers
@pytest.mark.parametrize("lasting_url", ["postgresql", "nats"], indirect=True)
async def test_processes_hear_of_each_others_puts(lasting_url: str, stores: OpenStore) -> None:
    first, second = await stores(lasting_url), await stores(lasting_url)
    await register(first)
    heard, here = Heard(), Heard()
    for store, listener in ((first, here), (second, heard)):
        store.notices.listen("bob", listener)
        if not store.notices.pushing:
            await asyncio.wait_for(listener.event.wait(), 60)  # everybody is told to look once the store is pushing
            listener.event.clear()
            listener.notices.clear()
    await put(first, b"x")
    await asyncio.wait_for(heard.event.wait(), 60)
    assert [blob.ciphertext for blob in await read(second)] == [b"x"]
    assert len(here.notices) == 1


@pytest.mark.servers
@pytest.mark.parametrize("lasting_url", ["postgresql", "nats"], indirect=True)
async def test_of_many_processes_one_stores_a_blob_and_quotas_hold(lasting_url: str, stores: OpenStore) -> None:
    several = [await stores(lasting_url) for _ in range(3)]
    await register(several[0])
    receipts = await gather_all(*(put(store, b"same") for store in several for _ in range(10)))
    assert sum(not receipt.duplicate for receipt in receipts) == 1

    async def attempt(store: InboxStore, number: int) -> bool:
        try:
            await put(store, b"%d" % number, quotas=Quotas(blobs=6))
        except InboxError:
            return False
        return True

    stored = await gather_all(*(attempt(store, i * 10 + n) for i, store in enumerate(several) for n in range(4)))
    assert sum(stored) == 5
    assert len(await read(several[1])) == 6


async def test_the_store_answers(store: InboxStore) -> None:
    await store.check()
    await store.close()
    await store.close()
