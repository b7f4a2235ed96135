from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import pytest

from sideband.cli.demo import exchange as module
from sideband.cli.demo.exchange import echo, exchange
from sideband.cli.demo.payload import GeneratedPayload
from sideband.errors import SbpError

MARKER = bytes(range(32))
CHUNK = 65_508
SEGMENT = 256 * CHUNK


class Pipe:
    """One end of a session without a network; `change` may damage what is sent."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[list[bytes]] = asyncio.Queue()
        self.peer = self
        self.largest_backlog = 0
        self.sent: list[int] = []

    async def send(self, plaintexts: Sequence[bytes | memoryview]) -> None:
        self.sent += [len(plaintext) for plaintext in plaintexts]
        self.peer.inbox.put_nowait([self.change(bytes(plaintext)) for plaintext in plaintexts])
        self.largest_backlog = max(self.largest_backlog, self.peer.inbox.qsize())

    async def receive(self) -> list[bytes]:
        return await self.inbox.get()

    def change(self, plaintext: bytes) -> bytes:
        return plaintext


def pair() -> tuple[Pipe, Pipe]:
    client, daemon = Pipe(), Pipe()
    client.peer, daemon.peer = daemon, client
    return client, daemon


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT + 12_345])
async def test_everything_comes_back(size: int) -> None:
    client, daemon = pair()
    payload = GeneratedPayload(size)
    told: list[tuple[int, int]] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(echo(daemon))
        transferring = group.create_task(exchange(client, payload, MARKER, progress=lambda *at: told.append(at)))
    transfer = transferring.result()
    digest = hashlib.sha256(payload.read(0, size)).hexdigest()
    assert transfer.match
    assert (transfer.sent_sha256, transfer.daemon_sha256, transfer.returned_sha256) == (digest,) * 3
    assert transfer.bytes == size
    segments = [SEGMENT] * (size // SEGMENT) + ([size % SEGMENT] if size % SEGMENT else [])
    assert transfer.frames == sum(-(-segment // CHUNK) for segment in segments)
    if size:
        assert told[-1] == (size, size)
        assert told == sorted(told), "progress never goes back"


async def test_the_daemon_never_has_more_than_2_mib_under_way() -> None:
    client, daemon = pair()
    async with asyncio.TaskGroup() as group:
        group.create_task(echo(daemon))
        group.create_task(exchange(client, GeneratedPayload(SEGMENT), MARKER))
    assert daemon.largest_backlog <= 1 + module.WINDOW_CHUNKS // module.BATCH_CHUNKS
    assert client.largest_backlog > daemon.largest_backlog


async def test_damage_on_the_way_is_seen_in_the_digests() -> None:
    class Flipping(Pipe):
        def change(self, plaintext: bytes) -> bytes:
            return plaintext[:-1] + bytes([plaintext[-1] ^ 1]) if len(plaintext) == CHUNK else plaintext

    daemon, client = Pipe(), Flipping()
    client.peer, daemon.peer = daemon, client
    async with asyncio.TaskGroup() as group:
        group.create_task(echo(daemon))
        transferring = group.create_task(exchange(client, GeneratedPayload(3 * CHUNK), MARKER))
    transfer = transferring.result()
    assert not transfer.match
    assert transfer.sent_sha256 != transfer.daemon_sha256 == transfer.returned_sha256


async def violation(serving: object) -> None:
    with pytest.raises(SbpError) as caught:
        await serving  # type: ignore[misc]  # a coroutine
    assert caught.value.code == 1002


async def test_a_client_that_does_not_follow_is_refused() -> None:
    for first in ([b"hello"], [bytes(48)], [b"sb-demo1" + bytes(39)]):
        client, daemon = pair()
        await client.send(first)
        await violation(echo(daemon))
    for chunk in (b"", b"x" * 11):
        client, daemon = pair()
        await client.send([b"sb-demo1" + MARKER + (10).to_bytes(8, "big"), chunk])
        await violation(echo(daemon))


async def test_a_daemon_that_does_not_follow_is_refused() -> None:
    header = b"sb-demo1" + MARKER + (10).to_bytes(8, "big")
    for answers in ([b"hello"], [header, b"what"], [header, b"arrived", b"x" * 11], [header, b"arrived", b""]):
        client, daemon = pair()
        await daemon.send(answers)
        with pytest.raises((SbpError, ExceptionGroup)) as caught:
            await exchange(client, GeneratedPayload(10), MARKER)
        error = caught.value
        assert isinstance(error, SbpError) or isinstance(error.exceptions[0], SbpError)
