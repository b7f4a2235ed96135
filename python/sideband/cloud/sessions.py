"""Where a client's sessions come from: a user's token, one after the other, or a Quick Connect code, once."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from typing_extensions import override

from sideband.cloud.api import ControlPlane, check_credential
from sideband.cloud.api_types import RelaySession
from sideband.cloud.failures import classify_failure, may_have_arrived
from sideband.errors import CloudApiError, PeerError, SidebandError
from sideband.identity import IdentityTrust
from sideband.peer.identity_token import IDENTITY_METADATA_KEY
from sideband.peer.link import Link
from sideband.peer.negotiator import ConnectionParams, ErrorClass, Negotiator
from sideband.peer.relay_negotiators import relay_client_negotiator
from sideband.transport.base import Connection

__all__ = ["AccountSessions", "CloudNegotiator", "GetAccessToken", "QuickConnectSession", "SessionSource"]

GetAccessToken: TypeAlias = Callable[[], str | Awaitable[str]]
"""Returns the user's token; called before every attempt, so it may renew one that grows old."""


class SessionSource(ABC):
    """Asks the control plane for what an attempt connects with."""

    @abstractmethod
    async def open_session(self) -> RelaySession:
        """Return what the next session is opened with; called before every attempt."""

    @abstractmethod
    def classify(self, error: BaseException, otherwise: ErrorClass) -> ErrorClass:
        """Return whether another attempt may help after `error`; `otherwise` is what the session itself would say."""


class AccountSessions(SessionSource):
    """Sessions of a user with one daemon, as many as it takes.

    Args:
        plane: the control plane.
        daemon_id: the daemon.
        get_access_token: returns the user's token.
    """

    def __init__(self, plane: ControlPlane, daemon_id: str, get_access_token: GetAccessToken) -> None:
        self._plane = plane
        self._daemon_id = daemon_id
        self._get_access_token = get_access_token

    @override
    async def open_session(self) -> RelaySession:
        return await self._plane.create_session(await self._token(), self._daemon_id)

    @override
    def classify(self, error: BaseException, otherwise: ErrorClass) -> ErrorClass:
        return classify_failure(error) if isinstance(error, CloudApiError) else otherwise

    async def rotations(self, daemon_id: str) -> Iterable[bytes]:
        """Return the statements by which the daemon's keys handed over, oldest first and unverified."""
        listed = await self._plane.list_accessible(await self._token())
        return next((daemon.rotations for daemon in listed if daemon.id == daemon_id), ())

    async def _token(self) -> str:
        token = self._get_access_token()
        return check_credential(
            await token if inspect.isawaitable(token) else token, "the token that get_access_token returns"
        )


class QuickConnectSession(SessionSource):
    """The one session of a Quick Connect code.

    Args:
        plane: the control plane.
        code: 12 letters.
    """

    def __init__(self, plane: ControlPlane, code: str) -> None:
        self._plane = plane
        self._code = code
        self._used = False
        self._cut_off = False

    @override
    async def open_session(self) -> RelaySession:
        if self._used:
            raise PeerError("invalid_state", "the Quick Connect code was used for the one session that it opens")
        try:
            session = await self._plane.redeem(self._code)
        except CloudApiError as error:
            if error.status == 404 and self._cut_off:
                raise _maybe_used_up(error) from error
            self._used = error.status == 409
            self._cut_off = self._cut_off or may_have_arrived(error)
            raise
        except SidebandError as error:
            self._cut_off = self._cut_off or may_have_arrived(error)
            raise
        self._used = True
        return session

    @override
    def classify(self, error: BaseException, otherwise: ErrorClass) -> ErrorClass:
        if self._used:
            return "fatal"
        return classify_failure(error) if isinstance(error, CloudApiError) else otherwise


class CloudNegotiator(Negotiator):
    """Opens the sessions of a source through the relay that it names.

    Args:
        source: where sessions come from.
        trust: decides on the daemon's identity key.
        handshake_timeout: seconds until the daemon has proved it.
    """

    def __init__(self, source: SessionSource, trust: IdentityTrust, handshake_timeout: float) -> None:
        self._source = source
        self._trust = trust
        self._handshake_timeout = handshake_timeout
        self._params = ConnectionParams()
        self._relay: Negotiator | None = None

    @override
    async def get_connection_params(self) -> ConnectionParams:
        session = await self._source.open_session()
        self._params = ConnectionParams(
            endpoint=session.relay_url,
            headers={"Authorization": f"Bearer {session.token}"},
            metadata={} if session.identity is None else {IDENTITY_METADATA_KEY: session.identity},
        )
        # Only now is the daemon of a code known. The object is kept: it remembers that a token was refused once.
        if self._relay is None:
            self._relay = relay_client_negotiator(
                session.daemon_id,
                trust=self._trust,
                get_connection_params=lambda: self._params,
                handshake_timeout=self._handshake_timeout,
            )
        return await self._relay.get_connection_params()

    @override
    async def negotiate(self, connection: Connection) -> Link:
        if self._relay is None:
            raise PeerError("invalid_state", "no session was opened")
        return await self._relay.negotiate(connection)

    @override
    def classify_error(self, error: BaseException) -> ErrorClass:
        relay = self._relay
        otherwise = super().classify_error(error) if relay is None else relay.classify_error(error)
        return self._source.classify(error, otherwise)


def _maybe_used_up(error: CloudApiError) -> CloudApiError:
    return CloudApiError(
        404,
        "the code is unknown, used or expired; a try before this one was cut off, and may have used it up: "
        "ask for a new code",
        code=error.code,
    )
