"""The outgoing queues, both under one contract."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from sideband.errors import BridgeError, StoreError
from sideband.inbox.client.outgoing import MemoryOutgoingQueue, OutgoingQueue, QueueLimits, SqliteOutgoingQueue

Make = Callable[..., OutgoingQueue]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "memory":
        return MemoryOutgoingQueue
    return lambda *limits: SqliteOutgoingQueue(tmp_path / "folder" / "outgoing.sqlite", *limits)


async def test_messages_come_back_in_order_by_address(make: Make) -> None:
    queue = make()
    numbers = [await queue.add(*each, None) for each in [("bob", b"1"), ("eve", b"2"), ("bob", b"3")]]
    assert numbers == sorted(numbers)
    assert await queue.addresses() == ["bob", "eve"]
    first = await queue.next_of("bob")
    assert first is not None
    assert (first.number, first.address, first.envelope, first.ttl_seconds) == (numbers[0], "bob", b"1", None)
    await queue.remove(numbers[0])
    await queue.remove(numbers[0])  # gone already
    second = await queue.next_of("bob")
    assert second is not None
    assert second.envelope == b"3"
    assert await queue.addresses() == ["eve", "bob"]
    assert await queue.next_of("nobody") is None


async def test_the_limits_hold_at_their_edges(make: Make) -> None:
    queue = make(QueueLimits(messages=3, bytes=10))
    first = await queue.add("bob", b"12345", 60)
    await queue.add("bob", b"12345", 60)
    with pytest.raises(BridgeError) as full:
        await queue.add("bob", b"1", 60)
    assert full.value.kind == "queue_full"
    await queue.remove(first)
    await queue.add("bob", b"1", 60)
    await queue.add("bob", b"", 60)
    with pytest.raises(BridgeError):
        await queue.add("bob", b"", 60)


async def test_a_file_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "outgoing.sqlite"
    number = await SqliteOutgoingQueue(path).add("bob", b"\0\xff", 3600)
    kept = await SqliteOutgoingQueue(path).next_of("bob")
    assert kept is not None
    assert (kept.number, kept.envelope, kept.ttl_seconds) == (number, b"\0\xff", 3600)


async def test_numbers_are_never_used_again(tmp_path: Path) -> None:
    queue = SqliteOutgoingQueue(tmp_path / "outgoing.sqlite")
    first = await queue.add("bob", b"1", None)
    await queue.remove(first)
    assert await queue.add("bob", b"2", None) > first


async def test_many_can_add_at_once(tmp_path: Path) -> None:
    queue = SqliteOutgoingQueue(tmp_path / "outgoing.sqlite")
    numbers = await asyncio.gather(*(queue.add("bob", str(n).encode(), None) for n in range(20)))
    assert len(set(numbers)) == 20


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
async def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "outgoing.sqlite"
    await SqliteOutgoingQueue(path).add("bob", b"1", None)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(StoreError, match="chmod 600"):
        await SqliteOutgoingQueue(path).addresses()


async def test_a_damaged_or_newer_file_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "outgoing.sqlite"
    path.write_bytes(b"no database at all, but long enough to be looked at as one" * 20)
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"outgoing\.sqlite failed"):
        await SqliteOutgoingQueue(path).add("bob", b"1", None)
    assert path.read_bytes() == before
    path.unlink()
    await SqliteOutgoingQueue(path).add("bob", b"1", None)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(StoreError, match="version 2"):
        await SqliteOutgoingQueue(path).add("bob", b"1", None)
