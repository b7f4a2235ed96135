"""How a daemon comes to its relay connections: registered once, then a fresh token before each of them."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from typing_extensions import override

from sideband.cloud.api import ControlPlane
from sideband.cloud.failures import classify_failure, classify_registration, is_bad_frames
from sideband.cloud.retrying import retrying
from sideband.errors import CloudApiError, PeerError, SidebandError
from sideband.peer.negotiator import ConnectionParams, ErrorClass
from sideband.peer.options import PeerOptions
from sideband.peer.policies import RetryPolicy
from sideband.peer.relay_negotiators import RelayDaemonNegotiator

__all__ = ["CloudDaemonNegotiator", "OnOffline", "RelayPresence", "registered"]

OnOffline: TypeAlias = Callable[[BaseException], None]
"""Told why the relay connection was lost, or could not be had. Another try follows, unless the error is fatal."""

_log = logging.getLogger("sideband.cloud")


@dataclass(frozen=True, slots=True)
class Daemon:
    """Who the API key's daemon is.

    Attributes:
        id: its id.
        issuer: the control plane's name for itself, as it stands in its tokens.
    """

    id: str
    issuer: str


async def registered(
    plane: ControlPlane,
    api_key: str,
    public_key: bytes,
    *,
    expected_id: str | None,
    name: str | None,
    rotate: bytes | None,
    retry: RetryPolicy,
    options: PeerOptions,
    on_offline: OnOffline,
) -> Daemon:
    """Register the identity key; try again as `retry` says while the control plane cannot be reached.

    Raises:
        CloudApiError: it refused; 409 when the daemon has another identity key; 400 when it is another daemon than
            `expected_id`.
        PeerError: `not_connected` after the last try that `retry` allows.
    """

    async def register() -> Daemon:
        registration = await plane.register(api_key, public_key, name=name, rotate=rotate)
        claims = _claims(registration.presence.token)
        _check_daemon(claims, registration.daemon_id)
        if expected_id is not None:
            _check_daemon(claims, expected_id)
        return Daemon(registration.daemon_id, str(claims.get("iss", "")))

    def failed(error: SidebandError, delay: float | None) -> None:
        on_offline(error)
        if delay is not None:
            _log.warning("the control plane cannot be asked (%s); next attempt in %.1f s", error, delay)

    return await retrying(
        register,
        policy=retry,
        clock=options.clock,
        classify=classify_registration,
        on_failure=failed,
        random=options.random,
    )


class RelayPresence:
    """A daemon's connection parameters, and what is told about its connections.

    Args:
        plane: the control plane.
        api_key: the daemon's.
        daemon_id: what every token has to be for.
        relay_urls: relays to use in place of the one that the control plane names, in this order.
        on_online: called when a relay connection stands; it does not raise.
        on_offline: called when one was lost, or could not be had; it does not raise.
    """

    def __init__(
        self,
        plane: ControlPlane,
        api_key: str,
        daemon_id: str,
        relay_urls: Sequence[str],
        on_online: Callable[[], None],
        on_offline: OnOffline,
    ) -> None:
        self._retried: BaseException | None = None
        self._plane = plane
        self._api_key = api_key
        self._daemon_id = daemon_id
        self._relay_urls = relay_urls
        self._tried = 0
        self._on_online = on_online
        self._on_offline = on_offline

    async def next_params(self) -> ConnectionParams:
        """Fetch a token, and return what the next relay connection is opened with."""
        presence = await self._plane.renew_token(self._api_key)
        _check_daemon(_claims(presence.token), self._daemon_id)
        url = presence.relay_url
        if self._relay_urls:
            url = self._relay_urls[self._tried % len(self._relay_urls)]
            self._tried += 1
        return ConnectionParams(endpoint=url, headers={"Authorization": f"Bearer {presence.token}"})

    def stands(self) -> None:
        """Tell that the relay took the token; the next connection begins with the first relay again."""
        self._tried = 0
        self._on_online()

    def failed(self, error: BaseException, verdict: ErrorClass) -> None:
        """Tell why a relay connection was lost, or could not be had."""
        self._retried = error if verdict == "retryable" else None
        self._on_offline(error)

    def raise_final(self, error: SidebandError) -> NoReturn:
        """Raise what ended the daemon: as it is, or in a `PeerError` when it ended for lack of tries."""
        if self._retried is error:
            raise PeerError("not_connected", f"gave up: {error}") from error
        raise error


@dataclass(frozen=True, slots=True)
class CloudDaemonNegotiator(RelayDaemonNegotiator):
    """A daemon's negotiator whose failures are judged by the table of docs/guide/cloud.md."""

    presence: RelayPresence = field(kw_only=True)

    @override
    def accepted(self) -> None:
        RelayDaemonNegotiator.accepted(self)
        self.presence.stands()

    @override
    def classify_error(self, error: BaseException) -> ErrorClass:
        verdict = self._verdict(error)
        self.presence.failed(error, verdict)
        return verdict

    def _verdict(self, error: BaseException) -> ErrorClass:
        if isinstance(error, CloudApiError):
            return classify_failure(error)
        return "retryable" if is_bad_frames(error) else RelayDaemonNegotiator.classify_error(self, error)


def _claims(token: str) -> dict[str, Any]:
    # Read, not verified: the token came from the control plane itself, and the relay verifies it.
    part = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise CloudApiError(200, "the presence token cannot be read; the server is not a control plane of sideband")
    return claims


def _check_daemon(claims: dict[str, Any], daemon_id: str) -> None:
    if claims.get("did") != daemon_id:
        raise CloudApiError(
            400, f"the API key belongs to another daemon than {daemon_id}; use its own key, or leave daemon_id out"
        )
