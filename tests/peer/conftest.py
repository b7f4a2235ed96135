"""A world with a relay in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.memory_world import MemoryWorld
from tests.support.relay_harness import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as made:
        yield made


@pytest.fixture
async def memory() -> AsyncIterator[MemoryWorld]:
    async with MemoryWorld() as made:
        yield made
