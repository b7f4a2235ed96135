"""The sending sides of the direct suite: each way moves bytes to a receiving process and tells how long it took."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benches.direct_receiver import CHUNK, LAPTOP, STUDIO, WINDOW, moving_options
from sideband import direct
from sideband.bench.issuer import Issuer
from sideband.bench.processes import started
from sideband.identity import IdentityTrust, MemoryIdentityKeyStore, NoiseKeyPair
from sideband.peer import ConnectionParams, Peer, create_peer, relay_client_negotiator
from sideband.transport import Transport, WebSocketTransport

__all__ = ["Receiver", "Switching", "move", "receiver", "switching"]

CHANNEL_PIECE = 65_536
"""The largest message that every implementation of data channels takes."""
CHANNEL_HIGH, CHANNEL_LOW = 1024 * 1024, 256 * 1024
_DAEMON = "d_" + "m" * 22
_AFTER_BYTES = 32 * 1024 * 1024
"""What is sent on after the session has moved."""


class Receiver:
    """The process that receives, and what it has said."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        self.address = ""

    def words(self) -> list[str]:
        """Return what it says next.

        Raises:
            RuntimeError: nothing, it has ended.
        """
        line = self._output.readline()
        if not line:
            raise RuntimeError("the receiver has ended; what it wrote above says why")
        return line.split()

    async def exchange(self, offer: str) -> str:
        """Tell it an offer of WebRTC, and return its answer."""
        self.tell(json.dumps(offer))
        answer: str = json.loads(await asyncio.to_thread(self._output.readline))
        return answer

    def tell(self, line: str) -> None:
        """Write a line to it."""
        self._input.write(line + "\n")
        self._input.flush()


