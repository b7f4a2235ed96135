"""One QUIC connection, of which one bidirectional stream is used, by qh3 (extra `quic`)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter

from typing_extensions import override

from sideband.errors import ConfigError, TransportError
from sideband.transport.base import BytesLike
from sideband.transport.framed import UNCUT_BYTES, FramedConnection
from sideband.transport.udp import Address, UdpReceiver, UdpSocket

try:
    import qh3
    from qh3 import QuicConfiguration, QuicConnectionError
    from qh3.quic.events import (
        ConnectionIdIssued,
        ConnectionIdRetired,
        ConnectionTerminated,
        HandshakeCompleted,
        StopSendingReceived,
        StreamDataReceived,
        StreamReset,
    )
except ImportError as missing:
    raise ConfigError("QUIC needs another package: pip install 'sideband[quic]'") from missing

__all__ = ["ALPN", "IDLE_SECONDS", "QuicConnection", "configuration", "new_wire"]

ALPN = "sbdp/1"
STREAM_ID = 0
WINDOW_BYTES = 8 * 1024 * 1024
"""Bytes under way that this side takes."""
WRITE_HIGH_BYTES = 1024 * 1024
"""Bytes that have not left yet, over which a writer waits."""
WRITE_LOW_BYTES = 256 * 1024
"""Bytes that have not left yet, under which it goes on."""
MAX_HELD_BYTES = 64 * 1024 * 1024
"""Received and not yet taken, over which the other side is cut off: it cannot be held back. Sessions always read; one
that has not begun holds `framed.UNCUT_BYTES` and one message."""
IDLE_SECONDS = 60.0
"""Silence after which a connection is over; sessions ping each other more often."""

_log = logging.getLogger("sideband.transport")
# qh3 warns of every connection that the other side ends, which is no news here.
logging.getLogger("quic").setLevel(logging.ERROR)


class QuicConnection(FramedConnection, UdpReceiver):
    """One QUIC connection.

    Args:
        wire: qh3's connection.
        max_message_bytes: largest message in either direction.
        binding: SHA-256 of this side's certificate, on a listener.
        on_id: told of each connection id that datagrams for this one may bear, and whether they may still.
        on_open: told when the stream has begun.
        on_end: told when the connection is over.
    """

    transport_name = "quic"

    def __init__(
        self,
        wire: qh3.QuicConnection,
        max_message_bytes: int,
        *,
        binding: bytes = b"",
        on_id: Callable[[bytes, bool], None] | None = None,
        on_open: Callable[[QuicConnection], None] | None = None,
        on_end: Callable[[QuicConnection], object] | None = None,
    ) -> None:
        super().__init__(max_message_bytes)
        self.binding = binding
        self._loop = asyncio.get_running_loop()
        self._wire = wire
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._on_id = on_id
        self._on_open = on_open
        self._on_end = on_end
        self._udp: UdpSocket | None = None
        self._owns_udp = False
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._transmitting: asyncio.Handle | None = None
        self._gone = False

    async def dial(self, udp: UdpSocket, address: Address) -> None:
        """Connect, by a socket that is closed with the connection.

        Raises:
            TransportError: `connection_refused`, `tls_failure` or `abnormal_close`.
        """
        self._udp, self._owns_udp = udp, True
        self._wire.connect(_plain(address), now=self._loop.time())
        self._transmit()
        await self._opened

    def answer(self, udp: UdpSocket) -> None:
        """Be the side that was dialled; the socket is somebody else's."""
        self._udp = udp
        self._opened.set_result(None)

    @override
    def datagrams_received(self, data: bytes, size: int, address: Address) -> None:
        if self._gone:
            return
        try:
            now, source = self._loop.time(), _plain(address)
            if len(data) > size:
                self._wire.receive_gro_buffer(data, size, source, now)
            else:
                self._wire.receive_datagram(data, source, now)
        except (OSError, QuicConnectionError) as error:
            _log.debug("a datagram was not taken: %s", error)

    @override
    def all_received(self) -> None:
        self._take_events()
        self._transmit()

    @override
    def refused(self) -> None:
        if not self._opened.done():
            text = "the connection was refused; is the other side listening?"
            self._opened.set_exception(TransportError("connection_refused", text))

    @property
    @override
    def buffered_bytes(self) -> int:
        return 0 if self._gone else self._wire.get_send_buffer_size(STREAM_ID)

    @override
    def abort(self) -> None:
        if not self._gone:
            self._wire.close()
            self._transmit()
            self._finish()

    @override
    def _write(self, data: BytesLike) -> None:
        try:
            self._wire.send_stream_data(STREAM_ID, data)
        except QuicConnectionError:
            self.abort()
            return
        if self.buffered_bytes > WRITE_HIGH_BYTES:
            self._room.clear()
            self._transmit()
        elif self._transmitting is None:
            # What is written in one turn of the loop leaves in as few datagrams as it can.
            self._transmitting = self._loop.call_soon(self._transmit)

    @override
    def _shut(self) -> None:
        # QUIC's own close drops what is under way, our last record included: the end of the stream comes after it, and
        # whoever reads that closes the connection.
        if self._gone or self._on_open is not None:
            self.abort()
        else:
            self._end_stream()

    @override
    def _set_reading(self, reading: bool) -> None:
        return  # qh3 opens its window as it hands data over: nothing below can be held back

    # What follows is private.

    def _take_events(self) -> None:
        chunks: list[bytes] = []
        shaken = ended = broken = False
        while (event := self._wire.next_event()) is not None:
            match event:
                case StreamDataReceived():
                    broken = broken or event.stream_id != STREAM_ID
                    ended = ended or event.end_stream
                    chunks.append(event.data)
                case HandshakeCompleted():
                    shaken = True
                case StreamReset() | StopSendingReceived():
                    broken = True
                case ConnectionTerminated():
                    self._finish()
                case ConnectionIdIssued() | ConnectionIdRetired() if self._on_id is not None:
                    self._on_id(event.connection_id, isinstance(event, ConnectionIdIssued))
        if self._gone:
            return
        if shaken and not self._opened.done():
            self._shaken()
        if broken:
            self.abort()
        elif chunks:
            self._took(b"".join(chunks) if len(chunks) > 1 else chunks[0], ended=ended)

    def _took(self, data: bytes, *, ended: bool) -> None:
        if self._on_open is not None:
            on_open, self._on_open = self._on_open, None
            on_open(self)
        if data:
            self._received(data)
        most = UNCUT_BYTES + self._max_message_bytes if self._decode is None else MAX_HELD_BYTES
        if self._held > most:
            self.abort()
        elif ended:
            if not self._closed_here:
                self._end_stream()
            self.abort()

    def _end_stream(self) -> None:
        try:
            self._wire.send_stream_data(STREAM_ID, b"", end_stream=True)
        except QuicConnectionError:
            self.abort()
        else:
            self._transmit()

    def _transmit(self) -> None:
        if self._transmitting is not None:
            self._transmitting.cancel()
            self._transmitting = None
        if self._gone or self._udp is None:
            return
        try:
            leaving = self._wire.datagrams_to_send(now=self._loop.time())
        except QuicConnectionError as error:
            _log.debug("datagrams were not made: %s", error)
            leaving = []
        for address, pairs in groupby(leaving, _ADDRESS):
            self._udp.send([data for data, _ in pairs], address)
        if not self._room.is_set() and self.buffered_bytes <= WRITE_LOW_BYTES:
            self._room.set()
        self._arm()

    def _arm(self) -> None:
        # The time moves with nearly every datagram, mostly to later: a timer that is early looks again.
        due = self._wire.get_timer()
        if due is not None and not self._gone and (self._timer is None or self._due is None or due < self._due):
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._due = self._loop.call_at(due, self._tick), due

    def _tick(self) -> None:
        self._timer = self._due = None
        due, now = self._wire.get_timer(), self._loop.time()
        if due is not None and due <= now:
            self._wire.handle_timer(now=now)
            self._take_events()
            self._transmit()
        else:
            self._arm()

    def _shaken(self) -> None:
        certificate = self._wire.get_peercert()
        if certificate is None:
            self._opened.set_exception(TransportError("tls_failure", "the other side showed no certificate"))
            return
        self.binding = hashlib.sha256(certificate.public_bytes()).digest()
        self._opened.set_result(None)

    def _finish(self) -> None:
        if self._gone:
            return
        self._gone = True
        if not self._opened.done():
            self._opened.set_exception(TransportError("connection_refused", "the other side ended the connection"))
            self._opened.exception()  # nobody may be waiting any more
        for handle in (self._timer, self._transmitting):
            if handle is not None:
                handle.cancel()
        if self._owns_udp and self._udp is not None:
            self._udp.close()
        self._lost(None)
        if self._on_end is not None:
            self._on_end(self)


def configuration(*, is_client: bool, idle_seconds: float = IDLE_SECONDS) -> QuicConfiguration:
    """Return what both sides have in common."""
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[ALPN],
        idle_timeout=idle_seconds,
        max_data=WINDOW_BYTES,
        max_stream_data=WINDOW_BYTES,
        server_name="sideband" if is_client else None,
    )


def new_wire(
    settings: QuicConfiguration, target: bytes | None = None, proven: bytes | None = None
) -> qh3.QuicConnection:
    """Return what speaks QUIC, without I/O.

    Args:
        settings: of its side.
        target: the connection id of the first datagram that came, on the side that is dialled.
        proven: the connection id that a retry gave, when the other side's address was proven by one.
    """
    return qh3.QuicConnection(
        configuration=settings,
        original_destination_connection_id=target,
        retry_source_connection_id=proven,
    )


def _plain(address: Address) -> tuple[str, int]:
    """Return host and port alone: IPv6 has more, which QUIC does not know."""
    return address[0].partition("%")[0], address[1]


_ADDRESS = itemgetter(1)
