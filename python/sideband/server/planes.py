"""Both planes in one process: what the relay asks of the store, and what the store's orders do to the relay."""

from __future__ import annotations

import asyncio
import logging
import secrets
from base64 import urlsafe_b64decode

from sqlalchemy import or_, select

from sideband.control.plane import ControlPlane
from sideband.control.relays import TOKEN_LIFE_SECONDS, Orders, keep_report
from sideband.control.store import Database
from sideband.control.store.audit import purge_audit
from sideband.control.store.credentials import purge_codes
from sideband.control.store.daemons import daemon_by_id
from sideband.control.store.live import Kick, purge_live, spend_sid
from sideband.control.store.schema import accounts, api_keys, daemons
from sideband.control.store.signing_keys import purge_signing_keys
from sideband.errors import StoreError
from sideband.relay.core import Relay
from sideband.relay.tokens import encode_session_id

__all__ = ["LocalRelay", "StoreDirectory", "StoreSids", "Upkeep"]

REPORT_SECONDS = 10.0
"""How often a relay reports."""

UPKEEP_SECONDS = 60.0
"""How often what has lapsed is removed from the store."""

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
        self._orders = Orders(plane, _log)
        plane.online_here = relay.is_online

    async def begin(self) -> None:
        """Pass over the orders that were given before this process took connections."""
        self._carried_out = {kick.id for kick in await self._orders.standing()}

    def poke(self) -> None:
        """Look for orders now: an admin just gave one."""
        self._orders.poke()

    async def follow_orders(self) -> None:
        """Carry out kicks within `refresh_seconds`, for ever; the store may be away for a while."""
        await self._orders.follow(self.carry_out_orders)

    async def carry_out_orders(self) -> None:
        """Carry out the kicks that were given since the last time.

        Raises:
            StoreError: the store is away; nothing is lost by that.
        """
        orders = await self._orders.standing()
        for kick in orders:
            if kick.id not in self._carried_out:
                _kick(self._relay, kick)
        self._carried_out = {kick.id for kick in orders}

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
        daemons = {} if final else {daemon.daemon_id: daemon.since for daemon in snapshot.daemons}
        sessions = () if final else snapshot.sessions
        await keep_report(
            self._plane, self._id, daemons, ((encode_session_id(session.session_id), session) for session in sessions)
        )

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
