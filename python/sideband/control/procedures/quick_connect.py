"""quickConnect.create and quickConnect.redeem."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from sideband.control.ids import code_digest, new_code, normalize_code
from sideband.control.procedures.call import Call, Input, parse
from sideband.control.store.audit import add_audit
from sideband.control.store.credentials import add_code, consume_code, count_live_codes, is_redeemable
from sideband.control.tokens import new_sid
from sideband.control.wire import ProcedureError

__all__ = ["QUICK_CONNECT_SUBJECT", "CreateCodeInput", "RedeemInput", "create_code", "redeem_code"]

QUICK_CONNECT_SUBJECT = "quick-connect"
"""The claim sub of one who came by a code."""


_NO_SUCH_CODE = "the code is unknown, used or expired; ask for a new one"


def _whole(value: Any) -> Any:
    # JSON has one kind of number: 60.0 is 60.
    return int(value) if isinstance(value, float) and value.is_integer() else value


class CreateCodeInput(Input):
    """Of quickConnect.create."""

    ttl_seconds: Annotated[int, Field(ge=60, le=3600), BeforeValidator(_whole)] = 300


class RedeemInput(Input):
    """Of quickConnect.redeem."""

    code: str


async def create_code(call: Call, value: Any) -> dict[str, Any]:
    """Make a code that opens one session with the API key's daemon."""
    asked = parse(CreateCodeInput, value)
    plane = call.plane
    code = new_code()
    now = plane.now()
    expires_at = now + asked.ttl_seconds * 1000
    caller = await call.daemon()
    async with plane.database.write() as connection:
        limit = plane.config.quick_connect_live_codes
        if await count_live_codes(connection, caller.daemon.id, now) >= limit:
            raise ProcedureError(
                "TOO_MANY_REQUESTS", f"{limit} codes of this daemon are open; wait until one is used or expires"
            )
        digest = code_digest(plane.secret.pepper, code.replace("-", ""))
        await add_code(connection, digest, caller.daemon.id, now=now, expires_at=expires_at)
        await add_audit(
            connection,
            now=now,
            actor=f"key:{caller.id}",
            action="quickConnect.create",
            target=caller.daemon.id,
            address=call.address,
            ttlSeconds=asked.ttl_seconds,
        )
    return {
        "code": code,
        "url": f"{plane.config.public_url}/connect#qc={code}",
        "expiresAt": _iso(expires_at),
    }


async def redeem_code(call: Call, value: Any) -> dict[str, Any]:
    """Consume a code, then open a session with its daemon if that is online; offline, the code is burned."""
    plane = call.plane
    wait = plane.redeem_attempts.attempt(call.address)
    if wait > 0:
        raise ProcedureError(
            "TOO_MANY_REQUESTS", "too many attempts from this address; wait and try again", retry_after=wait
        )
    letters = normalize_code(parse(RedeemInput, {"code": value} if isinstance(value, str) else value).code)
    if letters is None:
        raise ProcedureError("BAD_REQUEST", "a Quick Connect code is 12 letters, such as abcd-efgh-jkmn")
    now = plane.now()
    digest = code_digest(plane.secret.pepper, letters)
    # Looked at before it is consumed, so that guesses never take the store's write lock; the UPDATE alone decides.
    async with plane.database.read() as connection:
        if not await is_redeemable(connection, digest, now):
            raise ProcedureError("NOT_FOUND", _NO_SUCH_CODE)
    async with plane.database.write() as connection:
        consumed = await consume_code(connection, digest, now)
        if consumed is None:
            raise ProcedureError("NOT_FOUND", _NO_SUCH_CODE)
        daemon = consumed.daemon
        online = not daemon.disabled and bool(await plane.online(connection, [daemon.id]))
        await add_audit(
            connection,
            now=now,
            actor=QUICK_CONNECT_SUBJECT,
            action="quickConnect.redeem",
            target=daemon.id,
            address=call.address,
            outcome="ok" if online else "burned",
        )
    if not online:
        raise ProcedureError("CONFLICT", "the daemon is offline, and the code is used up; ask for a new one")
    sid = new_sid()
    return {
        "relayUrl": plane.config.relay_url,
        "token": plane.tokens.client_token(daemon.id, QUICK_CONNECT_SUBJECT, sid),
        "daemonId": daemon.id,
        "identity": plane.tokens.identity(daemon.id, QUICK_CONNECT_SUBJECT, sid),
    }


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
