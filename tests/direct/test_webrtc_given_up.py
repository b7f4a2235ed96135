"""An attempt at WebRTC that is given up while it connects leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from sideband.errors import SidebandError
from sideband.transport.webrtc import WebRtcOffer

TURNS = 60
"""Of the event loop: more than a connection takes from the beginning of DTLS until its channel is open."""


async def test_no_moment_to_give_up_leaves_a_task_or_a_timer_behind() -> None:
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    opened = [await _give_up_after(turns) for turns in range(0, TURNS, 2)]
    gc.collect()  # an error that nobody took is told when its task goes
    assert errors == []
    assert not opened[0]
    assert opened[-1]


async def _give_up_after(turns: int) -> bool:
    """Close one side so many turns after DTLS began there; return whether it had its channel by then."""
    client, daemon = WebRtcOffer(), WebRtcOffer()
    answer = await daemon.answer(await client.offer())
    # Nothing public tells when DTLS begins, and of timers.
    sctps = [client._pc.sctp, daemon._pc.sctp]
    began = asyncio.Event()
    sctps[0].transport.on("statechange", began.set)
    await client.accept(answer)
    async with asyncio.timeout(20):
        await began.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        opened = client._connection.done()
        await client.close()
        await daemon.close()
        if not opened:
            with pytest.raises(SidebandError):
                await client.connection()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
    assert [client._pc.connectionState, daemon._pc.connectionState] == ["closed", "closed"]
    assert [(sctp._t1_handle, sctp._t2_handle, sctp._t3_handle) for sctp in sctps] == [(None, None, None)] * 2
    return opened
