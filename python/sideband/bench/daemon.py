"""What a real daemon and the way to it make of sideband: round trips, and a stream there and back."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sideband.errors import PeerError
from sideband.peer import Peer, Stream
from sideband.protocol.streams import ResetCode

__all__ = ["DaemonFigures", "measure_daemon"]

ECHO = "$sideband/echo"
CALL_BYTES = 256
_PIECE_BYTES = 65_536


@dataclass(frozen=True)
class DaemonFigures:
    """What was found.

    Attributes:
        seconds: of each round trip, by calls of 256 bytes one after the other.
        echoed_bytes: that went there and came back on one stream.
        echo_seconds: how long that took; None when the daemon does not echo streams.
    """

    seconds: Sequence[float]
    echoed_bytes: int
    echo_seconds: float | None


async def measure_daemon(peer: Peer, *, calls: int = 100, size: int = 16 << 20) -> DaemonFigures:
    """Call `$sideband/echo`, and send a stream of that name there and back.

    Args:
        peer: connected.
        calls: how many round trips.
        size: bytes of the stream.

    Raises:
        RpcPeerError: the daemon does not answer `$sideband/echo`.
        PeerError: the session ended; `integrity_error` when what came back is not what was sent.
    """
    message = os.urandom(CALL_BYTES)
    seconds = []
    for _ in range(calls):
        began = time.perf_counter()
        await peer.rpc.call(ECHO, message)
        seconds.append(time.perf_counter() - began)
    try:
        stream = await peer.open_stream(ECHO)
    except PeerError as error:
        if error.code != "stream_reset" or error.details.get("code") != ResetCode.REFUSED:
            raise
        return DaemonFigures(seconds, 0, None)
    began = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_write(stream, size))
            back = tasks.create_task(_read(stream))
    except ExceptionGroup as failed:
        # Both directions end for one reason.
        raise failed.exceptions[0] from None
    if back.result() != size:
        raise PeerError("integrity_error", f"{size} bytes were sent, and {back.result()} came back")
    return DaemonFigures(seconds, size, time.perf_counter() - began)


async def _write(stream: Stream, size: int) -> None:
    piece = os.urandom(_PIECE_BYTES)
    for start in range(0, size, _PIECE_BYTES):
        await stream.write(piece[: size - start])
    await stream.end(wait=False)


async def _read(stream: Stream) -> int:
    came = 0
    async for chunk in stream:
        came += chunk.nbytes
    return came
