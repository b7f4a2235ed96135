"""Load for relays: blocking sockets that send frames masked beforehand and throw away what comes.

So a sample costs the load generator next to nothing, and what is measured is the relay.
"""

import os
import secrets
import selectors
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from sideband._native import encode_data
from sideband.bench.issuer import Issuer
from sideband.bench.processes import ServerProcess

__all__ = ["Link", "connect", "discard_all", "masked", "upgrade_request"]

_BUFFER = 1 << 20
_WINDOW = 8

_buffer = bytearray(_BUFFER)


def upgrade_request(path: str = "/", token: str = "") -> bytes:
    """Return the request that opens a WebSocket."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: relay.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{authorization}\r\n"
    ).encode()


def connect(port: int, request: bytes, *, receive_buffer: int | None = None) -> socket.socket:
    """Open a WebSocket and read the answer's head; anything but 101 is an error."""
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(request)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        received = connection.recv(4096)
        if not received:
            raise ConnectionError("the server hung up during the upgrade")
        head += received
    if not head.startswith(b"HTTP/1.1 101"):
        raise ConnectionError(f"the upgrade was answered with {head.splitlines()[0]!r}")
    return connection


def masked(message: bytes) -> bytes:
    """Return a client's binary WebSocket frame."""
    mask = os.urandom(4)
    size = len(message)
    if size < 126:
        header = bytes((0x82, 0x80 | size))
    elif size < 65_536:
        header = struct.pack("!BBH", 0x82, 0xFE, size)
    else:
        header = struct.pack("!BBQ", 0x82, 0xFF, size)
    repeated = (mask * (size // 4 + 1))[:size]
    return header + mask + (int.from_bytes(message, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


class Link:
    """A client and a daemon that are connected through a relay.

    Args:
        server: the relay.
        issuer: signs the tokens; None for a relay without tokens.
    """

    def __init__(self, server: ServerProcess, issuer: Issuer | None) -> None:
        self.server = server
        self.session_id = secrets.randbits(63) + 1
        if issuer is None:
            request = upgrade_request(f"/?pair={self.session_id}")
            self.daemon, self.client = connect(server.port, request), connect(server.port, request)
        else:
            daemon_id = f"d_{self.session_id:022d}"
            self.daemon = connect(server.port, upgrade_request(token=issuer.daemon(daemon_id)))
            client = issuer.client(daemon_id, self.session_id)
            self.client = connect(server.port, upgrade_request(token=client))

    def close(self) -> None:
        """Hang up on both sides."""
        self.client.close()
        self.daemon.close()

    def run(self, size: int, frames: int, *, up: bool) -> tuple[float, float]:
        """Send frames through the relay; return the seconds that took, and the relay's processor time.

        Args:
            size: bytes of a frame's payload.
            frames: how many.
            up: from client to daemon, else the other way.
        """
        frame = encode_data(self.session_id, os.urandom(size))
        sender, receiver = (self.client, self.daemon) if up else (self.daemon, self.client)
        batch = max(1, 262_144 // (size + 27))
        wire = b"".join(masked(frame) for _ in range(batch))
        batches = max(1, frames // batch)
        header = 2 if len(frame) < 126 else 4 if len(frame) < 65_536 else 10
        cpu = self.server.cpu_seconds()
        seconds = _move(sender, wire, batches, receiver, batches * batch * (len(frame) + header))
        done = batches * batch
        return seconds / done, (self.server.cpu_seconds() - cpu) / done


def _move(sender: socket.socket, wire: bytes, times: int, receiver: socket.socket, expected: int) -> float:
    """Send `wire` so many times while this thread receives; return the seconds.

    As with the credit of a real stream, at most `_WINDOW` of these batches are on their way.
    """
    credit = threading.Semaphore(_WINDOW)
    failed = threading.Event()

    def send() -> None:
        for _ in range(times):
            credit.acquire()
            if failed.is_set():
                return
            sender.sendall(wire)

    with ThreadPoolExecutor(1) as thread:
        started = time.perf_counter()
        sending = thread.submit(send)
        try:
            for _ in range(times):
                _discard(receiver, expected // times)
                credit.release()
        finally:
            failed.set()
            credit.release()
        seconds = time.perf_counter() - started
        sending.result()
    return seconds


def _discard(receiver: socket.socket, size: int) -> None:
    """Receive so many bytes."""
    while size > 0:
        received = receiver.recv_into(_buffer, min(size, _BUFFER))
        if not received:
            raise ConnectionError("the relay hung up")
        size -= received


def discard_all(receivers: list[socket.socket], size: int) -> None:
    """Receive so many bytes from each."""
    left = dict.fromkeys(receivers, size)
    with selectors.DefaultSelector() as selector:
        for receiver in receivers:
            selector.register(receiver, selectors.EVENT_READ, receiver)
        while left:
            for key, _ in selector.select(60):
                ready: socket.socket = key.data
                received = ready.recv_into(_buffer, min(left[ready], _BUFFER))
                if not received:
                    raise ConnectionError("the relay hung up")
                left[ready] -= received
                if not left[ready]:
                    del left[ready]
                    selector.unregister(ready)
