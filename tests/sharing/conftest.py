"""A shared folder, and a client that is connected to who shares it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from sideband.peer import Peer, PeerOptions
from sideband.sharing import Share, SharedTransfer
from tests.peer.test_streams_plain import connected

Sharing: TypeAlias = Callable[..., AbstractAsyncContextManager[Peer]]


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """What is shared; beside it lies what nobody may reach."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    root = tmp_path / "shared"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "a.txt").write_text("first")
    (root / "b.txt").write_text("second one")
    (root / "sub" / "c.txt").write_text("third")
    (root / "sub" / "deep" / "d.txt").write_text("fourth")
    (root / ".hidden").write_text("hidden")
    return root


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.fixture
def finished() -> list[SharedTransfer]:
    return []


@pytest.fixture
def sharing(shared: Path, finished: list[SharedTransfer]) -> Sharing:
    @asynccontextmanager
    async def connect(server: PeerOptions | None = None, **options: Any) -> AsyncIterator[Peer]:
        share = Share(shared, on_transfer=finished.append, **options)
        try:
            async with connected(share.serve, server=server) as (peer, _):
                yield peer
        finally:
            share.close()

    return connect
