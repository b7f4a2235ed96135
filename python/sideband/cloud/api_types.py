"""What the control plane's procedures return (docs/protocol/relay.md, "Control plane API").

Reading is strict about what is used and deaf to the rest, so that a newer server may say more.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn

from sideband.errors import CloudApiError

__all__ = ["AccessibleDaemon", "Presence", "QuickConnectCode", "Registration", "RelaySession"]

_KEY_BYTES = 32
_MAX_TEXT = 8_192


@dataclass(frozen=True, slots=True)
class Presence:
    """What a daemon's next relay connection is opened with.

    Attributes:
        relay_url: the relay.
        token: its bearer token; good for an hour. Not shown in `repr`.
    """

    relay_url: str
    token: str = field(repr=False)

    @classmethod
    def read(cls, data: Any) -> Presence:
        """Read the answer of daemon.renewToken.

        Raises:
            CloudApiError: something is missing.
        """
        return cls(_text(data, "relayUrl"), _text(data, "presenceToken"))


@dataclass(frozen=True, slots=True)
class Registration:
    """What daemon.register says about the API key's daemon.

    Attributes:
        daemon_id: the daemon's id.
        presence: a first token, which cannot resume sessions.
    """

    daemon_id: str
    presence: Presence

    @classmethod
    def read(cls, data: Any) -> Registration:
        """Read the answer of daemon.register.

        Raises:
            CloudApiError: something is missing.
        """
        return cls(_text(data, "daemonId"), Presence.read(data))


@dataclass(frozen=True, slots=True)
class RelaySession:
    """What a client opens one session with.

    Attributes:
        daemon_id: the daemon that it leads to.
        relay_url: the relay.
        token: the bearer token of this one session; good for two minutes. Not shown in `repr`.
        identity: the statement that tells the daemon who connects, or None. Not shown in `repr`.
    """

    daemon_id: str
    relay_url: str
    token: str = field(repr=False)
    identity: str | None = field(repr=False)

    @classmethod
    def read(cls, data: Any, daemon_id: str | None = None) -> RelaySession:
        """Read the answer of relay.createSession, for a known daemon, or of quickConnect.redeem, which names it.

        Raises:
            CloudApiError: something is missing.
        """
        identity = data.get("identity") if isinstance(data, Mapping) else None
        return cls(
            daemon_id or _text(data, "daemonId"),
            _text(data, "relayUrl"),
            _text(data, "token"),
            None if identity is None else _text(data, "identity"),
        )


@dataclass(frozen=True, slots=True)
class QuickConnectCode:
    """A code that opens one session with the daemon that made it.

    Attributes:
        code: 12 letters in three groups. Not shown in `repr`.
        url: the page that tells what to do with it; the code is in the fragment, which no browser sends. Not shown in
            `repr`.
        expires_at: when it stops working, with time zone, by the control plane's clock.
    """

    code: str = field(repr=False)
    url: str = field(repr=False)
    expires_at: datetime

    @classmethod
    def read(cls, data: Any) -> QuickConnectCode:
        """Read the answer of quickConnect.create.

        Raises:
            CloudApiError: something is missing.
        """
        try:
            expires_at = datetime.fromisoformat(_text(data, "expiresAt"))
        except ValueError:
            _incomplete("expiresAt")
        if expires_at.tzinfo is None:
            _incomplete("expiresAt")
        return cls(_text(data, "code"), _text(data, "url"), expires_at)


@dataclass(frozen=True, slots=True)
class AccessibleDaemon:
    """A daemon that a user may reach.

    Attributes:
        id: its id.
        name: what its owner calls it, or None.
        identity_public_key: its identity key, 32 bytes, by the control plane's word.
        fingerprint: of that key.
        online: whether it was connected just now.
        rotations: statements by which one key handed over to the next, oldest first; each is to be verified.
    """

    id: str
    name: str | None
    identity_public_key: bytes
    fingerprint: str
    online: bool
    rotations: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def read(cls, data: Any) -> AccessibleDaemon:
        """Read one entry of daemon.listAccessible.

        Raises:
            CloudApiError: something is missing.
        """
        key = _bytes(_text(data, "identityPublicKey"))
        rotations = data.get("rotations") or []
        if len(key) != _KEY_BYTES or not isinstance(rotations, list):
            _incomplete("identityPublicKey")
        return cls(
            id=_text(data, "id"),
            name=None if data.get("name") is None else _text(data, "name"),
            identity_public_key=key,
            fingerprint=_text(data, "fingerprint"),
            online=data.get("online") is True,
            rotations=tuple(_bytes(text) for text in rotations if isinstance(text, str)),
        )


def _text(data: Any, name: str) -> str:
    value = data.get(name) if isinstance(data, Mapping) else None
    # A header or an address with a control character in it would be somebody's attempt at more than it says.
    if not isinstance(value, str) or not value or len(value) > _MAX_TEXT or not value.isprintable():
        _incomplete(name)
    return value


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _incomplete(name: str) -> NoReturn:
    raise CloudApiError(
        200,
        f"the answer has no usable {name}; the server is not a control plane of sideband, or one of another version",
    )
