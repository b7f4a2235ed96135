"""Another implementation of SBDP (tests/support/sbdp_by_hand.py) against ours, on either side of the wire."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sideband import direct
from sideband._native import sbp_decode, sbp_encode_control, sbp_encode_message
from sideband.direct.sessions import transport_for
from sideband.errors import SbdpError
from sideband.peer import Peer, RetryPolicy, create_peer
from tests.direct.conftest import Sides
from tests.support.sbdp_by_hand import CLOSE, DATA, NEXT_KEY, PING, PONG, Side, prologue

TRANSPORTS = ["tcp", "ws"]
HELLO = sbp_encode_control(bytes(16), 0, b'{"protocol":"sideband","version":"1","peerId":"by hand"}')
CALL = bytes(range(16))
REQUEST = sbp_encode_message(CALL, "rpc", b'{"t":"r","m":"echo","cid":"%s","p":7}' % CALL.hex().encode())


class Wire:
    """Messages over TCP or a WebSocket, as the page's "Wire" has them."""

    def __init__(self, send: Callable[[bytes], Awaitable[Any]], receive: Callable[[], Awaitable[bytes]]) -> None:
        self.send, self.receive = send, receive

    @classmethod
    def of_tcp(cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Wire:
        async def send(message: bytes) -> None:
            writer.write(len(message).to_bytes(4, "big") + message)
            await writer.drain()

        async def receive() -> bytes:
            return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))

        return cls(send, receive)

    @classmethod
    def of_websocket(cls, socket: aiohttp.ClientWebSocketResponse | web.WebSocketResponse) -> Wire:
        return cls(socket.send_bytes, socket.receive_bytes)


@asynccontextmanager
async def dialled(address: str) -> AsyncIterator[Wire]:
    if address.startswith("tcp"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        yield Wire.of_tcp(reader, writer)
        writer.close()
        await writer.wait_closed()
    else:
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=2 << 20) as socket:
            yield Wire.of_websocket(socket)


@asynccontextmanager
async def listening(transport: str, serve: Callable[[Wire], Awaitable[None]]) -> AsyncIterator[str]:
    served: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def once(wire: Wire) -> None:
        try:
            await serve(wire)
        except BaseException as error:
            served.set_exception(error)
            raise
        served.set_result(None)

    if transport == "tcp":

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await once(Wire.of_tcp(reader, writer))
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
            yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            await served
        return

    async def upgrade(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=2 << 20)
        await socket.prepare(request)
        await once(Wire.of_websocket(socket))
        return socket

    app = web.Application()
    app.router.add_get("/", upgrade)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"ws://127.0.0.1:{runner.addresses[0][1]}/"
    await served
    await runner.cleanup()


def laptop_by_hand(sides: Sides, transport: str, signer: Ed25519PrivateKey | None = None) -> Side:
    static = sides.laptop.private_bytes()
    bound_to = prologue(transport)
    return Side(
        "laptop", initiator=True, static=static, ephemeral=os.urandom(32), bound_to=bound_to, signer=signer, caps=("x",)
    )


async def next_record(side: Side, wire: Wire) -> tuple[int, bytes]:
    """The next one that is for whoever uses the session: pings are answered, and keys changed, on the way."""
    while True:
        kind, content = side.open(await wire.receive())
        if kind == PING:
            await wire.send(side.seal(PONG, content))
        elif kind != NEXT_KEY:
            return kind, content


async def next_frame(side: Side, wire: Wire) -> Any:
    kind, content = await next_record(side, wire)
    assert kind == DATA
    return sbp_decode(content, 1 << 20)


