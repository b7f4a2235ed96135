"""The receiving process of the direct suite: `python -m benches.direct_receiver KIND [CERTIFICATE]`.

Prints where it listens, and then a line for each stream that came whole: its bytes, and what else the kind has to tell.
Offers of WebRTC come as lines of JSON on its input and are answered by lines of JSON on its output.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from sideband import direct, tune_allocator
from sideband.identity import MemoryIdentityKeyStore, NoiseKeyPair, generate_identity_key_pair
from sideband.peer import (
    ConnectionParams,
    ConnectionPolicy,
    Peer,
    PeerOptions,
    Stream,
    listen,
    relay_daemon_negotiator,
)
from sideband.transport import WebSocketTransport

__all__ = ["CHUNK", "LAPTOP", "STUDIO", "moving_options"]

STUDIO, LAPTOP = bytes(range(1, 33)), bytes(range(2, 34))
CHUNK = 256 * 1024
WINDOW = 8 * 1024 * 1024
"""Of bare aioquic; ours has the same."""


def moving_options() -> PeerOptions:
    """Of the two sides of a relayed session that becomes a direct one on this machine."""
    policy = direct.DirectPolicy(transports=("tcp",), loopback=True)
    return PeerOptions(connection=ConnectionPolicy(on_disconnect="pause"), upgrade=direct.upgrades(policy))


async def _plain(certificate: str | None = None) -> None:
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(certificate)
    server = await asyncio.start_server(_count, "127.0.0.1", 0, ssl=context, limit=4 * CHUNK)
    _tell(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await server.serve_forever()


async def _bare_quic(certificate: str) -> None:
    from aioquic.asyncio.server import serve
    from aioquic.quic.configuration import QuicConfiguration

    tasks = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_count(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    configuration = QuicConfiguration(
        is_client=False, alpn_protocols=["bench"], max_data=WINDOW, max_stream_data=WINDOW
    )
    configuration.load_cert_chain(certificate, certificate)
    server = await serve("127.0.0.1", 0, configuration=configuration, stream_handler=begin)
    assert server._transport is not None
    _tell(f"quic://127.0.0.1:{server._transport.get_extra_info('sockname')[1]}")
    await asyncio.Event().wait()


async def _count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    size = left = int.from_bytes(await reader.readexactly(8), "big")
    while left:
        left -= len(await reader.read(CHUNK))
    writer.write(b"!")
    await writer.drain()
    _tell(size)
    writer.close()


async def _bare_webrtc() -> None:
    from aiortc import RTCPeerConnection, RTCSessionDescription

    offers = await _told_lines()
    _tell("webrtc:")
    while True:
        connection = RTCPeerConnection()

        def serve(channel: Any) -> None:
            left: list[int] = []

            def take(message: bytes) -> None:
                if not left:
                    left.extend([int.from_bytes(message, "big")] * 2)
                    return
                left[1] -= len(message)
                if not left[1]:
                    channel.send(b"!")
                    _tell(left[0])

            channel.on("message", take)

        connection.on("datachannel", serve)
        await connection.setRemoteDescription(RTCSessionDescription(sdp=await offers(), type="offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        _answer(connection.localDescription.sdp)


async def _ours(scheme: str) -> None:
    key, guest = NoiseKeyPair.from_private_bytes(STUDIO), NoiseKeyPair.from_private_bytes(LAPTOP)
    transport = None
    if scheme == "webrtc":
        from benches.piped_webrtc import PipedWebRtc

        transport = PipedWebRtc(offers=await _told_lines(), answer=_answer)
    server = await direct.listen(
        f"{scheme}://127.0.0.1:0",
        lambda peer: peer.stream_handler("take", _take),
        name="studio",
        key=key,
        identity_key_store=MemoryIdentityKeyStore({"laptop": guest.public_key}),
        transport=transport,
    )
    _tell(server.address)
    await asyncio.Event().wait()


async def _take(stream: Stream) -> None:
    size = 0
    async for chunk in stream:
        size += chunk.nbytes
    _tell(size)


async def _moving() -> None:
    """Be a daemon behind a relay, and tell for each stream the longest time in which nothing of it came."""
    told = json.loads(sys.stdin.readline())

    def on_connection(peer: Peer) -> None:
        peer.stream_handler("take", _take_and_watch)

    server = await listen(
        told["url"],
        on_connection,
        negotiator=relay_daemon_negotiator(
            told["daemon_id"],
            generate_identity_key_pair(),
            get_connection_params=lambda: ConnectionParams(headers={"Authorization": f"Bearer {told['token']}"}),
        ),
        transport=WebSocketTransport(proxy=""),
        options=moving_options(),
    )
    _tell("relay")
    async with server:
        await asyncio.Event().wait()


async def _take_and_watch(stream: Stream) -> None:
    size, longest, latest = 0, 0.0, None
    async for chunk in stream:
        now = time.perf_counter()
        longest = longest if latest is None else max(longest, now - latest)
        size, latest = size + chunk.nbytes, now
    _tell(size, longest)


async def _told_lines() -> Callable[[], Awaitable[str]]:
    """Return what returns the next string on standard input."""
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def line() -> str:
        text: str = json.loads(await reader.readline())
        return text

    return line


def _answer(description: str) -> None:
    _tell(json.dumps(description))


def _tell(*words: object) -> None:
    print(*words, flush=True)


if __name__ == "__main__":
    kind, *more = sys.argv[1:]
    if kind in ("plain-tuned", "tcp", "quic", "webrtc", "moving"):
        tune_allocator()  # as our commands do
    match kind:
        case "plain" | "plain-tuned" | "tls":
            asyncio.run(_plain(*more))
        case "bare-quic":
            asyncio.run(_bare_quic(*more))
        case "bare-webrtc":
            asyncio.run(_bare_webrtc())
        case "moving":
            asyncio.run(_moving())
        case _:
            asyncio.run(_ours(kind))
