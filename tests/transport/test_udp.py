"""UDP in batches: what is sent in groups arrives as it was, with the kernel's help and without."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import pytest

from sideband.transport import udp
from sideband.transport.udp import UdpReceiver, UdpSocket, bound_socket, open_udp


class Receiver(UdpReceiver):
    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.sources: set[Any] = set()
        self.rounds = 0
        self.was_refused = asyncio.Event()
        self.came = asyncio.Event()

    def datagrams_received(self, data: bytes, size: int, address: Any) -> None:
        self.datagrams += [data[at : at + size] for at in range(0, len(data), size)]
        self.sources.add(address)

    def all_received(self) -> None:
        self.rounds += 1
        self.came.set()

    def refused(self) -> None:
        self.was_refused.set()

    async def count(self, number: int) -> list[bytes]:
        while len(self.datagrams) < number:
            self.came.clear()
            await self.came.wait()
        return self.datagrams


async def pair() -> tuple[UdpSocket, UdpSocket, Receiver, Any]:
    receiver = Receiver()
    here, there = bound_socket(socket.AF_INET, "127.0.0.1", 0), bound_socket(socket.AF_INET, "127.0.0.1", 0)
    to = there.getsockname()
    return await open_udp(here, Receiver()), await open_udp(there, receiver), receiver, to


@pytest.fixture(params=["as it is", "one by one", "no descriptors watched"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "one by one":
        monkeypatch.setattr(udp, "_understands", lambda *_, **__: False)
    elif request.param == "no descriptors watched":
        monkeypatch.setattr(sys, "platform", "an operating system")
    return str(request.param)


async def test_datagrams_of_all_sizes_arrive_as_they_were_sent_and_in_order(way: str) -> None:
    sending, receiving, receiver, to = await pair()
    sizes = [1200] * 70 + [700, 1200, 1200, 1, 1, 1200, 1452, 1452, 1452, 9, 1200]
    sent = [bytes([at % 251]) * size for at, size in enumerate(sizes)]
    sending.send(sent, to)
    assert await receiver.count(len(sent)) == sent
    assert len(receiver.sources) == 1
    sending.close()
    receiving.close()
    await asyncio.sleep(0)


async def test_one_that_is_too_large_is_lost_and_the_others_arrive(way: str) -> None:
    sending, receiving, receiver, to = await pair()
    sending.send([b"before", bytes(70_000), b"after"], to)
    assert await receiver.count(2) == [b"before", b"after"]
    sending.close()
    receiving.close()
    await asyncio.sleep(0)


async def test_a_connected_socket_is_told_that_nobody_is_there(way: str) -> None:
    gone = bound_socket(socket.AF_INET, "127.0.0.1", 0)
    sock = bound_socket(socket.AF_INET, "127.0.0.1", 0)
    sock.connect(gone.getsockname())
    gone.close()
    receiver = Receiver()
    sending = await open_udp(sock, receiver)
    sending.send([b"anybody?"], None)
    await receiver.was_refused.wait()
    sending.close()
    await asyncio.sleep(0)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere datagrams leave one by one, by asyncio")
async def test_a_full_socket_keeps_what_comes_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "MAX_WAITING_BYTES", 3000)
    sending, receiving, receiver, to = await pair()
    full = True
    real = sending._sent  # type: ignore[attr-defined]
    monkeypatch.setattr(sending, "_sent", lambda group, address: False if full else real(group, address))
    pieces = [bytes([at]) * 1000 for at in range(5)]
    for piece in pieces:
        sending.send([piece], to)
    full = False
    assert await receiver.count(3) == pieces[:3]
    sending.send([b"again"], to)
    assert (await receiver.count(4))[3] == b"again"
    sending.close()
    sending.send([b"too late"], to)
    receiving.close()


def test_what_one_call_may_send_is_one_size_with_a_shorter_end() -> None:
    sizes = [5, 5, 3, 5, 6, 6, 2, 2]
    grouped = udp._groups([bytes(size) for size in sizes])
    assert [[len(each) for each in group] for group in grouped] == [[5, 5, 3], [5], [6, 6, 2], [2]]
    assert [len(group) for group in udp._groups([bytes(1000)] * 130)] == [64, 64, 2]
    assert [len(group) for group in udp._groups([bytes(60_000)] * 2)] == [1, 1]
