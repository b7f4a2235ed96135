"""Whether and how a relayed session may become a direct one (docs/guide/direct.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

from sideband.direct.messages import MAX_ATTEMPTS, MAX_CANDIDATES
from sideband.errors import ConfigError

__all__ = ["DirectPolicy", "IceServer", "UpgradeTransport"]

_ICE_URL = re.compile(
    r"(?:stun|turn|turns):[0-9A-Za-z.-]+(?::(?P<port>[0-9]{1,5}))?(?:\?transport=(?P<transport>udp|tcp))?"
)

_ICE_TRANSPORTS = {"stun": (None,), "turn": (None, "udp", "tcp"), "turns": (None, "tcp")}

UpgradeTransport = Literal["tcp", "quic", "webrtc"]


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server.

    Attributes:
        url: `stun:host:port`, `turn:host:port`, `turn:host:port?transport=tcp` or `turns:host:port?transport=tcp`.
        username: for TURN.
        credential: for TURN. Not shown in `repr`.

    Raises:
        ConfigError: the URL is none of these, or a TURN server has no username or credential.
    """

    url: str
    username: str | None = None
    credential: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        scheme = self.url.partition(":")[0]
        found = _ICE_URL.fullmatch(self.url)
        if (
            found is None
            or found["transport"] not in _ICE_TRANSPORTS[scheme]
            or not 0 < int(found["port"] or 3478) < 65536
        ):
            raise ConfigError("an ICE server is stun:HOST:PORT, turn:HOST:PORT or turns:HOST:PORT?transport=tcp")
        if scheme != "stun" and not (self.username and self.credential):
            raise ConfigError(f"{self.url}: a TURN server needs a username and a credential")


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectPolicy:
    """Whether and how relayed sessions may become direct ones.

    Attributes:
        mode: "prefer" tries and stays on the relay where nothing connects; "require" holds what the application
            sends until the session is direct, and closes one that is not in time; "forbid" offers nothing and takes no
            part.
        transports: what is tried; those whose extra is not installed are left out.
        host_candidates: whether this machine's own addresses are told to the other side.
        addresses: further ones to tell, as `host` or `tcp://host:port` (such as a forwarded port), IP addresses only.
        ports: local ports for TCP and QUIC to listen at; 0 takes free ones.
        ice_servers: STUN and TURN servers for WebRTC; without any only host candidates are tried.
        timeout: seconds until an attempt is given up; 10.
        loopback: whether loopback addresses are told and dialled: for tests, and for peers on one machine.
        max_candidates: how many of the other side's addresses are dialled, and as many of WebRTC's; 1 to 16.
        max_attempts: how many attempts the other side may bring about in one session; each dials what it names.
        privileged_ports: whether ports below 1024 are dialled, where the other side has opened one for this.
        heartbeat_seconds: silence on a direct way after which the other side is pinged; 25.

    Raises:
        ConfigError: the mode or a transport is unknown, the timeout is not positive, max_candidates is not 1 to 16,
            max_attempts is less than 1, or "require" has nothing to try.
    """

    mode: Literal["forbid", "prefer", "require"] = "prefer"
    transports: tuple[UpgradeTransport, ...] = ("tcp", "quic", "webrtc")
    host_candidates: bool = True
    addresses: tuple[str, ...] = ()
    ports: dict[str, int] = field(default_factory=dict)
    ice_servers: tuple[IceServer, ...] = ()
    timeout: float = 10.0
    loopback: bool = False
    max_candidates: int = MAX_CANDIDATES
    max_attempts: int = MAX_ATTEMPTS
    privileged_ports: bool = False
    heartbeat_seconds: float | None = 25.0

    def __post_init__(self) -> None:
        if self.mode not in ("forbid", "prefer", "require"):
            raise ConfigError(f"the mode of direct sessions is forbid, prefer or require; got {self.mode!r}")
        unknown = [name for name in self.transports if name not in get_args(UpgradeTransport)]
        if unknown:
            raise ConfigError(
                f"transports of direct sessions are {', '.join(get_args(UpgradeTransport))}; got {unknown}"
            )
        if self.timeout <= 0:
            raise ConfigError("the timeout of an attempt is more than 0 seconds")
        if not 1 <= self.max_candidates <= MAX_CANDIDATES:
            raise ConfigError(
                f"1 to {MAX_CANDIDATES} candidates of the other side are tried; got {self.max_candidates}"
            )
        if self.max_attempts < 1:
            raise ConfigError("a side that takes part takes at least one attempt")
        if self.mode == "require" and not self.transports:
            raise ConfigError("a session that has to be direct needs at least one transport")
