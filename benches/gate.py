"""A TCP gate in front of a server: shut, it resets what goes through it and turns away what comes."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from types import TracebackType
from typing import Self

__all__ = ["Gate"]


class Gate:
    """Open at first.

    Args:
        target: the server's port on loopback.

    Attributes:
        port: the gate's own.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._is_open = True
        self._next: asyncio.Future[float] | None = None
        self._through: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def shut(self) -> None:
        """Reset every connection and let none through."""
        self._is_open = False
        for writer in tuple(self._through):
            _reset(writer)

    def open(self) -> asyncio.Future[float]:
        """Let connections through again; the future tells when the first one came, by `time.perf_counter`."""
        self._is_open = True
        self._next = asyncio.get_running_loop().create_future()
        return self._next

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        self.shut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_open:
            _reset(writer)
            return
        if self._next is not None and not self._next.done():
            self._next.set_result(time.perf_counter())
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        both = {writer, far_writer}
        self._through |= both
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            self._through -= both
            for one in both:
                one.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        _reset(writer)
    else:
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None and not writer.transport.is_closing():
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
