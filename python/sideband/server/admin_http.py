"""Admin HTTP on the private port: the same actions as `sideband admin`, with the same audit records."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from sideband.control.administration import Administration
from sideband.control.plane import ControlPlane
from sideband.control.store import directory
from sideband.control.store.audit import list_audit
from sideband.control.wire import describe_flaw
from sideband.errors import ConfigError, NotFoundError, StoreError
from sideband.server.private import require_admin

__all__ = ["MAX_AUDIT_RECORDS", "AdminHttp"]

MAX_AUDIT_RECORDS = 1000
"""Most audit records in one answer."""


_log = logging.getLogger("sideband.server")


class _Input(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, strict=True, extra="forbid", frozen=True)


class _Name(_Input):
    name: str


class _Member(_Input):
    user: str


class _User(_Input):
    name: str
    accounts: list[str] = []
    oidc_issuer: str | None = None
    oidc_subject: str | None = None


class _Token(_Input):
    ttl_seconds: int | None = Field(default=None, ge=60)


class _Daemon(_Input):
    account: str
    name: str | None = None


class _Rotate(_Input):
    immediately: bool = False


class _Nothing(_Input):
    pass


Act = Callable[[Administration, str, Any], Awaitable[Mapping[str, Any]]]


class AdminHttp:
    """The routes under /admin/v1.

    Args:
        plane: the control plane that is administered.
        token: the bearer token that is asked for.
        allowed_hosts: names the Host header may have, without the port.
        on_change: called after an action, so that its orders are carried out at once.
        report: called before sessions and daemons are listed, so that the list is of now.
    """

    def __init__(
        self,
        plane: ControlPlane,
        token: str,
        allowed_hosts: frozenset[str],
        on_change: Callable[[], None],
        report: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._plane = plane
        self._token = token
        self._allowed_hosts = allowed_hosts
        self._on_change = on_change
        self._report = report

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, each guarded."""
        listed = [self._list(path, rows) for path, rows in self._lists().items()]
        return [*listed, *(self._action(path, model, act) for path, model, act in _ACTIONS)]

    def _lists(self) -> dict[str, Callable[[web.Request], Awaitable[list[dict[str, Any]]]]]:
        store, plane = self._plane.database, self._plane

        async def audit(request: web.Request) -> list[dict[str, Any]]:
            limit, before = _number(request, "limit", 100), _number(request, "before", None)
            if limit is None or not 0 < limit <= MAX_AUDIT_RECORDS:
                raise ConfigError(f"limit is 1 to {MAX_AUDIT_RECORDS}")
            target = request.query.get("target")
            records = await store.reading(lambda c: list_audit(c, limit=limit, before_id=before, target=target))
            return [asdict(record) for record in records]

        async def signing_keys(_request: web.Request) -> list[dict[str, Any]]:
            return [asdict(key) for key in plane.keys.published()]

        return {
            "/admin/v1/accounts": lambda _: store.reading(directory.list_accounts),
            "/admin/v1/users": lambda _: store.reading(directory.list_users),
            "/admin/v1/tokens": lambda _: store.reading(directory.list_tokens),
            "/admin/v1/daemons": lambda _: store.reading(lambda c: directory.list_daemons(c, plane.now())),
            "/admin/v1/keys": lambda _: store.reading(directory.list_keys),
            "/admin/v1/sessions": lambda _: store.reading(lambda c: directory.list_sessions(c, plane.now())),
            "/admin/v1/audit": audit,
            "/admin/v1/signing-keys": signing_keys,
        }

    def _list(self, path: str, rows: Callable[[web.Request], Awaitable[list[dict[str, Any]]]]) -> web.RouteDef:
        async def handle(request: web.Request) -> web.Response:
            require_admin(request, self._token, self._allowed_hosts)
            return await _answered(lambda: self._items(rows, request))

        return web.get(path, handle)

    async def _items(
        self, rows: Callable[[web.Request], Awaitable[list[dict[str, Any]]]], request: web.Request
    ) -> Mapping[str, Any]:
        if self._report is not None and request.path.endswith(("/sessions", "/daemons")):
            await self._report()
        return {"items": [{key: _plain(value) for key, value in row.items()} for row in await rows(request)]}

    def _action(self, path: str, model: type[_Input], act: Act) -> web.RouteDef:
        async def handle(request: web.Request) -> web.Response:
            require_admin(request, self._token, self._allowed_hosts)
            administration = Administration(
                self._plane.database,
                self._plane.secret,
                actor="http:admin",
                now=self._plane.now(),
                address=request.remote,
            )

            async def run() -> Mapping[str, Any]:
                asked = model.model_validate_json(await request.read() or b"{}")
                return await act(administration, request.match_info.get("id", ""), asked)

            response = await _answered(run)
            self._on_change()
            try:
                await self._plane.keys.refresh()
            except StoreError as error:
                # What was done is done, and a new secret is shown only in this answer; the keys are read again soon.
                _log.warning("signing_keys_not_read", extra={"cause": str(error)})
            return response

        return web.post(path, handle)


