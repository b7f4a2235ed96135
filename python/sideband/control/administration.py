"""What an admin can do, each action with its audit record in one transaction.

The command line and the admin HTTP interface call these same functions. Secrets are in the return value once and
nowhere else.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.control import ids, signing
from sideband.control.secrets import ServerSecret
from sideband.control.store import Database, directory, schema
from sideband.control.store.audit import add_audit
from sideband.control.store.live import add_kick
from sideband.database import wait_for_turn
from sideband.errors import ConfigError, NotFoundError

__all__ = ["Administration"]

_NAME_CHARS = 128


class Administration:
    """Admin actions on a store.

    Args:
        database: an open store.
        secret: the data folder's secret.
        actor: who acts, for the audit trail, such as `cli:root`.
        now: the time in milliseconds.
        address: where the action comes from.
    """

    def __init__(
        self, database: Database, secret: ServerSecret, *, actor: str, now: int, address: str | None = None
    ) -> None:
        self._database = database
        self._secret = secret
        self._actor = actor
        self._now = now
        self._address = address

    @property
    def database(self) -> Database:
        """The store that it acts on."""
        return self._database

    async def create_account(self, name: str) -> dict[str, Any]:
        """Make an account; names are unique.

        Raises:
            ConfigError: the name is taken or malformed.
        """
        account_id = ids.new_account_id()
        async with self._database.write() as connection:
            await self._free_name(connection, schema.accounts, name)
            await directory.insert_row(connection, schema.accounts, id=account_id, name=name, created_at=self._now)
            await self._record(connection, "account.create", account_id, name=name)
        return {"id": account_id, "name": name}

    async def set_account_disabled(self, account: str, disabled: bool) -> dict[str, Any]:
        """Disable or enable an account; disabling ends its daemons' connections."""
        async with self._database.write() as connection:
            account_id = await self._find(connection, schema.accounts, "account", account)
            changed = await self._set_disabled(connection, schema.accounts, "account", account_id, disabled)
            if changed and disabled:
                for daemon in await directory.list_daemons(connection, self._now):
                    if daemon["account_id"] == account_id:
                        await add_kick(connection, self._now, daemon_id=daemon["id"])
        return {"id": account_id, "disabled": disabled, "changed": changed}

    async def create_user(
        self, name: str, *, accounts: list[str], oidc_issuer: str | None = None, oidc_subject: str | None = None
    ) -> dict[str, Any]:
        """Make a user who belongs to `accounts`, optionally tied to a subject of an OIDC issuer.

        Raises:
            ConfigError: the name is taken or malformed, or only one half of the OIDC pair is given.
            NotFoundError: an account is not there.
        """
        if (oidc_issuer is None) != (oidc_subject is None):
            raise ConfigError("an OIDC user needs both the issuer and the subject")
        user_id = ids.new_user_id()
        async with self._database.write() as connection:
            await self._free_name(connection, schema.users, name)
            await directory.insert_row(
                connection,
                schema.users,
                id=user_id,
                name=name,
                oidc_issuer=oidc_issuer,
                oidc_subject=oidc_subject,
                created_at=self._now,
            )
            for account in accounts:
                account_id = await self._find(connection, schema.accounts, "account", account)
                await directory.add_member(connection, account_id, user_id, self._now)
            await self._record(connection, "user.create", user_id, name=name, accounts=accounts)
        return {"id": user_id, "name": name}

    async def set_user_disabled(self, user: str, disabled: bool) -> dict[str, Any]:
        """Disable or enable a user."""
        async with self._database.write() as connection:
            user_id = await self._find(connection, schema.users, "user", user)
            changed = await self._set_disabled(connection, schema.users, "user", user_id, disabled)
        return {"id": user_id, "disabled": disabled, "changed": changed}

    async def set_member(self, account: str, user: str, member: bool) -> dict[str, Any]:
        """Add a user to an account, or take them out of it."""
        async with self._database.write() as connection:
            account_id = await self._find(connection, schema.accounts, "account", account)
            user_id = await self._find(connection, schema.users, "user", user)
            if member:
                changed = await directory.add_member(connection, account_id, user_id, self._now)
            else:
                changed = await directory.remove_member(connection, account_id, user_id)
            action = "account.addUser" if member else "account.removeUser"
            await self._record(connection, action, account_id, user=user_id, changed=changed)
        return {"account": account_id, "user": user_id, "member": member, "changed": changed}

    async def create_user_token(self, user: str, *, ttl_seconds: int | None = None) -> dict[str, Any]:
        """Make a user token; `token` in the result is shown this once. It never expires without `ttl_seconds`."""
        token, token_id = ids.new_user_token(), ids.new_key_id("ut")
        expires_at = None if ttl_seconds is None else self._now + ttl_seconds * 1000
        async with self._database.write() as connection:
            user_id = await self._find(connection, schema.users, "user", user)
            await directory.insert_row(
                connection,
                schema.user_tokens,
                id=token_id,
                user_id=user_id,
                digest=ids.secret_digest(token),
                hint=ids.secret_hint(token),
                created_at=self._now,
                expires_at=expires_at,
            )
            await self._record(connection, "user.createToken", user_id, token=token_id)
        return {"id": token_id, "userId": user_id, "token": token, "expiresAt": expires_at}

    async def revoke_user_token(self, token_id: str) -> dict[str, Any]:
        """Revoke a user token by its id."""
        async with self._database.write() as connection:
            found = await self._find(connection, schema.user_tokens, "user token", token_id)
            table = schema.user_tokens
            changed = await directory.mark(connection, table, found, table.c.revoked_at, self._now)
            await self._record(connection, "user.revokeToken", found, changed=changed)
        return {"id": found, "revoked": True, "changed": changed}

    async def create_daemon(self, account: str, *, name: str | None = None) -> dict[str, Any]:
        """Make a daemon with its first API key; `apiKey` in the result is shown this once."""
        if name is not None:
            _check_name(name)
        daemon_id = ids.new_daemon_id()
        async with self._database.write() as connection:
            account_id = await self._find(connection, schema.accounts, "account", account)
            await directory.insert_row(
                connection, schema.daemons, id=daemon_id, account_id=account_id, name=name, created_at=self._now
            )
            await self._record(connection, "daemon.create", daemon_id, account=account_id)
            key = await self._add_key(connection, daemon_id)
        return {"id": daemon_id, "accountId": account_id, "name": name, "keyId": key["id"], "apiKey": key["apiKey"]}

    async def set_daemon_disabled(self, daemon: str, disabled: bool) -> dict[str, Any]:
        """Disable or enable a daemon; disabling ends its connection within 10 s."""
        async with self._database.write() as connection:
            daemon_id = await self._find(connection, schema.daemons, "daemon", daemon)
            changed = await self._set_disabled(connection, schema.daemons, "daemon", daemon_id, disabled)
            if changed and disabled:
                await add_kick(connection, self._now, daemon_id=daemon_id)
        return {"id": daemon_id, "disabled": disabled, "changed": changed}

    async def create_key(self, daemon: str) -> dict[str, Any]:
        """Make another API key for a daemon; `apiKey` in the result is shown this once."""
        async with self._database.write() as connection:
            daemon_id = await self._find(connection, schema.daemons, "daemon", daemon)
            return await self._add_key(connection, daemon_id)

    async def revoke_key(self, key_id: str) -> dict[str, Any]:
        """Revoke an API key by its id: refused from now on, and its daemon's connection ends within 10 s."""
        async with self._database.write() as connection:
            found = await self._find(connection, schema.api_keys, "API key", key_id)
            rows = [row for row in await directory.list_keys(connection) if row["id"] == found]
            changed = await directory.mark(connection, schema.api_keys, found, schema.api_keys.c.revoked_at, self._now)
            if changed:
                await add_kick(connection, self._now, daemon_id=rows[0]["daemon_id"], key_id=found)
            await self._record(connection, "key.revoke", found, daemon=rows[0]["daemon_id"], changed=changed)
        return {"id": found, "daemonId": rows[0]["daemon_id"], "revoked": True, "changed": changed}

    async def rotate_key(self, daemon: str) -> dict[str, Any]:
        """Make a new API key for a daemon and revoke all its others."""
        async with self._database.write() as connection:
            daemon_id = await self._find(connection, schema.daemons, "daemon", daemon)
            old = await directory.keys_of(connection, daemon_id)
            for key_id in old:
                await directory.mark(connection, schema.api_keys, key_id, schema.api_keys.c.revoked_at, self._now)
                await add_kick(connection, self._now, daemon_id=daemon_id, key_id=key_id)
                await self._record(connection, "key.revoke", key_id, daemon=daemon_id)
            return {**await self._add_key(connection, daemon_id), "revoked": old}

    async def rotate_signing_key(self, *, immediately: bool = False) -> dict[str, Any]:
        """Make a new signing key (see `signing.rotate`)."""
        async with self._database.write() as connection:
            kid = await signing.rotate(connection, self._secret, self._now, immediately=immediately)
            await self._record(connection, "signingKey.rotate", kid, immediately=immediately)
        return {"kid": kid, "immediately": immediately}

    async def kick_session(self, sid: str) -> dict[str, Any]:
        """End a live session, named by its session id as `session list` shows it."""
        async with self._database.write() as connection:
            if sid not in {row["sid"] for row in await directory.list_sessions(connection, self._now)}:
                raise NotFoundError("no live session has this id (see: sideband admin session list)")
            await add_kick(connection, self._now, sid=sid)
            await self._record(connection, "session.kick", sid)
        return {"sid": sid, "kicked": True}

    async def kick_daemon(self, daemon: str) -> dict[str, Any]:
        """End a daemon's connection; with a good key it may come back at once."""
        async with self._database.write() as connection:
            daemon_id = await self._find(connection, schema.daemons, "daemon", daemon)
            await add_kick(connection, self._now, daemon_id=daemon_id)
            await self._record(connection, "daemon.kick", daemon_id)
        return {"id": daemon_id, "kicked": True}

    async def _add_key(self, connection: AsyncConnection, daemon_id: str) -> dict[str, Any]:
        api_key, key_id = ids.new_api_key(), ids.new_key_id("dk")
        await directory.insert_row(
            connection,
            schema.api_keys,
            id=key_id,
            daemon_id=daemon_id,
            digest=ids.secret_digest(api_key),
            hint=ids.secret_hint(api_key),
            created_at=self._now,
        )
        await self._record(connection, "key.create", key_id, daemon=daemon_id)
        return {"id": key_id, "daemonId": daemon_id, "apiKey": api_key}

    async def _set_disabled(
        self, connection: AsyncConnection, table: Table, kind: str, row_id: str, disabled: bool
    ) -> bool:
        changed = await directory.mark(connection, table, row_id, table.c.disabled_at, self._now if disabled else None)
        await self._record(connection, f"{kind}.{'disable' if disabled else 'enable'}", row_id, changed=changed)
        return changed

    async def _find(self, connection: AsyncConnection, table: Table, kind: str, id_or_name: str) -> str:
        found = await directory.find_id(connection, table, id_or_name)
        if found is None:
            raise NotFoundError(f"there is no such {kind}, or several have this name; give its id (see: list)")
        return found

    async def _free_name(self, connection: AsyncConnection, table: Table, name: str) -> None:
        _check_name(name)
        await wait_for_turn(connection)
        if await directory.find_id(connection, table, name) is not None:
            raise ConfigError(f"the name {name!r} is taken; choose another")

    async def _record(self, connection: AsyncConnection, action: str, target: str, **detail: Any) -> None:
        await add_audit(
            connection,
            now=self._now,
            actor=self._actor,
            action=action,
            target=target,
            address=self._address,
            **detail,
        )


def _check_name(name: str) -> None:
    if not (0 < len(name) <= _NAME_CHARS and name.isprintable() and name == name.strip()):
        raise ConfigError(f"a name has 1 to {_NAME_CHARS} printable characters and no space at its ends")
