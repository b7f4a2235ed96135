"""What the store holds between a control plane and its relays, in one process or apart: reports in, orders out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Protocol

from sideband.control.plane import ControlPlane
from sideband.control.store.live import Kick, LiveSession, kicks_since, report
from sideband.errors import StoreError

__all__ = ["ORDER_SECONDS", "PRESENCE_SECONDS", "TOKEN_LIFE_SECONDS", "Orders", "ReportedSession", "keep_report"]

PRESENCE_SECONDS: Final = 30.0
"""Presence that was not reported for this long has lapsed."""

ORDER_SECONDS: Final = 600
"""How long an order is given to relays that have not said that it is done."""

TOKEN_LIFE_SECONDS: Final = 3600 + 60
"""Longest life of a token, and slack for clocks: how long an order to refuse tokens is kept."""


class ReportedSession(Protocol):
    """A session as a relay tells of it; `since` in seconds since 1970, up is client to daemon."""

    @property
    def daemon_id(self) -> str:
        """The daemon's."""

    @property
    def user_id(self) -> str:
        """The client's user."""

    @property
    def state(self) -> str:
        """`paired`, `paused` or `pending`."""

    @property
    def since(self) -> float:
        """When it began."""

    @property
    def frames_up(self) -> int:
        """Frames of the client so far."""

    @property
    def bytes_up(self) -> int:
        """Their bytes."""

    @property
    def frames_down(self) -> int:
        """Frames of the daemon so far."""

    @property
    def bytes_down(self) -> int:
        """Their bytes."""


async def keep_report(
    plane: ControlPlane,
    relay_id: str,
    daemons: Mapping[str, float],
    sessions: Iterable[tuple[str, ReportedSession]],
) -> None:
    """Replace what the store holds of a relay; it lapses after `PRESENCE_SECONDS` unless it is reported again.

    Args:
        plane: whose store and clock.
        relay_id: the relay's.
        daemons: those it holds a connection of, and since when, in seconds since 1970.
        sessions: its sessions, by session id in base64url.

    Raises:
        StoreError: the store is away.
    """
    present = {daemon_id: int(since * 1000) for daemon_id, since in daemons.items()}
    held = [
        LiveSession(
            sid,
            session.daemon_id,
            session.user_id,
            session.state,
            int(session.since * 1000),
            session.frames_up,
            session.bytes_up,
            session.frames_down,
            session.bytes_down,
        )
        for sid, session in sessions
    ]
    expires_at = plane.now() + int(PRESENCE_SECONDS * 1000)
    async with plane.database.write() as connection:
        await report(connection, relay_id, present, held, expires_at)


class Orders:
    """The orders to relays that stand in the store.

    Args:
        plane: the control plane whose store it is.
        log: told when the store is away.
    """

    def __init__(self, plane: ControlPlane, log: logging.Logger) -> None:
        self._plane = plane
        self._log = log
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """Look for orders now: an admin just gave one."""
        self._poked.set()

    async def standing(self) -> list[Kick]:
        """Return all orders of the last `ORDER_SECONDS`.

        All of them, not those after the last id: ids are given before their transactions commit.

        Raises:
            StoreError: the store is away.
        """
        since = self._plane.now() - ORDER_SECONDS * 1000
        return await self._plane.database.reading(lambda connection: kicks_since(connection, since))

    async def follow(self, carry_out: Callable[[], Awaitable[None]]) -> None:
        """Call `carry_out` every `refresh_seconds` and after each `poke`, for ever; the store may be away meanwhile."""
        while True:
            try:
                await carry_out()
            except StoreError as error:
                self._log.warning("orders_not_read", extra={"cause": str(error)})
            self._poked.clear()
            try:
                async with asyncio.timeout(self._plane.config.refresh_seconds):
                    await self._poked.wait()
            except TimeoutError:
                continue
