"""Messages that are due at another moment, or at none: by TCP and by WebSocket, to either side."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from sideband.errors import SbdpError, SidebandError
from sideband.peer import RetryPolicy
from tests.direct.conftest import Sides
from tests.direct.test_second_implementation import (
    HELLO,
    TRANSPORTS,
    Wire,
    dialled,
    laptop_by_hand,
    listening,
    next_frame,
)
from tests.support.sbdp_by_hand import DATA, Side, prologue

ENDED = (asyncio.IncompleteReadError, ConnectionError, TypeError)
"""What an end looks like by hand: of TCP, and of a WebSocket, which gives no bytes."""


def studio_by_hand(sides: Sides, transport: str, static: bytes | None = None, bound_to: bytes | None = None) -> Side:
    return Side(
        "studio",
        initiator=False,
        static=static or sides.studio.private_bytes(),
        ephemeral=os.urandom(32),
        bound_to=prologue(transport) if bound_to is None else bound_to,
    )


def wrong_second(what: str, sides: Sides, transport: str, first: bytes) -> bytes:
    right = studio_by_hand(sides, transport).second(first)
    match what:
        case "empty":
            return b""
        case "first again":
            return first
        case "third":
            return b"\x03" + right[1:]
        case "record":
            return b"\x10" + right[1:]
        case "unknown":
            return b"\x04" + right[1:]
        case "changed":
            return right[:-1] + bytes([right[-1] ^ 1])
        case "cut":
            return right[:-1]
        case "longer":
            return right + b"\x00"
        case "too long":
            return right + bytes(4096)
        case "of another handshake":
            other = laptop_by_hand(sides, transport)
            return studio_by_hand(sides, transport).second(other.first())
        case "of another transport":
            return studio_by_hand(sides, transport, bound_to=prologue("quic", bytes(32))).second(first)
        case "bound otherwise":
            return studio_by_hand(sides, transport, bound_to=prologue(transport, bytes(32))).second(first)
        case _:
            return studio_by_hand(sides, transport, bound_to=b"").second(first)


SECONDS = [
    "empty",
    "first again",
    "third",
    "record",
    "unknown",
    "changed",
    "cut",
    "longer",
    "too long",
    "of another handshake",
    "of another transport",
    "bound otherwise",
    "without a prologue",
]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("what", SECONDS)
async def test_a_dialler_takes_the_due_second_message_only(sides: Sides, transport: str, what: str) -> None:
    async def serve(wire: Wire) -> None:
        await wire.send(wrong_second(what, sides, transport, await wire.receive()))
        with pytest.raises(ENDED):
            await wire.receive()

    async with listening(transport, serve) as address:
        peer = sides.dial(address, retry=RetryPolicy(mode="on-error"))
        with pytest.raises(SidebandError, match=r"handshake_failed|message_too_large"):
            await peer.connect()
        assert peer.closed  # no retry, though the policy has one
        await peer.disconnect()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_dialler_that_meets_another_key_sends_neither_its_own_nor_its_name(
    sides: Sides, transport: str
) -> None:
    async def serve(wire: Wire) -> None:
        await wire.send(studio_by_hand(sides, transport, static=os.urandom(32)).second(await wire.receive()))
        with pytest.raises(ENDED):
            await wire.receive()

    async with listening(transport, serve) as address:
        peer = sides.dial(address)
        with pytest.raises(SidebandError, match="identity_key_changed"):
            await peer.connect()
        await peer.disconnect()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", [0x00, 0x01, 0x02, 0x03, 0x04, 0x0F, 0x11, 0xFF])
async def test_nothing_but_records_comes_after_the_handshake(sides: Sides, transport: str, kind: int) -> None:
    gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def serve(wire: Wire) -> None:
        side = studio_by_hand(sides, transport)
        await wire.send(side.second(await wire.receive()))
        side.take_third(await wire.receive())
        await wire.send(side.seal(DATA, HELLO))
        assert (await next_frame(side, wire)).kind == 0
        await wire.send(bytes([kind]) + side.seal(DATA, b"")[1:])
        await gone

    async with listening(transport, serve) as address:
        peer = sides.dial(address)
        peer.on("disconnected", gone.set_result)
        await peer.connect()
        await gone
        assert isinstance(peer.error, SbdpError)
        assert peer.error.code == "protocol_violation"
        await peer.disconnect()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("first", [b"", b"\x01", b"\x10" + bytes(40), b"\x01" + bytes(4097), b"\x01" + bytes(1 << 19)])
async def test_a_listener_takes_the_due_first_message_only(sides: Sides, transport: str, first: bytes) -> None:
    async with await sides.listen(f"{transport}://127.0.0.1:0") as ours, dialled(ours.address) as wire:
        try:
            await wire.send(first)
        except ConnectionError:
            return  # it was cut while there was more to send
        with pytest.raises(ENDED):
            await wire.receive()
    assert not sides.peers


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_largest_payload_is_taken(sides: Sides, transport: str) -> None:
    """Messages 2 and 3 have 4,096 bytes at most: 96 of Noise's own and 4,000 of payload."""
    async with await sides.listen(f"{transport}://127.0.0.1:0") as ours, dialled(ours.address) as wire:
        side = laptop_by_hand(sides, transport)
        padding = 4000 - len(side.payload()) - len(b"\xa1x\xc5\x0f\xff")
        plain = side.payload()
        side.payload = lambda: bytes([plain[0] + 1]) + plain[1:] + b"\xa1x\xc5" + _u16(padding) + bytes(padding)  # type: ignore[method-assign]
        await wire.send(side.first())
        third, _ = side.third(await wire.receive())
        assert len(third) == 1 + 4096 - 32  # message 3 has no key of its own in clear
        await wire.send(third)
        await wire.send(side.seal(DATA, HELLO))
        assert (await next_frame(side, wire)).kind == 0
    assert [peer.remote_name for peer in sides.peers] == ["laptop"]


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_half_a_handshake_is_cut_without_a_word_and_without_waiting_for_an_answer(
    sides: Sides, transport: str
) -> None:
    async with await sides.listen(f"{transport}://127.0.0.1:0", max_half_open=1) as ours, dialled(ours.address) as wire:
        await wire.send(laptop_by_hand(sides, transport).first())
        await wire.receive()
        async with sides.dial(ours) as peer:
            assert await peer.rpc.call("echo", 1) == 1
        with pytest.raises(ENDED):
            await wire.receive()
