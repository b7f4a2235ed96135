"""`--direct` and `--relay-only`: which way a command's session may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sideband.cli.direct_settings import direct_policy

if TYPE_CHECKING:
    from sideband.peer import Peer, PeerOptions

__all__ = ["WayOption", "options_for", "settle_on_way"]

WayOption = Annotated[
    bool | None,
    typer.Option("--direct/--relay-only", help="Only without the relay, or only over it [whichever works]."),
]


def options_for(direct: bool | None) -> PeerOptions:
    """Return the options of a client's peer.

    Args:
        direct: True needs a direct way, False stays on the relay, None takes the direct one where it is found.

    Raises:
        ConfigError: a setting of direct sessions is none.
    """
    from sideband.direct import upgrades
    from sideband.peer import ConnectionPolicy, PeerOptions, RetryPolicy

    return PeerOptions(
        connection=ConnectionPolicy(on_disconnect="pause"),
        retry=RetryPolicy(mode="never" if direct else "on-error"),
        upgrade=upgrades(direct_policy("prefer" if direct is None else "require" if direct else "forbid")),
    )


async def settle_on_way(peer: Peer, direct: bool | None) -> None:
    """With `--direct`, wait until the session has left the relay.

    Raises:
        SidebandError: it could not.
    """
    from sideband.direct import when_direct

    if direct:
        await when_direct(peer)
