"""Both planes in one process: what the relay asks of the store, and what the store's orders do to the relay."""

from __future__ import annotations

import asyncio
import logging
import secrets
from base64 import urlsafe_b64decode

from sqlalchemy import or_, select

from sideband.control.plane import ControlPlane
from sideband.control.store import Database
from sideband.control.store.audit import purge_audit
from sideband.control.store.credentials import purge_codes
from sideband.control.store.daemons import daemon_by_id
from sideband.control.store.live import (
    Kick,
    LiveSession,
    kicks_since,
    purge_live,
    report,
    spend_sid,
)
from sideband.control.store.schema import accounts, api_keys, daemons
from sideband.control.store.signing_keys import purge_signing_keys
from sideband.errors import StoreError
from sideband.relay.core import Relay
from sideband.relay.tokens import encode_session_id

__all__ = ["LocalRelay", "StoreDirectory", "StoreSids", "Upkeep"]

PRESENCE_SECONDS = 30.0
"""Presence that was not reported for this long has lapsed."""

ORDER_SECONDS = 600
"""How long an order is looked at; it is carried out once."""

REPORT_SECONDS = 10.0
"""How often a relay reports."""

UPKEEP_SECONDS = 60.0
"""How often what has lapsed is removed from the store."""

TOKEN_LIFE_SECONDS = 3600 + 60
"""Longest life of a token, and slack for clocks: how long an order to refuse tokens is kept."""

_DAY_SECONDS = 86_400
_log = logging.getLogger("sideband.server")


class StoreSids:
    """Used session ids in the control plane's store; see `sideband.relay.sids.SpentSids`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def spend(self, session_id: int, forget_at: float) -> bool:
        """Take a session id; False when it was used before."""
        async with self._database.write() as connection:
            return await spend_sid(connection, session_id, int(forget_at * 1000))


class StoreDirectory:
    """Daemons and keys in the control plane's store; see `sideband.relay.core.DaemonDirectory`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_known(self, daemon_id: str) -> bool:
        """Tell whether there is a daemon of this id."""
        async with self._database.read() as connection:
            return await daemon_by_id(connection, daemon_id) is not None

    async def is_revoked(self, key_id: str) -> bool:
        """Tell whether the key was revoked, or its daemon or account disabled.

        A key that is not there counts as revoked.
        """
        good = (
            select(api_keys.c.id)
            .select_from(
                api_keys.join(daemons, daemons.c.id == api_keys.c.daemon_id).join(
                    accounts, accounts.c.id == daemons.c.account_id
                )
            )
            .where(
                api_keys.c.id == key_id,
                api_keys.c.revoked_at.is_(None),
                ~or_(daemons.c.disabled_at.is_not(None), accounts.c.disabled_at.is_not(None)),
            )
        )
        async with self._database.read() as connection:
            return (await connection.execute(good)).first() is None


class LocalRelay:
    """Ties a relay to the control plane of the same process.

    Args:
        plane: the control plane; it asks this relay who is online.
        relay: the relay.
    """

    def __init__(self, plane: ControlPlane, relay: Relay) -> None:
        self._plane = plane
        self._relay = relay
        self._id = "r_" + secrets.token_hex(8)
        self._carried_out: set[int] = set()
        self._poked = asyncio.Event()
        plane.online_here = relay.is_online

    async def begin(self) -> None:
        """Pass over the orders that were given before this process took connections."""
        self._carried_out = {kick.id for kick in await self._orders()}

    def poke(self) -> None:
        """Look for orders now: an admin just gave one."""
        self._poked.set()

    async def follow_orders(self) -> None:
        """Carry out kicks within `refresh_seconds`, for ever; the store may be away for a while."""
        while True:
            try:
                await self.carry_out_orders()
            except StoreError as error:
                _log.warning("orders_not_read", extra={"cause": str(error)})
            self._poked.clear()
            try:
                async with asyncio.timeout(self._plane.config.refresh_seconds):
                    await self._poked.wait()
            except TimeoutError:
                continue

    async def carry_out_orders(self) -> None:
        """Carry out the kicks that were given since the last time.

        Raises:
            StoreError: the store is away; nothing is lost by that.
        """
        orders = await self._orders()
        for kick in orders:
            if kick.id not in self._carried_out:
                _kick(self._relay, kick)
        self._carried_out = {kick.id for kick in orders}

    async def _orders(self) -> list[Kick]:
        # All of the last minutes, not those after the last id: ids are given before their transactions commit.
        async with self._plane.database.read() as connection:
            return await kicks_since(connection, self._plane.now() - ORDER_SECONDS * 1000)

    async def report_regularly(self) -> None:
        """Report presence and sessions every 10 s, for ever."""
        while True:
            try:
                await self.report()
            except StoreError as error:
                _log.warning("presence_not_reported", extra={"cause": str(error)})
            await asyncio.sleep(REPORT_SECONDS)

    async def report(self, *, final: bool = False) -> None:
        """Write presence and sessions to the store, for admins and other processes; `final` takes them back."""
        snapshot = self._relay.snapshot()
        present = {} if final else {daemon.daemon_id: int(daemon.since * 1000) for daemon in snapshot.daemons}
        sessions = [
            LiveSession(
                encode_session_id(session.session_id),
                session.daemon_id,
                session.user_id,
                session.state,
                int(session.since * 1000),
                session.frames_up,
                session.bytes_up,
                session.frames_down,
                session.bytes_down,
            )
            for session in ([] if final else snapshot.sessions)
        ]
        expires_at = self._plane.now() + int(PRESENCE_SECONDS * 1000)
        async with self._plane.database.write() as connection:
            await report(connection, self._id, present, sessions, expires_at)

    async def take_back(self) -> None:
        """Take presence and sessions back: this process is going away."""
        try:
            await self.report(final=True)
        except StoreError:
            _log.warning("presence_not_taken_back")  # it lapses by itself


class Upkeep:
    """What a control plane does beside answering: follow the signing keys, remove what has lapsed."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    async def follow_signing_keys(self) -> None:
        """Read the signing keys every `refresh_seconds`, for ever."""
        while True:
            await asyncio.sleep(self._plane.config.refresh_seconds)
            try:
                await self._plane.keys.refresh()
            except StoreError as error:
                _log.warning("signing_keys_not_read", extra={"cause": str(error)})

    async def remove_regularly(self) -> None:
        """Remove what has lapsed every minute, for ever."""
        while True:
            try:
                await self.remove_lapsed()
            except StoreError as error:
                _log.warning("upkeep_failed", extra={"cause": str(error)})
            await asyncio.sleep(UPKEEP_SECONDS)

    async def remove_lapsed(self) -> None:
        """Remove codes, session ids, presence, orders, keys and audit records whose time is over.

        Raises:
            StoreError: the store failed.
        """
        now = self._plane.now()
        async with self._plane.database.write() as connection:
            await purge_live(connection, now, now - TOKEN_LIFE_SECONDS * 1000)
            await purge_codes(connection, now)
            await purge_signing_keys(connection, now)
            await purge_audit(connection, now - self._plane.config.audit_days * _DAY_SECONDS * 1000)


def _kick(relay: Relay, kick: Kick) -> None:
    if kick.sid is not None:
        relay.kick_session(int.from_bytes(urlsafe_b64decode(kick.sid + "=="), "big"))
    elif kick.daemon_id is not None:
        relay.kick_daemon(kick.daemon_id, kick.key_id)
