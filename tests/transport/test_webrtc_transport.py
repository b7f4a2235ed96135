"""Data channels: their contract, their limits, and another implementation of WebRTC (aiortc) on either side."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription

from sideband.errors import ConfigError, ConnectionClosed, TransportError
from sideband.transport import webrtc as ours
from sideband.transport.webrtc import LABEL, MAX_RECORD_BYTES, WebRtcConnection, WebRtcOffer


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[WebRtcConnection, WebRtcConnection]]:
    offering, answering = WebRtcOffer(), WebRtcOffer()
    await offering.accept(await answering.answer(await offering.offer()))
    one, two = await asyncio.gather(offering.connection(), answering.connection())
    try:
        yield one, two
    finally:
        await asyncio.gather(one.close(), two.close())


async def test_messages_of_every_size_up_to_the_limit_come_whole_and_in_order() -> None:
    async with connected() as (one, two):
        sent = [bytes([size % 251]) * size for size in (1, 1199, 1200, 16_384, MAX_RECORD_BYTES, MAX_RECORD_BYTES + 1)]
        await one.send_many([sent[0], bytearray(sent[1]), memoryview(sent[2]), *sent[3:]])
        got: list[bytes] = []
        while len(got) < len(sent):
            got += await two.receive_many()
        assert got == sent
        with pytest.raises(TransportError, match="message_too_large"):
            await one.send(bytes(MAX_RECORD_BYTES + 2))
        await two.send(b"back")
        assert await one.receive() == b"back"
        assert one.binding == two.binding


async def test_what_was_sent_before_a_close_arrives() -> None:
    async with connected() as (one, two):
        sent = [bytes([at]) * 60_000 for at in range(40)]
        await one.send_many(sent)
        closing = asyncio.create_task(one.close())
        got: list[bytes] = []
        with contextlib.suppress(TransportError):
            while True:
                got += await two.receive_many()
        await closing
        assert got == sent
        with pytest.raises(ConnectionClosed):
            await one.send(b"late")
        assert two.close_code == 1006


async def test_a_writer_waits_while_much_is_buffered() -> None:
    async with connected() as (one, two):
        piece, total, most = bytes(60_000), 200, 0

        async def write() -> None:
            nonlocal most
            for _ in range(total):
                await one.send(piece)
                most = max(most, one.buffered_bytes)

        writing = asyncio.create_task(write())
        count = 0
        while count < total:
            count += len(await two.receive_many())
        await writing
        assert most <= ours.WRITE_HIGH_BYTES + len(piece)
        assert one.buffered_bytes == 0


async def test_who_floods_a_side_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "HIGH_WATER_BYTES", 180_000)
    async with connected() as (one, two):
        for _ in range(3):
            await one.send(bytes(60_000))
        while two._held < 180_000:  # noqa: ASYNC110  (nothing tells of it)
            await asyncio.sleep(0)
        assert not two.closed
        await one.send(b"x")
        await two.wait_closed()
        assert two.close_code == 1006
        await one.wait_closed()


async def test_text_is_no_message() -> None:
    async with connected() as (one, two):
        one._channel.send("text")
        await two.wait_closed()


@pytest.mark.parametrize("change", ["audio", "nonsense", "no fingerprint"])
async def test_a_description_of_something_else_is_refused(change: str) -> None:
    one, two = WebRtcOffer(), WebRtcOffer()
    offer = await one.offer()
    match change:
        case "audio":
            offer += "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n"
        case "nonsense":
            offer = "v=0\r\nnonsense"
        case _:
            offer = re.sub(r"a=fingerprint:.*\r\n", "", offer)
    with pytest.raises(TransportError, match="transport_failure"):
        await two.answer(offer)
    for each in (one, two):
        await each.close()
        with pytest.raises(ConnectionClosed):
            await each.connection()


async def test_own_addresses_are_in_no_line_of_a_description_that_leaves_them_out() -> None:
    told, hidden = WebRtcOffer(), WebRtcOffer(host_candidates=False)
    addresses = set(re.findall(r"a=candidate:.* (\S+) \d+ typ host", await told.offer()))
    assert addresses
    description = await hidden.offer()
    assert "typ host" not in description
    assert not any(address in description for address in addresses)
    await told.close()
    await hidden.close()


def test_a_related_address_is_left_out_as_well() -> None:
    sdp = (
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\nm=application 40000 UDP/DTLS/SCTP webrtc-datachannel\r\n"
        "c=IN IP4 10.0.0.7\r\na=candidate:1 1 udp 1 10.0.0.7 40000 typ host generation 0\r\n"
        "a=candidate:2 1 udp 1 198.51.100.9 40000 typ srflx raddr 10.0.0.7 rport 40000 generation 0\r\n"
    )
    left = ours._without_hosts(sdp)
    assert "10.0.0.7" not in left
    assert "198.51.100.9 40000 typ srflx raddr 0.0.0.0 rport 0 generation 0\r\n" in left
    assert "m=application 9 UDP" in left


@pytest.mark.parametrize(
    "server", [("turn:192.0.2.1", None, None), ("http://192.0.2.1", None, None), ("turn:192.0.2.1", "me", "")]
)
async def test_a_server_that_is_none_is_refused_without_its_credential(server: tuple[str, Any, Any]) -> None:
    with pytest.raises(ConfigError, match="STUN or TURN"):
        WebRtcOffer([server])


async def test_ours_offers_and_another_implementation_answers() -> None:
    theirs, offering = RTCPeerConnection(), WebRtcOffer()
    channels: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    theirs.on("datachannel", channels.set_result)
    await theirs.setRemoteDescription(RTCSessionDescription(sdp=await offering.offer(), type="offer"))
    await theirs.setLocalDescription(await theirs.createAnswer())
    await offering.accept(theirs.localDescription.sdp)
    connection = await offering.connection()
    await _echoed(connection, await channels, theirs)


async def test_another_implementation_offers_and_ours_answers() -> None:
    theirs, answering = RTCPeerConnection(), WebRtcOffer()
    channel = theirs.createDataChannel(LABEL, ordered=True)
    await theirs.setLocalDescription(await theirs.createOffer())
    answer = await answering.answer(theirs.localDescription.sdp)
    await theirs.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
    await _echoed(await answering.connection(), channel, theirs)


async def _echoed(connection: WebRtcConnection, channel: Any, theirs: Any) -> None:
    ended = asyncio.Event()
    channel.on("close", ended.set)
    channel.on("message", channel.send)
    for size in (1, 5000, MAX_RECORD_BYTES + 1):
        await connection.send(b"y" * size)
        assert await connection.receive() == b"y" * size
    dtls = theirs.sctp.transport
    own = next(each.value for each in dtls.getLocalParameters().fingerprints if each.algorithm == "sha-256")
    shown = hashlib.sha256(dtls._ssl.get_peer_certificate(as_cryptography=True).public_bytes(_der())).digest()
    assert connection.binding == b"".join(sorted((bytes.fromhex(own.replace(":", "")), shown)))
    await connection.close()
    await ended.wait()
    await theirs.close()


def _der() -> Any:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER
