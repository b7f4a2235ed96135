"""An attempt at WebRTC that is given up while it connects leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from sideband.errors import SidebandError
from sideband.transport.webrtc import WebRtcOffer

MOMENTS = ["iceconnectionstatechange", "connectionstatechange"]
"""Events of a connection on its way up, besides those of its DTLS, at which it is given up."""


@pytest.mark.parametrize("moment", range(9))
async def test_no_moment_to_give_up_leaves_a_task_or_an_error_behind(moment: int) -> None:
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    opened = await _give_up_at(moment)
    gc.collect()  # an error that nobody took is told when its task goes
    assert errors == []
    assert not opened or moment > 0


async def test_an_attempt_that_opened_and_that_nobody_took_is_closed() -> None:
    client, daemon = WebRtcOffer(), WebRtcOffer()
    await client.accept(await daemon.answer(await client.offer()))
    taken = await client.connection()
    await daemon.connection()
    await client.close()  # it was taken: it closes by itself
    assert not taken.closed
    await taken.close()
    await daemon.close()
    untaken, other = WebRtcOffer(), WebRtcOffer()
    await untaken.accept(await other.answer(await untaken.offer()))
    reached = await other.connection()
    await untaken.close()
    await reached.wait_closed()
    await reached.close()


async def _give_up_at(moment: int) -> bool:
    """Close both sides at the so many-th event of one of them; return whether it had its channel by then."""
    client, daemon = WebRtcOffer(), WebRtcOffer()
    answer = await daemon.answer(await client.offer())
    assert client._pc.sctp is not None
    reached, seen, had = asyncio.Event(), 0, False

    def happened(_: object) -> None:
        nonlocal seen, had
        seen += 1
        if not reached.is_set() and (seen > moment or client._pc.connection_state == "connected"):
            had = client._connection.done()
            reached.set()

    for name in MOMENTS:
        client._pc.on(name, happened)  # type: ignore[call-overload]  # a name out of a list
    client._pc.sctp.transport.on("statechange", happened)
    await client.accept(answer)
    async with asyncio.timeout(20):
        await reached.wait()
        opened = client._connection.done()
        await client.close()
        await daemon.close()
        if not opened:
            with pytest.raises(SidebandError):
                await client.connection()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
    assert [client._pc.connection_state, daemon._pc.connection_state] == ["closed", "closed"]
    return had
