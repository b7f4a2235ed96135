import asyncio
from pathlib import Path

import pytest

from sideband.errors import StoreError
from sideband.relay.sids import MemorySpentSids, SpentSids, SqliteSpentSids


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path):
    time = Time()
    if request.param == "memory":
        yield MemorySpentSids(time), time
    else:
        async with await SqliteSpentSids.open(tmp_path / "sids.db", clock=time) as sids:
            yield sids, time


async def test_each_session_id_is_taken_once(store: tuple[SpentSids, Time]) -> None:
    sids, time = store
    for session_id in (1, 2**63, 2**64 - 1):
        assert await sids.spend(session_id, 200.0)
        assert not await sids.spend(session_id, 200.0)
    time.now = 199.9
    assert not await sids.spend(1, 300.0)
    time.now = 200.0
    assert await sids.spend(1, 300.0)


async def test_exactly_one_of_many_at_once(store: tuple[SpentSids, Time]) -> None:
    sids, _ = store
    assert sorted(await asyncio.gather(*(sids.spend(9, 200.0) for _ in range(50)))) == [False] * 49 + [True]


async def test_expired_ones_are_let_go() -> None:
    time = Time()
    sids = MemorySpentSids(time)
    for session_id in range(1, 1001):
        await sids.spend(session_id, 150.0)
    time.now = 151.0
    await sids.spend(5000, 200.0)
    assert len(sids) == 1


async def test_remembered_over_a_restart(tmp_path: Path) -> None:
    time = Time()
    async with await SqliteSpentSids.open(tmp_path / "sids.db", clock=time) as sids:
        assert await sids.spend(7, 200.0)
    async with await SqliteSpentSids.open(tmp_path / "sids.db", clock=time) as sids:
        assert not await sids.spend(7, 200.0)


async def test_the_file_does_not_grow_with_what_has_expired(tmp_path: Path) -> None:
    time = Time()
    async with await SqliteSpentSids.open(tmp_path / "sids.db", clock=time) as sids:
        for session_id in range(1, SqliteSpentSids.PURGE_EVERY + 1):
            await sids.spend(session_id, 150.0)
        time.now = 151.0
        await sids.spend(5000, 200.0)
        cursor = await sids._database.execute("SELECT count(*) FROM spent_sids")
        assert await cursor.fetchone() == (1,)
        await cursor.close()


async def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "sids.db").write_bytes(b"this is no database, and long enough to tell" * 10)
    with pytest.raises(StoreError):
        await SqliteSpentSids.open(tmp_path / "sids.db")
    with pytest.raises(StoreError):
        await SqliteSpentSids.open(tmp_path / "absent" / "sids.db")


async def test_a_closed_store_is_a_store_error(tmp_path: Path) -> None:
    sids = await SqliteSpentSids.open(tmp_path / "sids.db")
    await sids.close()
    with pytest.raises(StoreError):
        await sids.spend(1, 2.0)
