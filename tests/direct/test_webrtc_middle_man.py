"""Whoever ends DTLS in between, with certificates of his own, is found out by the handshake above."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sideband._native import NoiseKeyPair
from sideband.direct import Rekey
from sideband.direct.handshake import DirectIdentity, Opened, Trusted, open_session
from sideband.errors import SbdpError, SidebandError
from sideband.transport.webrtc import WebRtcConnection, WebRtcOffer

ONE, TWO = NoiseKeyPair.generate(), NoiseKeyPair.generate()


@asynccontextmanager
async def connected(offering: WebRtcOffer, answering: WebRtcOffer) -> AsyncIterator[list[WebRtcConnection]]:
    answer = await answering.answer(await offering.offer())
    await offering.accept(answer)
    connections = await asyncio.gather(offering.connection(), answering.connection())
    try:
        yield connections
    finally:
        await asyncio.gather(*(connection.close() for connection in connections))


async def side(connection: WebRtcConnection, *, initiator: bool) -> Opened:
    identity, remote = (("one", ONE), TWO) if initiator else (("two", TWO), ONE)
    trusted = Trusted(exact_key=remote.public_key)
    return await open_session(
        connection,
        DirectIdentity(*identity),
        trusted,
        initiator=initiator,
        rekey=Rekey(),
        deciding=lambda: None,
    )


async def test_both_sides_see_the_same_certificates() -> None:
    async with connected(WebRtcOffer(), WebRtcOffer()) as (one, two):
        assert one.binding == two.binding
        assert len(one.binding) == 64
        assert one.binding[:32] < one.binding[32:]
        opened = await asyncio.gather(side(one, initiator=True), side(two, initiator=False))
        assert opened[0].handshake_hash == opened[1].handshake_hash
        assert opened[0].session.max_content == 65_535 - 17


async def test_a_middle_man_with_certificates_of_his_own_breaks_the_handshake() -> None:
    async def pass_on(source: WebRtcConnection, target: WebRtcConnection) -> None:
        while True:
            await target.send(await source.receive())

    async with (
        connected(WebRtcOffer(), WebRtcOffer()) as (one, near),
        connected(WebRtcOffer(), WebRtcOffer()) as (far, two),
    ):
        assert one.binding != two.binding
        passing = [asyncio.create_task(pass_on(near, far)), asyncio.create_task(pass_on(far, near))]
        answering = asyncio.create_task(side(two, initiator=False))
        with pytest.raises(SbdpError, match="handshake_failed"):
            await side(one, initiator=True)
        await one.close()
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
        await two.close()
        with pytest.raises(SidebandError):
            await answering


async def test_a_description_of_another_certificate_connects_nobody() -> None:
    one, two = WebRtcOffer(), WebRtcOffer()
    answer = await two.answer(await one.offer())
    changed = re.sub(r"(?m)^(a=fingerprint:\S+ )([0-9A-F]{2})", lambda found: f"{found[1]}{_other(found[2])}", answer)
    assert changed != answer
    await one.accept(changed)
    with pytest.raises(SidebandError):
        await one.connection()
    await one.close()
    await two.close()


def _other(byte: str) -> str:
    return f"{int(byte, 16) ^ 1:02X}"
