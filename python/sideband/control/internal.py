"""The control plane's side of the internal interface (docs/protocol/internal.md): takes reports, gives kicks.

Used when the two planes are apart. What relays report goes to the store; orders come from it, so that whoever gives
one, here, on the command line or on another node, reaches every relay.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import aiohttp
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from sideband.control.plane import ControlPlane
from sideband.control.relays import PRESENCE_SECONDS, TOKEN_LIFE_SECONDS, Orders, keep_report
from sideband.control.store.live import Kick, refused_keys
from sideband.control.wire import describe_flaw
from sideband.errors import ConfigError, StoreError

__all__ = ["MAX_REPORT_BYTES", "MIN_SECRET_CHARACTERS", "InternalInterface"]

MIN_SECRET_CHARACTERS = 32
MAX_REPORT_BYTES = 16 * 1024 * 1024

NEW_RELAY_SECONDS = 10.0
"""A relay's first report comes within this time of its start; older orders are about connections that it never had."""

KICK_TIMEOUT_SECONDS = 3.0

_log = logging.getLogger("sideband.control.internal")

_Text = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Time = Annotated[float, Field(ge=0, le=2**40)]
_Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Told(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class _Daemon(_Told):
    id: _Text
    since: _Time


class _Session(_Told):
    sid: str = Field(pattern=r"^[A-Za-z0-9_-]{11}$")
    daemon_id: _Text
    user_id: _Text
    state: str = Field(pattern=r"^(paired|paused|pending)$")
    since: _Time
    frames_up: _Count = 0
    bytes_up: _Count = 0
    frames_down: _Count = 0
    bytes_down: _Count = 0


class _Report(_Told):
    v: int = Field(ge=1, le=1)
    relay: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")
    seq: int = Field(ge=1)
    final: bool = False
    kick_url: str | None = Field(default=None, max_length=2048)
    daemons: list[_Daemon] = []
    sessions: list[_Session] = []
    done: list[str] = []


@dataclass
class _Relay:
    """What is known of a relay between two of its reports."""

    seq: int = 0
    seen_at: float = 0.0
    kick_url: str | None = None
    done: set[str] = field(default_factory=set)
    pushed: set[str] = field(default_factory=set)


class InternalInterface:
    """Reports in, kicks out.

    Args:
        plane: the control plane.
        secret: shared with the relays, at least 32 characters.
        session: makes the kicks' requests; the caller's to close.

    Raises:
        ConfigError: the secret is too short.
    """

    def __init__(self, plane: ControlPlane, secret: str, session: aiohttp.ClientSession) -> None:
        if len(secret) < MIN_SECRET_CHARACTERS:
            raise ConfigError(
                f"the internal secret has {len(secret)} characters; {MIN_SECRET_CHARACTERS} are the least"
            )
        self._plane = plane
        self._expected = f"Bearer {secret}".encode()
        self._session = session
        self._relays: dict[str, _Relay] = {}
        self._orders = Orders(plane, _log)

    def routes(self) -> list[web.RouteDef]:
        """Return the route that takes reports; mount it on the private port only."""
        return [web.post("/internal/v1/relay/report", self._take_report)]

    def poke(self) -> None:
        """Look for orders now: an admin just gave one."""
        self._orders.poke()

    async def follow_orders(self) -> None:
        """Send new orders to the relays that can be reached, within `refresh_seconds`, for ever."""
        await self._orders.follow(self.push_orders)

    async def push_orders(self) -> None:
        """Send each relay the orders it has not got yet; what cannot be sent is in the answer to its next report.

        Raises:
            StoreError: the store is away.
        """
        orders = await self._orders.standing()
        async with asyncio.TaskGroup() as tasks:
            for relay in self._live():
                if relay.kick_url is not None:
                    tasks.create_task(self._push(relay, relay.kick_url, orders))

    async def _take_report(self, request: web.Request) -> web.Response:
        values = request.headers.getall("Authorization", [])
        if len(values) != 1 or not hmac.compare_digest(values[0].encode("utf-8", "surrogateescape"), self._expected):
            return _problem(401, "UNAUTHORIZED", "the internal secret is missing or wrong")
        try:
            told = _Report.model_validate_json(await request.read())
        except ValidationError as error:
            return _problem(400, "BAD_REQUEST", f"the body is no report: {describe_flaw(error)}")
        except web.HTTPRequestEntityTooLarge:
            return _problem(400, "BAD_REQUEST", f"the report is longer than {MAX_REPORT_BYTES} bytes")
        try:
            return web.json_response(await self._answer(told))
        except StoreError as error:
            _log.error("report_not_taken", extra={"cause": str(error)})
            return _problem(500, "INTERNAL_SERVER_ERROR", "the store is not available; try again later")

    async def _answer(self, told: _Report) -> dict[str, Any]:
        relay = self._relays.setdefault(told.relay, _Relay())
        relay.done.update(told.done)
        orders = await self._orders.standing()
        if told.seq == 1:
            before = self._plane.now() - NEW_RELAY_SECONDS * 1000
            relay.done.update(_order_id(order) for order in orders if order.at < before)
        if told.seq > relay.seq:
            relay.seq, relay.seen_at, relay.kick_url = told.seq, self._plane.clock(), told.kick_url
            await self._keep(told)
        known = {_order_id(order) for order in orders}
        relay.done &= known
        relay.pushed &= known
        if told.final:
            self._relays.pop(told.relay, None)
        since = self._plane.now() - TOKEN_LIFE_SECONDS * 1000
        revoked = await self._plane.database.reading(lambda connection: refused_keys(connection, since))
        return {
            "v": 1,
            "revokedKeys": sorted(revoked),
            "kicks": [_kick_body(order) for order in orders if _order_id(order) not in relay.done],
        }

    async def _keep(self, told: _Report) -> None:
        daemons = {} if told.final else {daemon.id: daemon.since for daemon in told.daemons}
        sessions = [] if told.final else told.sessions
        await keep_report(self._plane, told.relay, daemons, ((session.sid, session) for session in sessions))

    def _live(self) -> Iterable[_Relay]:
        now = self._plane.clock()
        for relay_id, relay in list(self._relays.items()):
            if now - relay.seen_at > PRESENCE_SECONDS:
                del self._relays[relay_id]
            else:
                yield relay

    async def _push(self, relay: _Relay, url: str, orders: list[Kick]) -> None:
        for order in orders:
            order_id = _order_id(order)
            if order_id in relay.done or order_id in relay.pushed:
                continue
            relay.pushed.add(order_id)
            try:
                async with self._session.post(
                    url,
                    json={"v": 1, **_kick_body(order)},
                    headers={"Authorization": self._expected.decode()},
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=KICK_TIMEOUT_SECONDS),
                ) as response:
                    if response.status == 200:
                        relay.done.add(order_id)
                        continue
                    cause = str(response.status)
            except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
                cause = type(error).__name__
            _log.warning("kick_not_sent", extra={"cause": cause})
            return


def _order_id(order: Kick) -> str:
    return f"k_{order.id}"


def _kick_body(order: Kick) -> dict[str, Any]:
    named = {"daemonId": order.daemon_id, "keyId": order.key_id, "sid": order.sid}
    return {
        "id": _order_id(order),
        "kind": order.kind,
        **{name: value for name, value in named.items() if value is not None},
    }


def _problem(status: int, code: str, message: str) -> web.Response:
    body = {"error": {"message": message, "data": {"code": code, "httpStatus": status}}}
    return web.json_response(body, status=status)
