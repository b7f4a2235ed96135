"""Which way a command's session may take: `--direct`, `--relay-only`, and what finds a direct way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sideband.cli.direct_settings import direct_policy
from sideband.errors import ConfigError

if TYPE_CHECKING:
    from sideband.peer import Peer, PeerOptions

__all__ = ["HostCandidatesOption", "IceServersOption", "RelayFirstOption", "Way", "WayOption"]

WayOption = Annotated[
    bool | None,
    typer.Option("--direct/--relay-only", help="Only without the relay, or only over it [whichever works]."),
]
RelayFirstOption = Annotated[
    bool | None,
    typer.Option("--direct/--relay-only", help="Only without the relay, or only over it [over it]."),
]
"""Of commands that would be done before a session has left the relay, and pay a third more for the attempt."""
IceServersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ice-server", metavar="URL", help="STUN server for direct sessions, stun:HOST:PORT; may be given again."
    ),
]
HostCandidatesOption = Annotated[
    bool | None,
    typer.Option(
        "--host-candidates/--no-host-candidates",
        help="Whether direct sessions tell the other side this machine's addresses [yes].",
    ),
]


@dataclass(frozen=True, slots=True)
class Way:
    """Which way a command's session may take: its options, as they were given.

    Attributes:
        direct: True needs a direct way, False stays on the relay, None takes the direct one where it is found.
        ice_servers: URLs that count before those of the environment and the configuration; None for these.
        host_candidates: whether this machine's addresses are told; None for what is configured.
    """

    direct: bool | None = None
    ice_servers: list[str] | None = None
    host_candidates: bool | None = None

    def client_options(self) -> PeerOptions:
        """Return the options of a client's peer.

        Raises:
            ConfigError: a setting of direct sessions is none.
        """
        from sideband.direct import upgrades
        from sideband.peer import ConnectionPolicy, PeerOptions, RetryPolicy

        mode: Literal["prefer", "require", "forbid"] = (
            "prefer" if self.direct is None else "require" if self.direct else "forbid"
        )
        return PeerOptions(
            connection=ConnectionPolicy(on_disconnect="pause"),
            retry=RetryPolicy(mode="never" if self.direct else "on-error"),
            upgrade=upgrades(direct_policy(mode, self.ice_servers, self.host_candidates)),
        )

    def daemon_options(self) -> PeerOptions | None:
        """Return the options of a daemon's peers, which leave the relay only if `direct`: None means the usual ones.

        Raises:
            ConfigError: a setting of direct sessions is none, or was given without `direct`.
        """
        from sideband.direct import upgrades
        from sideband.peer import ConnectionPolicy, PeerOptions

        if not self.direct:
            if self.ice_servers or self.host_candidates is not None:
                raise ConfigError("--ice-server and --host-candidates are of direct sessions; say --direct too")
            return None
        policy = direct_policy("prefer", self.ice_servers, self.host_candidates)
        return PeerOptions(connection=ConnectionPolicy(on_disconnect="pause"), upgrade=upgrades(policy))

    async def settled(self, peer: Peer) -> None:
        """With `--direct`, wait until the session has left the relay.

        Raises:
            SidebandError: it could not.
        """
        from sideband.direct import when_direct

        if self.direct:
            await when_direct(peer)