async def exchange(side: Side, wire: Wire) -> None:
    """SBP's handshake, a call that is answered, a ping, and the next key on this side."""
    await wire.send(side.seal(DATA, HELLO))
    assert (await next_frame(side, wire)).kind == 0
    for _ in range(2):
        await wire.send(side.seal(DATA, REQUEST))
        assert b'"result":7' in (await next_frame(side, wire)).data
        await wire.send(side.seal(PING, b"are you there"))
        assert await next_record(side, wire) == (PONG, b"are you there")
        await wire.send(side.seal(NEXT_KEY))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_another_dialler_with_our_listener(sides: Sides, transport: str) -> None:
    gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    signer = Ed25519PrivateKey.generate()
    async with (
        await sides.listen(f"{transport}://127.0.0.1:0", lambda peer: peer.on("disconnected", gone.set_result)) as ours,
        dialled(ours.address) as wire,
    ):
        side = laptop_by_hand(sides, transport, signer)
        await wire.send(side.first())
        third, said = side.third(await wire.receive())
        assert said == {"v": 1, "name": "studio"}
        assert side.noise.remote_static == sides.studio.public_key
        await wire.send(third)
        await exchange(side, wire)
        await wire.send(side.seal(CLOSE, b"\x00\x00until tomorrow"))
        assert "until tomorrow" in str((await gone).__cause__ or await gone)
    assert [peer.remote_name for peer in sides.peers] == ["laptop"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_our_dialler_with_another_listener(sides: Sides, transport: str) -> None:
    signer = Ed25519PrivateKey.generate()
    exchanged = asyncio.Event()

    async def serve(wire: Wire) -> None:
        side = Side(
            "studio",
            initiator=False,
            static=sides.studio.private_bytes(),
            ephemeral=os.urandom(32),
            bound_to=prologue(transport),
            signer=signer,
        )
        await wire.send(side.second(await wire.receive()))
        assert side.take_third(await wire.receive()) == {"v": 1, "name": "laptop"}
        assert side.noise.remote_static == sides.laptop.public_key
        await exchange(side, wire)
        exchanged.set()
        farewell = await next_frame(side, wire)
        assert (farewell.kind, farewell.op) == (0, 3)
        assert await next_record(side, wire) == (CLOSE, b"\x00\x00")

    async with listening(transport, serve) as address:
        negotiator = direct.sbdp_negotiator(
            "laptop",
            sides.laptop,
            initiator=True,
            remote_key=sides.studio.public_key,
            remote_identity_key=signer.public_key().public_bytes_raw(),
            rekey=direct.Rekey(records=4),
        )
        peer = create_peer(address, negotiator=negotiator, transport=transport_for(address))
        peer.rpc.handle("echo", lambda value: value)
        async with peer:
            (link,) = negotiator._links.values()
            while link.session.sent[0] < 3:
                await link.ping()
            await exchanged.wait()
            assert peer.path == f"direct:{transport}"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_refusal_is_told_to_another_dialler(sides: Sides, transport: str) -> None:
    side = laptop_by_hand(sides, transport)
    nobody = Sides().studio_pins
    async with (
        await sides.listen(f"{transport}://127.0.0.1:0", identity_key_store=nobody) as ours,
        dialled(ours.address) as wire,
    ):
        await wire.send(side.first())
        await wire.send(side.third(await wire.receive())[0])
        kind, content = side.open(await wire.receive())
        assert (kind, content[:2]) == (CLOSE, b"\x00\x01")
    assert not sides.peers


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "what", ["changed", "repeated", "skipped", "unknown", "long close", "short close", "handshake"]
)
async def test_a_bad_record_ends_the_session_for_good_on_both_sides(sides: Sides, transport: str, what: str) -> None:
    gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    async with (
        await sides.listen(f"{transport}://127.0.0.1:0", lambda peer: peer.on("disconnected", gone.set_result)) as ours,
        dialled(ours.address) as wire,
    ):
        side = laptop_by_hand(sides, transport)
        await wire.send(side.first())
        await wire.send(side.third(await wire.receive())[0])
        await wire.send(hello := side.seal(DATA, HELLO))
        assert (await next_frame(side, wire)).kind == 0
        match what:
            case "changed":
                record = side.seal(DATA, REQUEST)
                bad, code = record[:-1] + bytes([record[-1] ^ 1]), "decrypt_failed"
            case "repeated":
                bad, code = hello, "decrypt_failed"
            case "skipped":
                side.seal(DATA, REQUEST)
                bad, code = side.seal(DATA, REQUEST), "decrypt_failed"
            case "unknown":
                bad, code = side.seal(5, b""), "protocol_violation"
            case "long close":
                bad, code = side.seal(CLOSE, bytes(126)), "protocol_violation"
            case "short close":
                bad, code = side.seal(CLOSE, b"\x00"), "protocol_violation"
            case _:
                bad, code = b"\x01" + bytes(32), "protocol_violation"
        await wire.send(bad)
        error = await gone
        kind, content = side.open(await wire.receive())
        assert (kind, content[:2]) == (CLOSE, b"\x00\x02")
        cause = error if isinstance(error, SbdpError) else error.__cause__
        assert isinstance(cause, SbdpError)
        assert cause.code == code
    (peer,) = sides.peers
    assert peer.closed


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_being_told_of_a_bad_record_is_final(sides: Sides, transport: str) -> None:
    async def serve(wire: Wire) -> None:
        keys = sides.studio.private_bytes(), os.urandom(32)
        side = Side("studio", initiator=False, static=keys[0], ephemeral=keys[1], bound_to=prologue(transport))
        await wire.send(side.second(await wire.receive()))
        side.take_third(await wire.receive())
        await wire.send(side.seal(CLOSE, b"\x00\x02a record\ndid not open"))

    async with listening(transport, serve) as address:
        peer: Peer = sides.dial(address, retry=RetryPolicy(mode="on-error"))
        with pytest.raises(SbdpError, match=r"session_closed: .* a record\?did not open"):
            await peer.connect()
        assert peer.closed
        await peer.disconnect()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_nothing_counts_after_a_close(sides: Sides, transport: str) -> None:
    seen: list[Any] = []
    gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def on(peer: Peer) -> None:
        peer.events.on("late", seen.append)
        peer.on("disconnected", gone.set_result)

    async with await sides.listen(f"{transport}://127.0.0.1:0", on) as ours, dialled(ours.address) as wire:
        side = laptop_by_hand(sides, transport)
        await wire.send(side.first())
        await wire.send(side.third(await wire.receive())[0])
        await wire.send(side.seal(DATA, HELLO))
        assert (await next_frame(side, wire)).kind == 0
        late = sbp_encode_message(CALL, "event", b'{"t":"N","e":"late"}')
        for message in (side.seal(CLOSE, b"\x00\x00"), side.seal(DATA, late)):
            await wire.send(message)
        await gone
    assert not seen
