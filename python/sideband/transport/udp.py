"""A UDP socket that takes and gives many datagrams at a time.

Where the kernel can, one system call moves up to 64 datagrams of one size (Linux, UDP_SEGMENT and UDP_GRO; udp(7)).
Elsewhere it is asyncio's own, one by one.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, cast

from typing_extensions import override

__all__ = ["Address", "UdpReceiver", "UdpSocket", "bound_socket", "open_udp"]

Address: TypeAlias = Any
"""(host, port), or what else the socket's family has."""

SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
"""Asked of the kernel, which cuts it to what an administrator allows; the default drops bursts."""
MAX_WAITING_BYTES = 4 * 1024 * 1024
"""Datagrams that wait for a full socket; beyond, they are lost, as anywhere on their way."""


class UdpReceiver(ABC):
    """Whoever owns a UDP socket."""

    @abstractmethod
    def datagrams_received(self, data: bytes, size: int, address: Address) -> None:
        """Take datagrams from one address: each is `size` bytes of `data`, the last of them may be shorter."""

    @abstractmethod
    def all_received(self) -> None:
        """Nothing more is there at the moment; called after `datagrams_received`."""

    @abstractmethod
    def refused(self) -> None:
        """Nobody listens where a connected socket sends to."""


class UdpSocket(ABC):
    """An open socket; it sends to one address only when it is connected."""

    @abstractmethod
    def send(self, datagrams: Sequence[bytes], address: Address) -> None:
        """Send datagrams in order. As UDP does, it tells of no loss."""

    @abstractmethod
    def close(self) -> None:
        """Close the socket; what waits is lost."""


async def open_udp(sock: socket.socket, receiver: UdpReceiver) -> UdpSocket:
    """Begin to receive from a bound, non-blocking socket, which is closed with what is returned."""
    loop = asyncio.get_running_loop()
    if sys.platform == "linux":
        try:
            return _BatchedSocket(loop, sock, receiver)
        except NotImplementedError:
            pass  # a loop that watches no descriptors
    _, made = await loop.create_datagram_endpoint(lambda: _PlainSocket(receiver, _is_connected(sock)), sock=sock)
    return made


def bound_socket(family: int, host: str, port: int) -> socket.socket:
    """Return a non-blocking UDP socket with large buffers.

    Raises:
        OSError: the address is not available.
    """
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        if family == socket.AF_INET6:
            # As asyncio does it for TCP: the same port may be had for IPv4 besides.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


class _BatchedSocket(UdpSocket):
    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, receiver: UdpReceiver) -> None:
        self._loop = loop
        self._sock = sock
        self._receiver = receiver
        self._connected = _is_connected(sock)
        self._segments = _understands(sock, _UDP_SEGMENT)
        self._waiting: deque[tuple[list[bytes], Address]] = deque()
        self._waiting_bytes = 0
        self._closed = False
        _understands(sock, _UDP_GRO, keep=True)
        loop.add_reader(sock.fileno(), self._read)

    @override
    def send(self, datagrams: Sequence[bytes], address: Address) -> None:
        if self._closed:
            return
        for group in _groups(datagrams) if self._segments else ([each] for each in datagrams):
            if self._waiting or not self._sent(group, address):
                self._wait(group, address)

    @override
    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._waiting.clear()
            self._sock.close()

    def _read(self) -> None:
        came = False
        for _ in range(_READS):
            try:
                data, notes, _, address = self._sock.recvmsg(_READ_BYTES, _NOTE_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self._receiver.refused()  # an ICMP answer is all that reading from UDP fails with
                break
            if data:
                came = True
                size = next((_SIZE.unpack(note)[0] for _, kind, note in notes if kind == _UDP_GRO), len(data))
                self._receiver.datagrams_received(data, size, address)
            if self._closed:
                return
        if came:
            self._receiver.all_received()

    def _sent(self, group: list[bytes], address: Address) -> bool:
        """Tell whether the socket had room."""
        notes = [(_SOL_UDP, _UDP_SEGMENT, _SEGMENT_SIZE.pack(len(group[0])))] if len(group) > 1 else []
        try:
            if self._connected:
                self._sock.sendmsg(group, notes)
            else:
                self._sock.sendmsg(group, notes, 0, address)
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionRefusedError:
            self._receiver.refused()
        except OSError as error:
            if len(group) > 1 and error.errno != errno.EMSGSIZE:
                # The way out there cannot, whatever the kernel can.
                self._segments = False
            for each in group if len(group) > 1 else ():
                self._sent([each], address)
            # One that is too large for the way, or has none, is lost, and QUIC finds out by itself.
        return True

    def _wait(self, group: list[bytes], address: Address) -> None:
        size = sum(map(len, group))
        if self._closed or self._waiting_bytes + size > MAX_WAITING_BYTES:
            return
        if not self._waiting:
            self._loop.add_writer(self._sock.fileno(), self._drain)
        self._waiting.append((group, address))
        self._waiting_bytes += size

    def _drain(self) -> None:
        while self._waiting and self._sent(*self._waiting[0]):
            if self._closed:
                return
            group, _ = self._waiting.popleft()
            self._waiting_bytes -= sum(map(len, group))
        if not self._waiting:
            self._loop.remove_writer(self._sock.fileno())


class _PlainSocket(UdpSocket, asyncio.DatagramProtocol):
    def __init__(self, receiver: UdpReceiver, connected: bool) -> None:
        self._receiver = receiver
        self._connected = connected
        self._transport: asyncio.DatagramTransport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    @override
    def datagram_received(self, data: bytes, addr: Address) -> None:
        if data:
            self._receiver.datagrams_received(data, len(data), addr)
            self._receiver.all_received()

    @override
    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, ConnectionError):
            self._receiver.refused()

    @override
    def send(self, datagrams: Sequence[bytes], address: Address) -> None:
        if self._transport is not None:
            for datagram in datagrams:
                self._transport.sendto(datagram, None if self._connected else address)

    @override
    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _groups(datagrams: Sequence[bytes]) -> list[list[bytes]]:
    """Put together what one call may send: one size, of which the last may be less."""
    groups: list[list[bytes]] = []
    size, room = 0, 0
    for datagram in datagrams:
        if groups and room > 0 and len(datagram) <= size:
            groups[-1].append(datagram)
            room = room - 1 if len(datagram) == size else 0
        else:
            groups.append([datagram])
            size = len(datagram)
            room = min(_MAX_SEGMENTS, _MAX_SEGMENTED_BYTES // max(size, 1)) - 1
    return groups


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _understands(sock: socket.socket, option: int, *, keep: bool = False) -> bool:
    try:
        sock.setsockopt(_SOL_UDP, option, 1)
        if not keep:
            sock.setsockopt(_SOL_UDP, option, 0)
    except OSError:
        return False
    return True


_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_SEGMENT_SIZE: Final = struct.Struct("=H")
_SIZE: Final = struct.Struct("=i")
_NOTE_BYTES: Final = 64
_READ_BYTES: Final = 65_535
_READS: Final = 16
"""Reads before others on the loop have their turn."""
_MAX_SEGMENTS: Final = 64
_MAX_SEGMENTED_BYTES: Final = 65_000