_ACTIONS: tuple[tuple[str, type[_Input], Act], ...] = (
    ("/admin/v1/accounts", _Name, lambda a, _, i: a.create_account(i.name)),
    ("/admin/v1/accounts/{id}/disable", _Nothing, lambda a, id_, _: a.set_account_disabled(id_, True)),
    ("/admin/v1/accounts/{id}/enable", _Nothing, lambda a, id_, _: a.set_account_disabled(id_, False)),
    ("/admin/v1/accounts/{id}/add-user", _Member, lambda a, id_, i: a.set_member(id_, i.user, True)),
    ("/admin/v1/accounts/{id}/remove-user", _Member, lambda a, id_, i: a.set_member(id_, i.user, False)),
    (
        "/admin/v1/users",
        _User,
        lambda a, _, i: a.create_user(
            i.name, accounts=i.accounts, oidc_issuer=i.oidc_issuer, oidc_subject=i.oidc_subject
        ),
    ),
    ("/admin/v1/users/{id}/disable", _Nothing, lambda a, id_, _: a.set_user_disabled(id_, True)),
    ("/admin/v1/users/{id}/enable", _Nothing, lambda a, id_, _: a.set_user_disabled(id_, False)),
    ("/admin/v1/users/{id}/tokens", _Token, lambda a, id_, i: a.create_user_token(id_, ttl_seconds=i.ttl_seconds)),
    ("/admin/v1/tokens/{id}/revoke", _Nothing, lambda a, id_, _: a.revoke_user_token(id_)),
    ("/admin/v1/daemons", _Daemon, lambda a, _, i: a.create_daemon(i.account, name=i.name)),
    ("/admin/v1/daemons/{id}/disable", _Nothing, lambda a, id_, _: a.set_daemon_disabled(id_, True)),
    ("/admin/v1/daemons/{id}/enable", _Nothing, lambda a, id_, _: a.set_daemon_disabled(id_, False)),
    ("/admin/v1/daemons/{id}/kick", _Nothing, lambda a, id_, _: a.kick_daemon(id_)),
    ("/admin/v1/daemons/{id}/keys", _Nothing, lambda a, id_, _: a.create_key(id_)),
    ("/admin/v1/daemons/{id}/rotate-keys", _Nothing, lambda a, id_, _: a.rotate_key(id_)),
    ("/admin/v1/keys/{id}/revoke", _Nothing, lambda a, id_, _: a.revoke_key(id_)),
    ("/admin/v1/sessions/{id}/kick", _Nothing, lambda a, id_, _: a.kick_session(id_)),
    ("/admin/v1/signing-keys/rotate", _Rotate, lambda a, _, i: a.rotate_signing_key(immediately=i.immediately)),
)


async def _answered(run: Callable[[], Awaitable[Mapping[str, Any]]]) -> web.Response:
    try:
        return _json(200, await run())
    except ValidationError as error:
        return _refusal(400, "BAD_REQUEST", f"the body is not valid: {describe_flaw(error)}")
    except ConfigError as error:
        return _refusal(400, "BAD_REQUEST", str(error))
    except NotFoundError as error:
        return _refusal(404, "NOT_FOUND", str(error))
    except StoreError:
        return _refusal(500, "INTERNAL_SERVER_ERROR", "the store is not available; try again later")


def _refusal(status: int, code: str, message: str) -> web.Response:
    return _json(status, {"error": {"code": code, "message": message}})


def _json(status: int, body: object) -> web.Response:
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store"})


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _number(request: web.Request, name: str, default: int | None) -> int | None:
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ConfigError(f"{name} is a whole number")
    return int(text)
