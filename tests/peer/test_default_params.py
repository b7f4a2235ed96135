"""A parameter that has a default may be left out by the caller (docs/protocol/peer.md, "RPC")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest

from sideband.peer import Peer
from tests.support.memory_world import MemoryWorld


def one(number: int = 7) -> int:
    return number


def two(number: int = 7, other: int = 8) -> list[int]:
    return [number, other]


def rest(*numbers: Any) -> list[Any]:
    return list(numbers)


class Numbers(Protocol):
    async def one(self, number: int = 7) -> int: ...
    async def two(self, number: int = 7, other: int = 8) -> list[int]: ...


@pytest.fixture
async def peer(memory: MemoryWorld) -> Peer:
    def on_connection(peer: Peer) -> None:
        functions: tuple[Callable[..., Any], ...] = (one, two, rest)
        for function in functions:
            peer.rpc.handle(function.__name__, function)

    await memory.listen(on_connection)
    client = memory.client()
    await client.connect()
    return client


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("one", None, 7),
        ("one", 0, 0),
        ("two", None, [7, 8]),
        ("two", {}, [7, 8]),
        ("two", {"other": 1}, [7, 1]),
        ("rest", None, [None]),
    ],
)
async def test_the_default_stands_for_what_is_not_sent(peer: Peer, method: str, params: Any, result: Any) -> None:
    assert await peer.rpc.call(method, params) == result


async def test_through_a_proxy(peer: Peer) -> None:
    numbers = peer.rpc.client(Numbers)  # type: ignore[type-abstract]  # a Protocol is what it takes
    assert await numbers.one() == 7
    assert await numbers.one(1) == 1
    assert await numbers.two(other=3) == [7, 3]
