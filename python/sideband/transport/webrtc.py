"""WebRTC data channels (docs/protocol/sbdp.md, "Wire"), by aiortc (extra `webrtc`).

There is no endpoint to dial: the two sides exchange two descriptions by whatever way they already have, and ICE finds a
way between them, by STUN and TURN servers where there are some.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from typing_extensions import override

from sideband.errors import ConfigError, ConnectionClosed, TransportError
from sideband.transport.base import BytesLike, Connection

try:
    from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
    from aiortc.exceptions import InvalidStateError
except ImportError as missing:
    raise ConfigError("WebRTC needs another package: pip install 'sideband[webrtc]'") from missing

from cryptography.hazmat.primitives import hashes

__all__ = ["MAX_RECORD_BYTES", "WebRtcConnection", "WebRtcOffer"]

MAX_RECORD_BYTES = 65_535
"""Largest sealed record: with its type byte it is the largest message that every implementation takes, 64 KiB."""
LABEL = "sbdp/1"
WRITE_HIGH_BYTES = 1024 * 1024
WRITE_LOW_BYTES = 256 * 1024
HIGH_WATER_BYTES = 64 * 1024 * 1024
"""Received and not yet taken: SCTP cannot be held back here, so who floods a session that does not read is cut off."""


class WebRtcOffer:
    """One attempt to connect: the side that calls `offer` dials, the other one calls `answer`.

    Args:
        ice_servers: (url, username, credential) of STUN and TURN servers.
        host_candidates: whether this machine's own addresses are told.
    """

    def __init__(
        self,
        ice_servers: Sequence[tuple[str, str | None, str | None]] = (),
        *,
        host_candidates: bool = True,
    ) -> None:
        servers = [RTCIceServer(urls=url, username=user, credential=secret) for url, user, secret in ice_servers]
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._host_candidates = host_candidates
        self._connection: asyncio.Future[WebRtcConnection] = asyncio.get_running_loop().create_future()
        self._taken = False
        self._local = ""
        self._pc.on("connectionstatechange", self._changed)

    async def offer(self) -> str:
        """Begin, and return the description for the other side."""
        channel = self._pc.createDataChannel(LABEL, ordered=True)
        channel.on("open", lambda: self._opened(channel))
        self._start_only_while_open()
        await self._pc.setLocalDescription(await self._pc.createOffer())
        self._local = self._pc.localDescription.sdp
        return self._told()

    async def answer(self, offer: str) -> str:
        """Take the other side's description, and return the one that answers it.

        Raises:
            TransportError: `transport_failure` when it is none.
        """
        self._pc.on("datachannel", self._came)
        await self._take(offer, "offer")
        with _description_of("offer"):
            await self._pc.setLocalDescription(await self._pc.createAnswer())
        self._local = self._pc.localDescription.sdp
        return self._told()

    async def accept(self, answer: str) -> None:
        """Take the other side's answer.

        Raises:
            TransportError: `transport_failure` when it is none.
        """
        await self._take(answer, "answer")

    async def connection(self) -> WebRtcConnection:
        """Wait for the data channel.

        Raises:
            TransportError: no way was found.
        """
        connection = await asyncio.shield(self._connection)
        self._taken = True
        return connection

    async def close(self) -> None:
        """Give up what has not become a connection, or was not taken; one that was taken closes by itself."""
        if not self._connection.done():
            self._connection.set_exception(ConnectionClosed("the attempt was given up"))
        if self._connection.exception() is not None or not self._taken:
            await self._pc.close()

    async def _take(self, sdp: str, kind: str) -> None:
        with _description_of(kind):
            await self._pc.setRemoteDescription(RTCSessionDescription(sdp=sdp, type=kind))

    def _start_only_while_open(self) -> None:
        # A connection that is closed while DTLS shakes hands would go on to start SCTP, whose timers then send for half
        # a minute by a way that is gone, each time with an error that nobody takes.
        sctp: Any = self._pc.sctp
        if sctp is None:
            return
        start = sctp.start

        async def start_while_open(*arguments: Any) -> None:
            if self._pc.signalingState != "closed":
                with contextlib.suppress(ConnectionError):  # the way is lost, as the state of the connection tells
                    await start(*arguments)
            if self._pc.signalingState == "closed":
                await sctp.stop()

        sctp.start = start_while_open

    def _told(self) -> str:
        if self._host_candidates:
            return self._local
        lines = self._local.splitlines(keepends=True)
        return "".join(line for line in lines if not (line.startswith("a=candidate:") and " typ host" in line))

    def _came(self, channel: Any) -> None:
        if channel.label == LABEL:
            self._opened(channel)

    def _opened(self, channel: Any) -> None:
        if self._connection.done():
            return
        self._connection.set_result(WebRtcConnection(self._pc, channel, _binding(self._pc)))

    def _changed(self) -> None:
        if self._pc.connectionState in ("failed", "closed"):
            if not self._connection.done():
                self._connection.set_exception(
                    TransportError("transport_failure", "ICE found no way to the other side")
                )
                self._connection.exception()
            elif self._connection.exception() is None:
                self._connection.result()._lost()


class WebRtcConnection(Connection):
    """One data channel, ordered and reliable.

    Attributes:
        binding: the SHA-256 of both DTLS certificates, in order of their bytes.
    """

    transport_name = "webrtc"
    max_record_bytes = MAX_RECORD_BYTES

    def __init__(self, pc: Any, channel: Any, binding: bytes) -> None:
        self.binding = binding
        self._pc = pc
        self._channel = channel
        self._inbox: deque[bytes] = deque()
        self._held = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._ended = asyncio.Event()
        self._close_code: int | None = None
        self._close_reason = ""
        self._closed_here = False
        channel.bufferedAmountLowThreshold = WRITE_LOW_BYTES
        channel.on("message", self._came)
        channel.on("bufferedamountlow", self._room.set)
        channel.on("close", self._lost)

    @override
    async def send(self, data: BytesLike) -> None:
        await self.send_many((data,))

    @override
    async def send_many(self, messages: Iterable[BytesLike]) -> None:
        for message in messages:
            size = message.nbytes if isinstance(message, memoryview) else len(message)
            if size > MAX_RECORD_BYTES + 1:
                raise TransportError("message_too_large", f"a message of {size} bytes is over the limit of 65536")
            if self._close_code is not None:
                raise self._ending()
            try:
                self._channel.send(bytes(message))
            except InvalidStateError:
                raise TransportError("abnormal_close", "the connection was lost", close_code=1006) from None
            if self._channel.bufferedAmount > WRITE_HIGH_BYTES:
                self._room.clear()
                await self._room.wait()

    @override
    async def receive(self) -> bytes:
        await self._arrival()
        message = self._inbox.popleft()
        self._held -= len(message)
        return message

    @override
    async def receive_many(self) -> list[bytes]:
        await self._arrival()
        messages = list(self._inbox)
        self._inbox.clear()
        self._held = 0
        return messages

    @override
    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self._close_code is None:
            self._closed_here = True
            self._close_code, self._close_reason = code, reason
            self._wake()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    # Closing at once would drop what is under way, our last record included.
                    while self._channel.bufferedAmount and self._channel.readyState == "open":
                        self._channel.bufferedAmountLowThreshold = 0
                        self._room.clear()
                        await self._room.wait()
            await self._pc.close()
            self._ended.set()
        elif not self._ended.is_set():
            await self._pc.close()
            self._ended.set()

    def abort(self) -> None:
        """Cut the connection; `close` still has to be called."""
        self._lost()

    @override
    async def wait_closed(self) -> None:
        while self._close_code is None:
            self._changed.clear()
            await self._changed.wait()

    @property
    @override
    def closed(self) -> bool:
        return self._close_code is not None

    @property
    @override
    def close_code(self) -> int | None:
        return self._close_code

    @property
    @override
    def close_reason(self) -> str:
        return self._close_reason

    @property
    @override
    def buffered_bytes(self) -> int:
        amount: int = self._channel.bufferedAmount
        return amount

    async def _arrival(self) -> None:
        while not self._inbox:
            if self._close_code is not None:
                raise self._ending()
            self._changed.clear()
            await self._changed.wait()

    def _came(self, message: bytes | str) -> None:
        if not isinstance(message, bytes) or self._held + len(message) > HIGH_WATER_BYTES:
            self._lost()
            return
        self._inbox.append(message)
        self._held += len(message)
        self._changed.set()

    def _lost(self) -> None:
        if self._close_code is None:
            self._close_code = 1006
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._room.set()

    def _ending(self) -> TransportError:
        if self._closed_here:
            return ConnectionClosed(close_code=self._close_code)
        return TransportError("abnormal_close", "the connection was lost", close_code=self._close_code)


@contextlib.contextmanager
def _description_of(kind: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # aiortc raises many kinds for a text from outside, and each of them means the same.
        raise TransportError("transport_failure", f"the {kind} is no WebRTC description") from error


def _binding(pc: Any) -> bytes:
    # Not from the descriptions: a text may name more than one certificate, DTLS has shown exactly one.
    dtls = pc.sctp.transport
    own = next(each.value for each in dtls.getLocalParameters().fingerprints if each.algorithm == "sha-256")
    theirs = dtls._ssl.get_peer_certificate(as_cryptography=True).fingerprint(hashes.SHA256())
    return b"".join(sorted((bytes.fromhex(own.replace(":", "")), theirs)))
