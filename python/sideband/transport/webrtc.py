"""WebRTC data channels (docs/protocol/sbdp.md, "Wire"), by wrtc over libwebrtc (extra `webrtc`).

There is no endpoint to dial: the two sides exchange two descriptions by whatever way they already have, and ICE finds a
way between them, by STUN and TURN servers where there are some.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from typing_extensions import override

from sideband.errors import ConfigError, ConnectionClosed, TransportError
from sideband.transport.base import BytesLike, Connection

try:
    import webrtc
except ImportError as missing:
    raise ConfigError("WebRTC needs another package: pip install 'sideband[webrtc]'") from missing

__all__ = ["MAX_RECORD_BYTES", "WebRtcConnection", "WebRtcOffer"]

MAX_RECORD_BYTES = 65_535
"""Largest sealed record: with its type byte it is the largest message that every implementation takes, 64 KiB."""
LABEL = "sbdp/1"
WRITE_HIGH_BYTES = 1024 * 1024
WRITE_LOW_BYTES = 256 * 1024
HIGH_WATER_BYTES = 64 * 1024 * 1024
"""Received and not yet taken: SCTP cannot be held back here, so who floods a session that does not read is cut off."""
GATHER_SECONDS = 5.0
"""How long STUN and TURN servers may take to tell an address; what is known by then is offered."""
CLOSE_TIMEOUT_SECONDS = 2.0
"""How long the last messages may take to leave before the connection is cut."""


class WebRtcOffer:
    """One attempt to connect: the side that calls `offer` dials, the other one calls `answer`.

    Args:
        ice_servers: (url, username, credential) of STUN and TURN servers.
        host_candidates: whether this machine's own addresses are told.

    Raises:
        ConfigError: a server's URL is none, or a TURN server has no credential.
    """

    def __init__(
        self,
        ice_servers: Sequence[tuple[str, str | None, str | None]] = (),
        *,
        host_candidates: bool = True,
    ) -> None:
        servers = [webrtc.RTCIceServer(urls=url, username=user, credential=secret) for url, user, secret in ice_servers]
        try:
            self._pc = webrtc.RTCPeerConnection(webrtc.RTCConfiguration(ice_servers=servers))
        except (webrtc.RTCException, ValueError, TypeError):
            # The library's own text may hold the credential.
            text = "a STUN or TURN server is not usable: stun:HOST:PORT, or turn:HOST:PORT with username and credential"
            raise ConfigError(text) from None
        self._host_candidates = host_candidates
        self._connection: asyncio.Future[WebRtcConnection] = asyncio.get_running_loop().create_future()
        self._gathered = asyncio.Event()
        self._taken = False
        self._pc.on("connectionstatechange", lambda _: self._changed())
        self._pc.on("icegatheringstatechange", lambda _: self._gathering())

    async def offer(self) -> str:
        """Begin, and return the description for the other side."""
        channel = self._pc.create_data_channel(LABEL)
        channel.on("open", lambda _: self._opened(channel))
        with _description_of("offer"):
            await self._pc.set_local_description(await self._pc.create_offer())
        return await self._told()

    async def answer(self, offer: str) -> str:
        """Take the other side's description, and return the one that answers it.

        Raises:
            TransportError: `transport_failure` when it is none.
        """
        self._pc.on("datachannel", lambda event: self._came(event.channel))
        await self._take(offer, webrtc.RTCSdpType.offer)
        with _description_of("offer"):
            await self._pc.set_local_description(await self._pc.create_answer())
        return await self._told()

    async def accept(self, answer: str) -> None:
        """Take the other side's answer.

        Raises:
            TransportError: `transport_failure` when it is none.
        """
        await self._take(answer, webrtc.RTCSdpType.answer)

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
            self._pc.close()

    # What follows is private.

    async def _take(self, sdp: str, kind: webrtc.RTCSdpType) -> None:
        if any(not line.startswith("m=application ") for line in sdp.splitlines() if line.startswith("m=")):
            # Pictures and sound are nothing that this side would have asked for, and much code would read them.
            raise TransportError("transport_failure", f"the {kind.value} is for more than a data channel")
        with _description_of(kind.value):
            await self._pc.set_remote_description(webrtc.RTCSessionDescriptionInit(type=kind, sdp=sdp))

    async def _told(self) -> str:
        self._gathering()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER_SECONDS):
                await self._gathered.wait()
        local = self._pc.local_description
        if local is None:
            raise TransportError("transport_failure", "the attempt was given up")
        return local.sdp if self._host_candidates else _without_hosts(local.sdp)

    def _gathering(self) -> None:
        if self._pc.ice_gathering_state == "complete":
            self._gathered.set()

    def _came(self, channel: webrtc.RTCDataChannel) -> None:
        if channel.label == LABEL:
            self._opened(channel)

    def _opened(self, channel: webrtc.RTCDataChannel) -> None:
        if self._connection.done():
            return
        try:
            binding = _binding(self._pc)
        except TransportError as error:
            self._connection.set_exception(error)
            self._connection.exception()  # nobody may be waiting any more
        else:
            self._connection.set_result(WebRtcConnection(self._pc, channel, binding))

    def _changed(self) -> None:
        if self._pc.connection_state in ("failed", "closed"):
            if not self._connection.done():
                self._connection.set_exception(
                    TransportError("transport_failure", "ICE found no way to the other side")
                )
                self._connection.exception()
            elif self._connection.exception() is None:
                self._connection.result().abort()


class WebRtcConnection(Connection):
    """One data channel, ordered and reliable.

    Attributes:
        binding: the SHA-256 of both DTLS certificates, in order of their bytes.
    """

    transport_name = "webrtc"
    max_record_bytes = MAX_RECORD_BYTES

    def __init__(self, pc: webrtc.RTCPeerConnection, channel: webrtc.RTCDataChannel, binding: bytes) -> None:
        self.binding = binding
        self._pc = pc
        self._channel = channel
        self._inbox: deque[bytes] = deque()
        self._held = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._gone = asyncio.Event()
        self._ended = asyncio.Event()
        self._close_code: int | None = None
        self._close_reason = ""
        self._closed_here = False
        channel.buffered_amount_low_threshold = WRITE_LOW_BYTES
        channel.on("message", lambda event: self._came(event.data))
        channel.on("bufferedamountlow", lambda _: self._room.set())
        channel.on("close", lambda _: self._lost())

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
                self._channel.send(message)
            except webrtc.RTCException:
                raise TransportError("abnormal_close", "the connection was lost", close_code=1006) from None
            if self._channel.buffered_amount > WRITE_HIGH_BYTES:
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
            # The channel ends after its last message, and the connection with all that is under way.
            self._channel.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await self._gone.wait()
        self._pc.close()
        self._gone.set()
        self._ended.set()

    def abort(self) -> None:
        """Cut the connection; `close` still has to be called."""
        self._lost()
        self._pc.close()

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
        return self._channel.buffered_amount

    async def _arrival(self) -> None:
        while not self._inbox:
            if self._close_code is not None:
                raise self._ending()
            self._changed.clear()
            await self._changed.wait()

    def _came(self, message: bytes | str | webrtc.Blob) -> None:
        if not isinstance(message, bytes) or self._held + len(message) > HIGH_WATER_BYTES:
            self.abort()
            return
        self._inbox.append(message)
        self._held += len(message)
        self._changed.set()

    def _lost(self) -> None:
        self._gone.set()
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
    except (webrtc.RTCException, ValueError, TypeError) as error:
        raise TransportError("transport_failure", f"the {kind} is no WebRTC description") from error


def _without_hosts(sdp: str) -> str:
    """Return a description without this machine's own addresses, which it names in more than one place."""
    lines = [line for line in sdp.splitlines(keepends=True) if not _HOST.match(line)]
    text = _RELATED.sub("raddr 0.0.0.0 rport 0", "".join(lines))
    return _PORT.sub(r"\g<1>9 ", _PLACE.sub("c=IN IP4 0.0.0.0", text))


def _binding(pc: webrtc.RTCPeerConnection) -> bytes:
    # The other side's not from its description: a text may name more than one certificate, DTLS has shown exactly one.
    local, sctp = pc.local_description, pc.sctp
    own = None if local is None else _FINGERPRINT.search(local.sdp)
    shown = [] if sctp is None else sctp.transport.get_remote_certificates()
    if own is None or not shown:
        raise TransportError("tls_failure", "a side showed no certificate")
    return b"".join(sorted((bytes.fromhex(own[1].replace(":", "")), hashlib.sha256(shown[0]).digest())))


_FINGERPRINT = re.compile(r"^a=fingerprint:sha-256 ([0-9A-Fa-f:]{95})\s*$", re.MULTILINE)
_HOST = re.compile(r"a=candidate:.* typ host\b")
_RELATED = re.compile(r"\braddr \S+ rport \d+")
_PLACE = re.compile(r"^c=.*?(?=\r?$)", re.MULTILINE)
_PORT = re.compile(r"^(m=application )\d+ ", re.MULTILINE)
