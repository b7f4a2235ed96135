"""A direct session as a link for SBP frames (docs/protocol/sbdp.md, "Records")."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from typing_extensions import override

from sideband._native import NoiseSession
from sideband.direct.handshake import BROKEN, REFUSED, seal_close
from sideband.errors import ConnectionClosed, SbdpError, SidebandError, TransportError
from sideband.peer.clock import Clock, Timer
from sideband.peer.link import Link, LinkInfo
from sideband.protocol.streams.schedule import Frame
from sideband.transport import Connection
from sideband.transport.framed import FramedConnection

__all__ = ["DEFAULT_HEARTBEAT_SECONDS", "FAREWELL_SECONDS", "DirectLink", "abort"]

DEFAULT_HEARTBEAT_SECONDS = 25.0
FAREWELL_SECONDS = 2.0
PING, PONG, CLOSE = 1, 2, 3


class DirectLink(Link):
    """One SBP frame is one data record.

    Args:
        connection: the transport connection, whose handshake is done.
        session: its records.
        info: what a session needs to know.
        clock: for the heartbeat.
        heartbeat_seconds: silence after which the other side is pinged, and given up after half as much again; None
            never pings.
    """

    def __init__(
        self,
        connection: Connection,
        session: NoiseSession,
        info: LinkInfo,
        clock: Clock,
        heartbeat_seconds: float | None = DEFAULT_HEARTBEAT_SECONDS,
    ) -> None:
        self.connection = connection
        self.session = session
        self._info = info
        self._clock = clock
        self._heartbeat = heartbeat_seconds
        self._stream = connection if isinstance(connection, FramedConnection) else None
        self._sending = asyncio.Lock()
        self._controls: dict[int, bytes] = {}
        self._controller: asyncio.Task[None] | None = None
        self._pings: dict[bytes, tuple[float, asyncio.Future[float]]] = {}
        self._ending: SidebandError | None = None
        self._heard = clock.time()
        self._asked = False
        self._timer: Timer | None = None
        self._closed = False
        self._broken = False
        if self._stream is not None:
            self._stream.adopt(session.push)
        self._arm()

    @property
    @override
    def info(self) -> LinkInfo:
        return self._info

    @override
    async def receive(self) -> Sequence[bytes]:
        while True:
            if self._ending is not None:
                raise self._ending
            try:
                received = await self.connection.receive_many()
                items: list[Any] = self.session.open_messages(received) if self._stream is None else list(received)
            except TransportError:
                if self._ending is not None:
                    raise self._ending from None
                raise
            except SbdpError:
                self._broken = True
                raise
            self._heard = self._clock.time()
            self._asked = False
            if tuple not in map(type, items):
                if items:
                    return items
                continue
            frames: list[bytes] = []
            for item in items:
                if not isinstance(item, tuple):
                    frames.append(item)
                    continue
                self._control(*item)
                if self._ending is not None:
                    break  # a close is the last record of its sender
            if frames:
                return frames

    @override
    async def send(self, frames: Sequence[Frame]) -> None:
        async with self._sending:
            if self._stream is not None:
                await self._stream.write(self.session.seal_stream(frames))
            else:
                await self.connection.send_many(self.session.seal_messages(frames))

    async def ping(self) -> float:
        """Return the seconds until the other side's answer; somebody has to be receiving meanwhile.

        Raises:
            TransportError: the connection ended first.
        """
        token = secrets.token_bytes(8)
        answered: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._pings[token] = (self._clock.time(), answered)
        try:
            await self._send_control(PING, token)
            return await answered
        finally:
            del self._pings[token]

    @override
    async def close(self, code: int = 0, reason: str = "") -> None:
        if self._closed:
            return
        await self._stop()
        if self._broken:
            code, reason = BROKEN, "a record was not what it has to be"
        if not self.connection.closed and self._ending is None:
            with contextlib.suppress(SidebandError, TimeoutError):
                async with asyncio.timeout(FAREWELL_SECONDS), self._sending:
                    await self._send_messages(seal_close(self.session, code, reason))
        self.session.clear()
        await self.connection.close()

    async def drop(self) -> None:
        """Cut the connection without a word."""
        await self._stop()
        self.session.clear()
        abort(self.connection)
        await self.connection.close()

    async def _stop(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for _, answered in self._pings.values():
            if not answered.done():
                answered.set_exception(ConnectionClosed())
        if self._controller is not None:
            self._controller.cancel()
            await asyncio.gather(self._controller, return_exceptions=True)

    def _control(self, kind: int, content: bytes) -> None:
        if kind == PING:
            # One answer at a time: who asks faster than it can be told gets the last one only.
            self._queue(PONG, content)
        elif kind == PONG:
            asked = self._pings.get(content)
            if asked is not None and not asked[1].done():
                asked[1].set_result(self._clock.time() - asked[0])
        elif self._ending is None:
            self._ending = _ending(content)

    def _queue(self, kind: int, content: bytes) -> None:
        self._controls[kind] = content
        if self._controller is None or self._controller.done():
            self._controller = asyncio.get_running_loop().create_task(self._send_controls(), name="sideband pong")

    async def _send_controls(self) -> None:
        # Apart from the reader, so that waiting for room to send never stops the reading.
        while self._controls:
            kind, content = self._controls.popitem()
            try:
                await self._send_control(kind, content)
            except SidebandError:
                return  # the reader meets the same end and tells it

    async def _send_control(self, kind: int, content: bytes) -> None:
        async with self._sending:
            await self._send_messages(self.session.seal_control(kind, content))

    async def _send_messages(self, messages: Iterable[bytes]) -> None:
        if self._stream is not None:
            await self._stream.write(b"".join(len(message).to_bytes(4, "big") + message for message in messages))
        else:
            await self.connection.send_many(messages)

    def _arm(self) -> None:
        if self._heartbeat is not None and not self._closed:
            due = self._heard + self._heartbeat * (1.5 if self._asked else 1.0)
            self._timer = self._clock.call_later(max(due - self._clock.time(), 0.0), self._on_timer)

    def _on_timer(self) -> None:
        silent = self._clock.time() - self._heard
        heartbeat = self._heartbeat or 0.0
        if self._asked and silent >= 1.5 * heartbeat:
            self._ending = TransportError("timeout", f"the other side was silent for {silent:.0f} s")
            if not abort(self.connection):
                self._controller = asyncio.get_running_loop().create_task(self.connection.close(), name="sideband end")
            return
        if silent >= heartbeat and not self._asked:
            self._asked = True
            self._queue(PING, b"")
        self._arm()


def abort(connection: Connection) -> bool:
    """Cut a connection at once, where its transport can; tell whether it could."""
    cut = getattr(connection, "abort", None)
    if cut is None:
        return False
    cut()
    return True


def _ending(content: bytes) -> SidebandError:
    code, text = int.from_bytes(content[:2], "big"), content[2:].decode(errors="replace")
    reason = "".join(character if character.isprintable() else "?" for character in text)
    if code == REFUSED:
        return SbdpError("session_closed", f"the other side refused this one: {reason}")
    if code == BROKEN:
        return SbdpError("session_closed", f"the other side could not take what came: {reason}")
    return ConnectionClosed(f"the other side closed the session: {reason}" if reason else "the session was closed")
