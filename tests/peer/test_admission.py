"""How long a server may take to decide on a client."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from sideband.peer import Peer, PeerOptions, RetryPolicy
from tests.support.manual_clock import settle
from tests.support.memory_world import MemoryWorld

RETRY = RetryPolicy(mode="on-error", jitter=0)


@pytest.mark.parametrize("hanging", ["verify_identity", "authorize"])
async def test_a_decision_that_hangs_sends_the_client_away_and_it_may_come_again(
    memory: MemoryWorld, hanging: str, caplog: pytest.LogCaptureFixture
) -> None:
    hangs, cancelled = [True], list[str]()
    introduced: list[Peer] = []

    async def decide(*_: Any) -> Any:
        if hangs[0]:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(hanging)
                raise
        return True if hanging == "authorize" else None

    await memory.listen(introduced.append, **{hanging: decide})
    peer = memory.client(retry=RETRY, handshake_timeout=1_000.0, metadata={"sideband:identity": "a token"})
    peer.start()
    await settle()
    with caplog.at_level(logging.ERROR):
        await memory.clock.advance(29.9)
        assert cancelled == []
        assert not peer.ready
        await memory.clock.advance(0.1)
    assert cancelled == [hanging]
    assert "took 30 s" in caplog.text
    assert introduced == []
    assert not peer.closed
    assert memory.server.connections == ()
    hangs[0] = False
    await memory.clock.advance(60)
    assert peer.ready
    assert len(introduced) == 1
    assert memory.unhandled == []


async def test_a_decision_in_time_is_not_hurried(memory: MemoryWorld) -> None:
    go_on = asyncio.Event()

    async def authorize(_: Any) -> bool:
        await go_on.wait()
        return True

    options = replace(memory.options(peer_id="server"), admission_timeout=5.0)
    await memory.listen(authorize=authorize, options=options)
    peer = memory.client(handshake_timeout=1_000.0)
    peer.start()
    await settle()
    await memory.clock.advance(4.9)
    go_on.set()
    await settle()
    assert peer.ready
    await memory.clock.advance(60)
    assert peer.ready


async def test_a_server_that_closes_meanwhile_waits_for_no_decision(memory: MemoryWorld) -> None:
    deciding = asyncio.Event()

    async def authorize(_: Any) -> bool:
        deciding.set()
        await asyncio.Event().wait()
        return True

    await memory.listen(authorize=authorize)
    peer = memory.client(handshake_timeout=1_000.0)
    peer.start()
    await deciding.wait()
    async with asyncio.timeout(60):
        await memory.server.close()
    assert memory.server.connections == ()
    assert PeerOptions().admission_timeout == 30.0
