"""Moves frames between a link and a session: one reader and one writer for each connection."""

from __future__ import annotations

import asyncio
import contextlib

from sideband.errors import PeerError, SidebandError
from sideband.peer.link import Link, LinkSignal
from sideband.peer.session import Session

__all__ = ["FAREWELL_SECONDS", "MAX_BATCH_BYTES", "run_session"]

MAX_BATCH_BYTES = 256 * 1024
"""Bytes of frames handed to the link at once."""
FAREWELL_SECONDS = 2.0
"""How long the last frames, such as a close, may take to leave."""


async def run_session(link: Link, session: Session, wake: asyncio.Event) -> None:
    """Serve a session until it ends, and say farewell where the link still stands.

    Args:
        link: what carries the frames; it stays open, closing is the caller's.
        session: what takes and gives them.
        wake: set whenever the session may have something to send.

    Raises:
        SidebandError: what ended the session; this function never returns otherwise.
    """
    reader = asyncio.create_task(_read(link, session), name="sideband reader")
    writer = asyncio.create_task(_write(link, session, wake), name="sideband writer")
    try:
        await asyncio.wait((reader, writer, session.ended, session.moved), return_when=asyncio.FIRST_COMPLETED)
        if session.moved.done() and not session.ended.done():
            await _stop(reader, writer)
            with contextlib.suppress(SidebandError):
                await link.leave()
            await session.ended
    finally:
        reader.cancel()
        writer.cancel()
        results = await asyncio.gather(reader, writer, return_exceptions=True)
        failures = [result for result in results if isinstance(result, Exception)]
        for failure in failures:
            session.fail(failure)
        # Also where nobody hears it any more: what the session held of unfinished frames is given back by this.
        session.close("")
        if session.upgrade is not None:
            await session.upgrade.finish()
        if not any(isinstance(failure, SidebandError) for failure in failures):
            await _say_farewell(link, session)
    raise session.error or PeerError("not_connected", "the session ended")


async def _stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _read(link: Link, session: Session) -> None:
    while True:
        received = await link.receive()
        if isinstance(received, LinkSignal):
            session.signal(received)
        else:
            session.receive(received)


async def _write(link: Link, session: Session, wake: asyncio.Event) -> None:
    while True:
        await wake.wait()
        wake.clear()
        while frames := session.take(MAX_BATCH_BYTES):
            await link.send(frames)


async def _say_farewell(link: Link, session: Session) -> None:
    with contextlib.suppress(SidebandError, TimeoutError):
        async with asyncio.timeout(FAREWELL_SECONDS):
            while frames := session.take(MAX_BATCH_BYTES):
                await link.send(frames)
