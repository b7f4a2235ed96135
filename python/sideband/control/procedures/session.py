"""relay.createSession."""

from __future__ import annotations

from typing import Any

from sideband.control.procedures.call import Call, Input, parse
from sideband.control.store.audit import add_audit
from sideband.control.store.daemons import daemon_by_id, is_member
from sideband.control.tokens import new_sid
from sideband.control.wire import ProcedureError

__all__ = ["CreateSessionInput", "create_session"]


class CreateSessionInput(Input):
    """Of relay.createSession."""

    daemon_id: str


async def create_session(call: Call, value: Any) -> dict[str, Any]:
    """Issue a token for one session with a daemon; whether the daemon is online is the relay's to say."""
    asked = parse(CreateSessionInput, value)
    user = await call.user()
    plane = call.plane
    async with plane.database.read() as connection:
        # U+0000 cannot be in PostgreSQL's text, and no id is that long.
        known = len(asked.daemon_id) <= 32 and asked.daemon_id.isprintable()
        daemon = await daemon_by_id(connection, asked.daemon_id) if known else None
        if daemon is None:
            raise ProcedureError("NOT_FOUND", "no daemon has this id; list yours with daemon.listAccessible")
        if not await is_member(connection, user.id, daemon.account_id):
            raise ProcedureError("FORBIDDEN", "this daemon belongs to an account that you are not a member of")
        if daemon.disabled:
            raise ProcedureError("FORBIDDEN", "the daemon or its account is disabled")
    async with plane.database.write() as connection:
        await add_audit(
            connection,
            now=plane.now(),
            actor=f"user:{user.id}",
            action="relay.createSession",
            target=daemon.id,
            address=call.address,
        )
    sid = new_sid()
    return {
        "relayUrl": plane.config.relay_url,
        "token": plane.tokens.client_token(daemon.id, user.id, sid),
        "identity": plane.tokens.identity(daemon.id, user.id, sid, user.name),
    }
