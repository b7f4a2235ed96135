"""daemon.register, daemon.renewToken, daemon.listAccessible."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, Any

from pydantic import StringConstraints
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.control.procedures.call import Call, Input, parse
from sideband.control.store.audit import add_audit
from sideband.control.store.daemons import (
    accessible_daemons,
    add_rotation,
    rotation_statements,
    set_identity,
    set_name,
)
from sideband.control.store.rows import DaemonRow
from sideband.control.wire import ProcedureError

__all__ = [
    "NAME_PATTERN",
    "RegisterInput",
    "RenewTokenInput",
    "decode_identity_key",
    "fingerprint",
    "list_accessible",
    "register",
    "renew_token",
]

_KEY_BYTES = 32

NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+$"
"""A daemon's name is shown on the terminals of others: no control characters, and none that turn the text around."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=NAME_PATTERN)]


class RegisterInput(Input):
    """Of daemon.register."""

    identity_public_key: str
    name: Name | None = None
    rotate: str | None = None


class RenewTokenInput(Input):
    """Of daemon.renewToken."""

    resume: bool = False


async def register(call: Call, value: Any) -> dict[str, Any]:
    """Set or confirm the identity key of the API key's daemon."""
    asked = parse(RegisterInput, value)
    key = decode_identity_key(asked.identity_public_key)
    plane = call.plane
    caller = await call.daemon()
    async with plane.database.write() as connection:
        change = await _settle_identity(connection, caller.daemon, key, asked.rotate, plane.now())
        if asked.name is not None and asked.name != caller.daemon.name:
            await set_name(connection, caller.daemon.id, asked.name)
        await add_audit(
            connection,
            now=plane.now(),
            actor=f"key:{caller.id}",
            action=f"daemon.{change}",
            target=caller.daemon.id,
            address=call.address,
            fingerprint=fingerprint(key),
        )
    return {
        "daemonId": caller.daemon.id,
        "presenceToken": plane.tokens.daemon_token(caller.daemon.id, caller.id, resume=False),
        "relayUrl": plane.config.relay_url,
    }


async def renew_token(call: Call, value: Any) -> dict[str, Any]:
    """Issue a token for the daemon's next connection to the relay."""
    asked = parse(RenewTokenInput, value)
    plane = call.plane
    caller = await call.daemon()
    async with plane.database.write() as connection:
        await add_audit(
            connection,
            now=plane.now(),
            actor=f"key:{caller.id}",
            action="daemon.renewToken",
            target=caller.daemon.id,
            address=call.address,
            resume=asked.resume,
        )
    return {
        "presenceToken": plane.tokens.daemon_token(caller.daemon.id, caller.id, resume=asked.resume),
        "relayUrl": plane.config.relay_url,
    }


async def list_accessible(call: Call, value: Any) -> list[dict[str, Any]]:
    """List the registered daemons of the accounts that the user belongs to, with the rotations of their keys."""
    parse(Input, value)
    user = await call.user()
    async with call.plane.database.read() as connection:
        daemons = await accessible_daemons(connection, user.id)
        ids = [daemon.id for daemon in daemons]
        online = await call.plane.online(connection, ids)
        statements = await rotation_statements(connection, ids)
    return [
        {
            "id": daemon.id,
            "name": daemon.name,
            "identityPublicKey": base64.b64encode(daemon.identity_key or b"").decode(),
            "fingerprint": fingerprint(daemon.identity_key or b""),
            "online": daemon.id in online,
            "rotations": [base64.b64encode(statement).decode() for statement in statements[daemon.id]],
        }
        for daemon in daemons
    ]


def decode_identity_key(text: str) -> bytes:
    """Return the 32 bytes of an identity key in base64.

    Raises:
        ProcedureError: `BAD_REQUEST`.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES or base64.b64encode(key).decode() != text:
        raise ProcedureError("BAD_REQUEST", "identityPublicKey is not the base64 of 32 bytes")
    return key


def fingerprint(key: bytes) -> str:
    """Return `SHA256:` and the key's SHA-256 as 32 uppercase hex pairs joined by colons (docs/protocol/sbrp.md)."""
    return "SHA256:" + hashlib.sha256(key).digest().hex(":").upper()


async def _settle_identity(
    connection: AsyncConnection, daemon: DaemonRow, key: bytes, rotate: str | None, now: int
) -> str:
    if daemon.identity_key == key:
        return "confirm"
    if daemon.identity_key is None:
        if await set_identity(connection, daemon.id, key, previous=None):
            return "register"
        raise ProcedureError("CONFLICT", "another process just registered an identity key for this daemon")
    if rotate is None:
        raise ProcedureError(
            "CONFLICT",
            "this daemon has another identity key; use the identity it was registered with, or rotate with a statement "
            "signed by the old key",
        )
    statement = _verified_statement(daemon.id, daemon.identity_key, key, rotate)
    if not await set_identity(connection, daemon.id, key, previous=daemon.identity_key):
        raise ProcedureError("CONFLICT", "the identity key of this daemon was changed meanwhile")
    await add_rotation(connection, daemon.id, statement, now)
    return "rotate"


def _verified_statement(daemon_id: str, old: bytes, new: bytes, text: str) -> bytes:
    # Imported here: only a rotation needs the native module.
    from sideband.identity.rotation import RotationError, verify_statement

    try:
        statement = base64.b64decode(text, validate=True)
        verify_statement(statement, daemon_id, old, new)
    except (binascii.Error, ValueError, RotationError) as error:
        raise ProcedureError(
            "CONFLICT", "rotate is not a statement for this daemon and key, signed by the present identity key"
        ) from error
    return statement
