"""Whether an upgrade is accepted (docs/protocol/relay.md, "Connections"). Every refusal is an HTTP status before it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from sideband.errors import StoreError, TokenError
from sideband.relay.core import Relay
from sideband.relay.limits import AddressEntry, address_key, client_address
from sideband.relay.tokens import RelayToken, TokenVerifier, token_from_request
from sideband.transport.upgrade import handshake_fault

__all__ = ["UpgradeError", "admit", "check_rate", "refusal_response", "remote_address", "reserved", "spend_session"]

SPENT_SLACK_SECONDS = 30.0
"""How long after its token's expiry a used session id is remembered: the most a clock may be behind."""

_log = logging.getLogger("sideband.relay")


class UpgradeError(Exception):
    """An upgrade that is refused.

    Attributes:
        status: the HTTP status.
        reason: a short machine-readable cause, as metrics and the answer's body name it.
        retry_after: seconds to wait, or None.
    """

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float | None = None) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        super().__init__(f"{reason}: {message}")


async def admit(relay: Relay, verifier: TokenVerifier, request: web.Request) -> RelayToken:
    """Check everything about an upgrade but the limits that `reserved` holds.

    Raises:
        UpgradeError: with the status that answers it.
    """
    _check_request(relay, request)
    try:
        async with asyncio.timeout(relay.config.upgrade_timeout_seconds):
            token = await verifier.verify(
                token_from_request(request.headers.getall(hdrs.AUTHORIZATION, []), request.query.getall("token", []))
            )
            if token.key_id is not None and await _is_revoked(relay, token.key_id):
                raise UpgradeError(401, "revoked_key", "the API key behind this token was revoked")
    except TokenError as error:
        message = str(error).removeprefix(f"{error.reason}: ")
        raise UpgradeError(
            error.status, error.reason, message, retry_after=10 if error.status == 503 else None
        ) from None
    except StoreError:
        raise _store_away() from None
    except TimeoutError:
        raise UpgradeError(503, "timeout", "the token could not be checked in time", retry_after=5) from None
    return token


async def spend_session(relay: Relay, token: RelayToken) -> None:
    """Take the token's session id: the last thing before the upgrade is accepted.

    Raises:
        UpgradeError: 409 when it was used before, 503 when that cannot be told.
    """
    if relay.table.session(token.session_id) is None:
        try:
            async with asyncio.timeout(relay.config.upgrade_timeout_seconds):
                if await relay.sids.spend(token.session_id, token.expires_at + SPENT_SLACK_SECONDS):
                    return
        except (StoreError, TimeoutError):
            raise _store_away() from None
    raise UpgradeError(409, "sid_used", "this session was used before; ask for a new one")


def check_rate(relay: Relay, key: str) -> None:
    """Count an attempt from an address.

    Raises:
        UpgradeError: 429 with Retry-After when it comes too fast.
    """
    if relay.config.limits_by_address and (wait := relay.addresses.upgrade(key, relay.clock.monotonic())) > 0:
        raise UpgradeError(429, "too_many_upgrades", "too many attempts from this address", retry_after=wait)


@contextmanager
def reserved(relay: Relay, token: RelayToken, key: str) -> Iterator[AddressEntry | None]:
    """Hold a place under the limits while an upgrade is answered; yields what counts the address, if anything does.

    Raises:
        UpgradeError: 429 for the address and for the daemon's sessions, 503 when the relay is full.
    """
    config = relay.config
    upgrading = relay.upgrading
    if len(relay.connections) + upgrading.total() >= config.max_connections:
        raise UpgradeError(503, "full", "the relay is full", retry_after=30)
    daemon = relay.table.daemon(token.daemon_id)
    if token.role == "client" and daemon is not None:
        limit = min(daemon.max_sessions, token.max_sessions or daemon.max_sessions)
        if len(daemon.sessions) + upgrading[token.daemon_id] >= limit:
            raise UpgradeError(429, "too_many_sessions", "the daemon has as many sessions as it may", retry_after=5)
    address = None
    if config.limits_by_address:
        address = relay.addresses.opened(key, relay.clock.monotonic())
        if address is None:
            raise UpgradeError(
                429, "too_many_connections", "the address has as many connections as it may", retry_after=5
            )
    # Daemons count too, under a name that no daemon can have.
    slot = token.daemon_id if token.role == "client" else ""
    upgrading[slot] += 1
    try:
        yield address
    except BaseException:
        if address is not None:
            relay.addresses.closed(address)
        raise
    finally:
        upgrading[slot] -= 1
        if not upgrading[slot]:
            del upgrading[slot]


def remote_address(relay: Relay, request: web.Request) -> str:
    """Return the address limits count by."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    address = peer[0] if isinstance(peer, tuple) else "local"
    forwarded = request.headers.getall("X-Forwarded-For", [])
    return address_key(client_address(address, forwarded, relay.config.trusted_proxies))


def refusal_response(relay: Relay, refusal: UpgradeError) -> web.Response:
    """Return the answer to a refused upgrade; the connection ends with it, whatever was sent behind it."""
    relay.stats.refused[refusal.reason] += 1
    _log.log(
        logging.DEBUG if refusal.status == 429 else logging.INFO,
        "upgrade_refused",
        extra={"reason": refusal.reason, "status": refusal.status},
    )
    response = web.json_response({"error": {"code": refusal.reason, "message": refusal.message}}, status=refusal.status)
    if refusal.status == 401:
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if refusal.status == 426:
        response.headers[hdrs.UPGRADE] = "websocket"
    if refusal.reason == "bad_upgrade":
        response.headers[hdrs.SEC_WEBSOCKET_VERSION] = "13"
    if refusal.retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(refusal.retry_after)))
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    response.force_close()
    return response


def _check_request(relay: Relay, request: web.Request) -> None:
    if relay.draining:
        raise UpgradeError(503, "draining", "the relay is shutting down", retry_after=5)
    if len(request.headers.getall(hdrs.HOST, [])) != 1:
        raise UpgradeError(400, "bad_host", "send exactly one Host header")
    if not _origin_allowed(relay, request.headers.getall(hdrs.ORIGIN, [])):
        raise UpgradeError(403, "origin", "this origin is not allowed; see allowed_origins")
    if hdrs.UPGRADE not in request.headers:
        raise UpgradeError(426, "no_upgrade", "this is a WebSocket endpoint of a sideband relay")
    if (fault := handshake_fault(request)) is not None:
        raise UpgradeError(400, "bad_upgrade", f"the WebSocket handshake is not valid (RFC 6455, 4.2.1): {fault}")


def _origin_allowed(relay: Relay, origins: list[str]) -> bool:
    if not origins:
        return True
    if len(origins) > 1:
        return False
    allowed = relay.config.allowed_origins
    if allowed is not None:
        return "*" in allowed or origins[0] in allowed
    return _is_localhost(origins[0]) if relay.config.loopback_listener else True


def _is_localhost(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname
        return host == "localhost" or (host is not None and ip_address(host).is_loopback)
    except ValueError:
        return False


async def _is_revoked(relay: Relay, key_id: str) -> bool:
    if key_id in relay.revoked:
        return True
    return relay.directory is not None and await relay.directory.is_revoked(key_id)


def _store_away() -> UpgradeError:
    return UpgradeError(503, "store_unavailable", "the relay's store does not answer; try again later", retry_after=5)
