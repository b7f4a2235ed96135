"""Fragments that come out of order, twice, or never: the session goes on, or it closes (docs/protocol/sbp.md)."""

from __future__ import annotations

import json
import struct

from tests.support.manual_clock import settle
from tests.support.raw_end import CID, FRAG, Raw, message

PIECE = 16 * 1024


def pieces(body: bytes, frag_id: int) -> list[bytes]:
    inner = message("rpc", body, CID)
    cut = [inner[at : at + PIECE] for at in range(0, len(inner), PIECE)]
    return [message(FRAG, struct.pack("<QII", frag_id, index, len(cut)) + piece) for index, piece in enumerate(cut)]


def big_request(cid: bytes = CID, size: int = 40_000) -> bytes:
    return json.dumps({"t": "r", "m": "echo", "cid": cid.hex(), "p": "x" * size}).encode()


async def test_fragments_in_order_arrive(open_raw: Raw) -> None:
    await open_raw.send(*pieces(big_request(), 0))
    assert len((await open_raw.envelope())["result"]) == 40_000


async def test_interleaved_fragments_arrive(open_raw: Raw) -> None:
    other = bytes(15) + b"\x01"
    for pair in zip(pieces(big_request(), 0), pieces(big_request(other), 1), strict=True):
        await open_raw.send(*pair)
    assert {(await open_raw.envelope())["cid"], (await open_raw.envelope())["cid"]} == {CID.hex(), other.hex()}


async def test_a_missing_fragment_closes(open_raw: Raw) -> None:
    first, _, third = pieces(big_request(), 0)
    await open_raw.send(first, third)
    assert await open_raw.error_code() == 1000
    await open_raw.is_closed()


async def test_a_repeated_fragment_closes(open_raw: Raw) -> None:
    first, second, _ = pieces(big_request(), 0)
    await open_raw.send(first, second, second)
    assert await open_raw.error_code() == 1000
    await open_raw.is_closed()


async def test_a_fragment_of_an_unknown_frame_is_dropped(open_raw: Raw) -> None:
    _, second, third = pieces(big_request(), 0)
    await open_raw.send(second, third)
    await open_raw.answers()


async def test_a_fifth_unfinished_frame_closes(open_raw: Raw) -> None:
    for frag_id in range(4):
        await open_raw.send(pieces(big_request(), frag_id)[0])
    await open_raw.answers()
    await open_raw.send(pieces(big_request(), 4)[0])
    assert await open_raw.error_code() == 1000
    await open_raw.is_closed()


async def test_a_frame_that_was_given_up_makes_room(open_raw: Raw) -> None:
    for frag_id in range(8):
        await open_raw.send(pieces(big_request(), frag_id)[0])
        await open_raw.send(message(FRAG, struct.pack("<QII", frag_id, 0xFFFFFFFF, 3) + b"\x00"))
    await open_raw.answers()


async def test_never_finished_fragments_are_freed_with_the_session(open_raw: Raw) -> None:
    from sideband.protocol.fragments import PROCESS_FRAGMENTS

    before = PROCESS_FRAGMENTS.held
    await open_raw.send(*pieces(big_request(size=200_000), 0)[:-1])
    await open_raw.answers()
    assert PROCESS_FRAGMENTS.held > before
    await open_raw.connection.close()
    await settle()
    assert PROCESS_FRAGMENTS.held == before
