"""Two peers over memory or a relay, and a pair of streams whose ends send and receive files."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sideband.peer import Peer
from sideband.peer.files import progress
from sideband.peer.streams import Stream
from tests.peer.test_streams_plain import connected


class Pair:
    """A client's peer; the server's side of each stream is a function of the test."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.handler: Callable[[Stream], Awaitable[Any]] | None = None
        self.results: asyncio.Queue[Any] = asyncio.Queue()

    async def serve(self, stream: Stream) -> None:
        assert self.handler is not None
        try:
            result = await self.handler(stream)
        except BaseException as error:
            self.results.put_nowait(error)
            if not isinstance(error, Exception):
                raise
        else:
            self.results.put_nowait(result)

    async def open(self, handler: Callable[[Stream], Awaitable[Any]]) -> Stream:
        """Open a stream whose other end `handler` has; what it returns or raises is in `results`."""
        self.handler = handler
        return await self.peer.open_stream("file")


@pytest.fixture(autouse=True)
def every_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0.0)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made: list[Pair] = []

    def serve(peer: Peer) -> None:
        peer.stream_handler("file", lambda stream: made[0].serve(stream))

    async with connected(serve) as (peer, _):
        made.append(Pair(peer))
        yield made[0]


@pytest.fixture
def content() -> bytes:
    """Over 5 MiB, in which no two places look alike."""
    return random.Random(11).randbytes(5 * 1024 * 1024 + 123)


@pytest.fixture
def source(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(content)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder / "target.bin"