@contextmanager
def receiver(kind: str, *arguments: str, first_line: str | None = None) -> Iterator[Receiver]:
    """Run `benches.direct_receiver` until the block ends."""
    command = [sys.executable, "-m", "benches.direct_receiver", kind, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            made = Receiver(process)
            if first_line is not None:
                made.tell(first_line)
            made.address = made.words()[0]
            yield made
        finally:
            process.terminate()


def move(kind: str, to: Receiver, size: int, authority: str) -> float:
    """Move so many bytes, and return the seconds from the first write until the other side has them all.

    Raises:
        RuntimeError: not all came.
    """
    match kind:
        case "plain" | "plain-tuned" | "tls":
            work = _by_socket(to.address, size, authority if kind == "tls" else None)
        case "bare-quic":
            work = _by_bare_quic(to.address, size)
        case "bare-webrtc":
            work = _by_bare_webrtc(to, size)
        case _:
            work = _by_ours(kind, to, size)
    seconds = asyncio.run(work)
    _check(size, to.words())
    return seconds


async def _by_socket(address: str, size: int, authority: str | None) -> float:
    port = int(address.rpartition(":")[2])
    context = None if authority is None else ssl.create_default_context(cadata=authority)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    took = await _written(reader, writer, size)
    writer.close()
    await writer.wait_closed()
    return took


async def _written(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> float:
    begun = time.perf_counter()
    writer.write(size.to_bytes(8, "big"))
    for piece in _pieces(size, CHUNK):
        writer.write(piece)
        await writer.drain()
    await reader.readexactly(1)
    return time.perf_counter() - begun


async def _by_bare_quic(address: str, size: int) -> float:
    from aioquic.asyncio.client import connect
    from aioquic.quic.configuration import QuicConfiguration

    configuration = QuicConfiguration(
        alpn_protocols=["bench"], verify_mode=ssl.CERT_NONE, max_data=WINDOW, max_stream_data=WINDOW
    )
    port = int(address.rpartition(":")[2])
    async with connect("127.0.0.1", port, configuration=configuration) as client:
        reader, writer = await client.create_stream()
        took = await _written(reader, writer, size)
        writer.close()
        return took


async def _by_bare_webrtc(to: Receiver, size: int) -> float:
    from aiortc import RTCPeerConnection, RTCSessionDescription

    connection = RTCPeerConnection()
    try:
        channel = connection.createDataChannel("bench", ordered=True)
        opened, room, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
        channel.on("open", opened.set)
        channel.on("bufferedamountlow", room.set)
        channel.on("message", lambda _: done.set())
        channel.bufferedAmountLowThreshold = CHANNEL_LOW
        await connection.setLocalDescription(await connection.createOffer())
        answer = await to.exchange(connection.localDescription.sdp)
        await connection.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
        await opened.wait()
        begun = time.perf_counter()
        channel.send(size.to_bytes(8, "big"))
        for piece in _pieces(size, CHANNEL_PIECE):
            channel.send(piece)
            if channel.bufferedAmount > CHANNEL_HIGH:
                room.clear()
                await room.wait()
        await done.wait()
        return time.perf_counter() - begun
    finally:
        await connection.close()


async def _by_ours(scheme: str, to: Receiver, size: int) -> float:
    key, host = NoiseKeyPair.from_private_bytes(LAPTOP), NoiseKeyPair.from_private_bytes(STUDIO)
    transport: Transport | None = None
    if scheme == "webrtc":
        from benches.piped_webrtc import PipedWebRtc

        transport = PipedWebRtc(exchange=to.exchange)
    async with direct.connect(
        to.address, name="laptop", key=key, remote_name="studio", remote_key=host.public_key, transport=transport
    ) as peer:
        stream = await peer.open_stream("take")
        begun = time.perf_counter()
        for piece in _pieces(size, CHUNK):
            await stream.write(piece)
        await stream.end()
        return time.perf_counter() - begun


class Switching:
    """A daemon behind a relay that lets its sessions become direct ones.

    Args:
        url: of the relay.
        daemon: its process.
        issuer: of tokens.
    """

    def __init__(self, url: str, daemon: Receiver, issuer: Issuer) -> None:
        self._url = url
        self._daemon = daemon
        self._issuer = issuer
        self._sessions = 0

    def once(self) -> float:
        """Move a session whose stream is flowing; return the longest time in which nothing of it came, in seconds."""
        self._sessions += 1
        sent = asyncio.run(self._flow(self._issuer.client(_DAEMON, self._sessions)))
        words = self._daemon.words()
        _check(sent, words)
        return float(words[1])

    async def _flow(self, token: str) -> int:
        trust = IdentityTrust(MemoryIdentityKeyStore(), "accept-new")
        peer = create_peer(
            self._url,
            negotiator=relay_client_negotiator(
                _DAEMON,
                trust=trust,
                get_connection_params=lambda: ConnectionParams(headers={"Authorization": f"Bearer {token}"}),
            ),
            transport=WebSocketTransport(proxy=""),
            options=moving_options(),
        )
        async with peer:
            return await self._stream(peer)

    async def _stream(self, peer: Peer) -> int:
        moved: list[Any] = []
        peer.on("path_changed", moved.append)
        stream = await peer.open_stream("take")
        piece = bytes(CHUNK)
        if moved:
            raise RuntimeError("the session moved before its stream flowed")
        sent = 0
        while not moved:
            await stream.write(piece)
            sent += CHUNK
        for piece in _pieces(_AFTER_BYTES, CHUNK):
            await stream.write(piece)
            sent += CHUNK
        await stream.end()
        return sent


@contextmanager
def switching() -> Iterator[Switching]:
    """A relay, and a daemon behind it."""
    issuer = Issuer()
    with started("relay", "sideband.bench.relay_process", issuer.told()) as relay:
        url = f"ws://127.0.0.1:{relay.port}/"
        told = json.dumps({"url": url, "daemon_id": _DAEMON, "token": issuer.daemon(_DAEMON)})
        with receiver("moving", first_line=told) as daemon:
            yield Switching(url, daemon, issuer)


def _pieces(size: int, most: int) -> Iterator[bytes]:
    whole = bytes(most)
    for _ in range(size // most):
        yield whole
    if size % most:
        yield whole[: size % most]


def _check(size: int, words: Sequence[str]) -> None:
    if int(words[0]) != size:
        raise RuntimeError(f"{size} bytes were sent, {words[0]} came")
