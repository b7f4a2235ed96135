"""Negotiators over a relay, for clients and for daemons (docs/protocol/peer.md, "Negotiators")."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from typing_extensions import override

from sideband.errors import ConfigError, TokenError, TransportError
from sideband.identity import FileIdentity, IdentityKeyPair, IdentityTrust, compute_fingerprint
from sideband.peer.link import Link
from sideband.peer.negotiator import ConnectionParams, ErrorClass, Negotiator, classify_error
from sideband.peer.relay_client import RelayClient
from sideband.peer.relay_link import RelayLink
from sideband.peer.relay_token import session_id_of
from sideband.secure_relay.client_endpoint import DEFAULT_HANDSHAKE_TIMEOUT
from sideband.secure_relay.limits import DaemonLimits
from sideband.transport.base import Connection

__all__ = ["GetConnectionParams", "RelayDaemonNegotiator", "relay_client_negotiator", "relay_daemon_negotiator"]

GetConnectionParams: TypeAlias = Callable[[], ConnectionParams | Awaitable[ConnectionParams]]
"""Called before every attempt, sync or async: a token serves one connection."""


class _UnauthorizedOnce:
    """HTTP 401 may mean that the token grew old on its way: one more attempt, with a new one, tells."""

    def __init__(self) -> None:
        self._refused = False

    def classify(self, error: BaseException) -> ErrorClass:
        if isinstance(error, TransportError) and error.http_status == 401 and not self._refused:
            self._refused = True
            return "retryable"
        return classify_error(error)

    def accepted(self) -> None:
        self._refused = False


class _RelayClientNegotiator(Negotiator):
    def __init__(
        self,
        daemon_id: str,
        trust: IdentityTrust,
        get_connection_params: GetConnectionParams,
        handshake_timeout: float,
    ) -> None:
        self._daemon_id = daemon_id
        self._trust = trust
        self._get_connection_params = get_connection_params
        self._handshake_timeout = handshake_timeout
        self._params = ConnectionParams()
        self._unauthorized = _UnauthorizedOnce()

    @override
    async def get_connection_params(self) -> ConnectionParams:
        self._params = await _answer(self._get_connection_params)
        return self._params

    @override
    async def negotiate(self, connection: Connection) -> Link:
        self._unauthorized.accepted()
        session_id = self._params.session_id
        client = await RelayClient.negotiate(
            connection,
            daemon_id=self._daemon_id,
            session_id=_session_id_of_bearer(self._params.headers) if session_id is None else session_id,
            trust=self._trust,
            handshake_timeout=self._handshake_timeout,
        )
        return RelayLink(client)

    @override
    def classify_error(self, error: BaseException) -> ErrorClass:
        return self._unauthorized.classify(error)


@dataclass(frozen=True, slots=True)
class RelayDaemonNegotiator:
    """How a daemon is reached through a relay. `relay_daemon_negotiator` makes one, `listen` takes it.

    Attributes:
        daemon_id: the `did` of its tokens.
        identity: the key that it proves to clients.
        get_connection_params: called before every relay connection.
        limits: what the daemon holds by itself.
    """

    daemon_id: str
    identity: IdentityKeyPair
    get_connection_params: GetConnectionParams
    limits: DaemonLimits = field(default_factory=DaemonLimits)
    _unauthorized: _UnauthorizedOnce = field(default_factory=_UnauthorizedOnce, init=False, repr=False)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the identity key."""
        return compute_fingerprint(self.identity.public_key)

    async def next_params(self) -> ConnectionParams:
        """Return what the next relay connection is opened with."""
        return await _answer(self.get_connection_params)

    def accepted(self) -> None:
        """Tell that the relay took the token."""
        self._unauthorized.accepted()

    def classify_error(self, error: BaseException) -> ErrorClass:
        """Return whether another relay connection may help after `error`."""
        return self._unauthorized.classify(error)


def relay_client_negotiator(
    daemon_id: str,
    *,
    trust: IdentityTrust,
    get_connection_params: GetConnectionParams,
    handshake_timeout: float = DEFAULT_HANDSHAKE_TIMEOUT,
) -> Negotiator:
    """Return the negotiator of a client that reaches a daemon through a relay, end-to-end encrypted.

    Args:
        daemon_id: the daemon to reach.
        trust: decides whether the daemon's identity key is the right one, and pins it.
        get_connection_params: returns the relay's URL and a bearer token in `headers`, fresh before every attempt.
        handshake_timeout: seconds until the daemon has proved its key; 30. Deciding on the key takes its own time.
    """
    return _RelayClientNegotiator(daemon_id, trust, get_connection_params, handshake_timeout)


def relay_daemon_negotiator(
    daemon_id: str,
    identity: IdentityKeyPair | FileIdentity,
    *,
    get_connection_params: GetConnectionParams,
    limits: DaemonLimits | None = None,
) -> RelayDaemonNegotiator:
    """Return the negotiator of a daemon: all its sessions run over one relay connection, and survive its loss.

    Args:
        daemon_id: as in its tokens.
        identity: the key that it proves to clients.
        get_connection_params: returns the relay's URL and a bearer token in `headers`, fresh before every connection.
        limits: sessions and handshakes that the daemon takes, whatever the relay lets through.
    """
    key_pair = identity.key_pair if isinstance(identity, FileIdentity) else identity
    return RelayDaemonNegotiator(daemon_id, key_pair, get_connection_params, limits or DaemonLimits())


async def _answer(get_connection_params: GetConnectionParams) -> ConnectionParams:
    params = get_connection_params()
    return await params if inspect.isawaitable(params) else params


def _session_id_of_bearer(headers: Mapping[str, str]) -> int:
    bearer = next((value for name, value in headers.items() if name.lower() == "authorization"), "")
    try:
        return session_id_of(bearer.removeprefix("Bearer "))
    except TokenError:
        raise ConfigError(
            "the connection parameters name no session: give session_id, or a relay token for a client as bearer"
        ) from None
