"""The relay's side of the internal interface (docs/protocol/internal.md): reports to the control plane, and kicks.

Used when the two planes are apart; in one process the same operations are calls on `Relay`.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import json
import logging
import secrets
from typing import Annotated, Any, Literal

import aiohttp
from aiohttp import hdrs, web
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from yarl import URL

from sideband.errors import ConfigError
from sideband.relay.core import Relay
from sideband.relay.tokens import decode_session_id, encode_session_id
from sideband.transport.failures import place
from sideband.transport.proxy import proxy_from_environment

__all__ = [
    "KICK_PATH",
    "MIN_SECRET_CHARACTERS",
    "REPORT_PATH",
    "REPORT_SECONDS",
    "InternalReporter",
    "check_secret",
    "kick_routes",
]

REPORT_PATH = "/internal/v1/relay/report"
KICK_PATH = "/internal/v1/kick"
REPORT_SECONDS = 10.0
LEAST_REPORT_SECONDS = 0.5
"""Between two reports, however many daemons come and go: a crowd that reconnects costs two a second."""

MIN_SECRET_CHARACTERS = 32

_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_MAX_KICK_BYTES = 4096
_TIMEOUT_SECONDS = 5.0

_log = logging.getLogger("sideband.relay.internal")


class _Kick(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str = Field(min_length=1, max_length=64)


class _KickDaemon(_Kick):
    kind: Literal["daemon"]
    daemon_id: str = Field(alias="daemonId", min_length=1, max_length=255)
    key_id: str | None = Field(default=None, alias="keyId", min_length=1, max_length=255)


class _KickSession(_Kick):
    kind: Literal["session"]
    sid: Annotated[int, BeforeValidator(lambda value: decode_session_id(str(value)))]


_AnyKick = Annotated[_KickDaemon | _KickSession, Field(discriminator="kind")]
_kick_adapter: TypeAdapter[_KickDaemon | _KickSession] = TypeAdapter(_AnyKick)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    v: Literal[1]
    revoked_keys: list[str] = Field(default_factory=list, alias="revokedKeys")
    kicks: list[_AnyKick] = Field(default_factory=list)


class InternalReporter:
    """Reports to the control plane, and carries out the kicks of its answers.

    Args:
        relay: what is reported.
        session: for the requests; it decides about TLS and stays the caller's.
        control_url: the control plane's URL; the interface's path is added.
        secret: shared by both planes, at least 32 characters.
        kick_url: where the control plane reaches `kick_routes`, or None when it does not.
        report_seconds: between two reports while no daemon comes or goes.
        least_report_seconds: between two reports in any case.

    Raises:
        ConfigError: the secret is too short.
    """

    def __init__(
        self,
        relay: Relay,
        session: aiohttp.ClientSession,
        control_url: str,
        secret: str,
        *,
        kick_url: str | None = None,
        report_seconds: float = REPORT_SECONDS,
        least_report_seconds: float = LEAST_REPORT_SECONDS,
    ) -> None:
        check_secret(secret)
        self._relay = relay
        self._session = session
        self._url = URL(control_url.rstrip("/") + REPORT_PATH)
        self._headers = {hdrs.AUTHORIZATION: f"Bearer {secret}"}
        self._kick_url = kick_url
        self._report_seconds = report_seconds
        self._least_report_seconds = least_report_seconds
        self._relay_id = "r_" + secrets.token_hex(8)
        self._sequence = itertools.count(1)
        self._done: dict[str, None] = {}
        self._reachable = True

    async def run(self) -> None:
        """Report every 10 s, and as soon as a daemon has come or gone, until cancelled."""
        changed = self._relay.presence_changed
        while True:
            changed.clear()
            await self.report()
            await asyncio.sleep(self._least_report_seconds)
            try:
                async with asyncio.timeout(max(0.0, self._report_seconds - self._least_report_seconds)):
                    await changed.wait()
            except TimeoutError:
                continue

    async def report(self, *, final: bool = False) -> bool:
        """Report once and do what the answer asks; tell whether the control plane took it.

        A control plane that cannot be reached is no error: the relay goes on by itself and the next report tells all.

        Args:
            final: the relay is going away.
        """
        done = list(self._done)
        try:
            answer = await self._post(self._body(done, final=final))
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            if self._reachable:
                _log.warning("control_plane_unreachable", extra={"cause": type(error).__name__})
            self._reachable = False
            return False
        self._reachable = True
        for kick_id in done:
            self._done.pop(kick_id, None)
        self._relay.revoked.replace_listed(answer.revoked_keys)
        for kick in answer.kicks:
            if kick.id not in done:
                _carry_out(self._relay, kick)
            self._done[kick.id] = None
        return True

    def _body(self, done: list[str], *, final: bool) -> dict[str, Any]:
        snapshot = self._relay.snapshot()
        return {
            "v": 1,
            "relay": self._relay_id,
            "region": self._relay.config.region,
            "seq": next(self._sequence),
            "final": final,
            "kickUrl": self._kick_url,
            "daemons": [{"id": daemon.daemon_id, "since": daemon.since} for daemon in snapshot.daemons],
            "sessions": [
                {
                    "sid": encode_session_id(session.session_id),
                    "daemonId": session.daemon_id,
                    "userId": session.user_id,
                    "state": session.state,
                    "since": session.since,
                    "framesUp": session.frames_up,
                    "bytesUp": session.bytes_up,
                    "framesDown": session.frames_down,
                    "bytesDown": session.bytes_down,
                }
                for session in snapshot.sessions
            ],
            "done": done,
        }

    async def _post(self, body: dict[str, Any]) -> _Answer:
        async with self._session.post(
            self._url,
            json=body,
            headers=self._headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS),
            proxy=proxy_from_environment(self._url),
        ) as response:
            if response.status != 200:
                msg = f"{place(self._url)} answered {response.status}"
                raise ValueError(msg)
            content = bytearray()
            async for chunk in response.content.iter_chunked(64 * 1024):
                content += chunk
                if len(content) > _MAX_ANSWER_BYTES:
                    msg = f"the answer is over {_MAX_ANSWER_BYTES} bytes"
                    raise ValueError(msg)
        return _Answer.model_validate_json(bytes(content))


def kick_routes(relay: Relay, secret: str) -> list[web.RouteDef]:
    """Return the route that takes kicks; mount it on the private port, never on the public one.

    Raises:
        ConfigError: the secret is too short.
    """
    check_secret(secret)
    expected = f"Bearer {secret}".encode()

    async def kick(request: web.Request) -> web.Response:
        values = request.headers.getall(hdrs.AUTHORIZATION, [])
        if len(values) != 1 or not hmac.compare_digest(values[0].encode("utf-8", "surrogateescape"), expected):
            return _problem(401, "UNAUTHORIZED", "the internal secret is missing or wrong")
        content = await request.content.read(_MAX_KICK_BYTES + 1)
        try:
            body = json.loads(content) if len(content) <= _MAX_KICK_BYTES else None
            order = _kick_adapter.validate_python(body) if isinstance(body, dict) and body.get("v") == 1 else None
        except (ValueError, ValidationError, RecursionError):
            order = None
        if order is None:
            return _problem(400, "BAD_REQUEST", "the body is no kick; see docs/protocol/internal.md")
        return web.json_response({"v": 1, "closed": int(_carry_out(relay, order))})

    return [web.post(KICK_PATH, kick)]


def check_secret(secret: str) -> None:
    """Raise ConfigError when the internal secret is too short."""
    if len(secret) < MIN_SECRET_CHARACTERS:
        msg = f"the internal secret has {len(secret)} characters; {MIN_SECRET_CHARACTERS} are the least"
        raise ConfigError(msg)


def _carry_out(relay: Relay, kick: _KickDaemon | _KickSession) -> bool:
    if not relay.kicks.is_new(kick.id):
        return False
    if isinstance(kick, _KickDaemon):
        return relay.kick_daemon(kick.daemon_id, kick.key_id)
    return relay.kick_session(kick.sid)


def _problem(status: int, code: str, message: str) -> web.Response:
    body = {"error": {"message": message, "data": {"code": code, "httpStatus": status}}}
    return web.json_response(body, status=status)
