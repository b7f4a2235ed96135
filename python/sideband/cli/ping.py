"""`sideband ping`: which way a session takes, how long an answer needs, how fast bytes go."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sideband.cli.direct_way import HostCandidatesOption, IceServersOption, Way, WayOption
from sideband.cli.running import run_command
from sideband.cli.target import (
    CONNECT_SECONDS,
    ApiOption,
    JsonOption,
    TargetArgument,
    TimeoutOption,
    TokenFileOption,
    TrustOption,
)

if TYPE_CHECKING:
    from sideband.peer import Peer

__all__ = ["EPILOG", "ping"]

EPILOG = """\b
Examples:
  sideband ping d_4pjqkx...                 five times, a second apart
  sideband ping abcd-efgh-jkmn -n 20 -i 0.2
  sideband ping d_4pjqkx... --direct        only without the relay
  sideband ping d_4pjqkx... --json          one JSON object a line

The rate is that of 1 MiB sent to the daemon in one call, at the end.

Exit codes: 0 ok, 1 failure, 2 usage, 3 authentication, 4 identity mismatch, 5 offline, 130 interrupted.
"""

RATE_BYTES = 1024 * 1024
METHOD = "$sideband/ping"
"""No daemon has it, and every one answers so at once."""
UNSUPPORTED = 1101


def ping(
    target: TargetArgument,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", min=1, max=100_000, help="How often.")] = 5,
    interval: Annotated[
        float, typer.Option("--interval", "-i", metavar="SECONDS", min=0.0, help="Between two of them.")
    ] = 1.0,
    direct: WayOption = None,
    ice_server: IceServersOption = None,
    host_candidates: HostCandidatesOption = None,
    timeout: TimeoutOption = CONNECT_SECONDS,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    trust: TrustOption = "accept-new",
    json_output: JsonOption = False,
) -> None:
    """Show the way to a daemon, and how long its answers take."""
    how: dict[str, Any] = {"api": api, "token_file": token_file, "timeout": timeout, "trust": trust}
    how["way"] = Way(direct, ice_server, host_candidates)
    run_command(_ping(target, count, interval, how, json_output=json_output), json_output=json_output)


async def _ping(target: str, count: int, interval: float, how: dict[str, Any], *, json_output: bool) -> int:
    from sideband.cli.output import print_event
    from sideband.cli.shown import shown
    from sideband.cli.target import open_peer, resolve_target

    whom = resolve_target(target)
    async with open_peer(whom, **how) as peer:
        if json_output:
            print_event("ready", fingerprint=peer.fingerprint, path=peer.path)
        trips: list[float] = []
        for number in range(1, count + 1):
            trips.append(await _round_trip(peer, ""))
            if json_output:
                print_event("pong", number=number, path=peer.path, milliseconds=round(trips[-1] * 1000, 3))
            else:
                print(f"{number}: {trips[-1] * 1000:.2f} ms by {shown(peer.path or '')}", flush=True)
            if number < count:
                await asyncio.sleep(interval)
        best = min(trips)
        took = await _round_trip(peer, "x" * RATE_BYTES)
        rate = RATE_BYTES / max(took - best, 1e-6)
        mean = sum(trips) / len(trips)
        if json_output:
            summary = {"min": best, "mean": mean, "max": max(trips)}
            milliseconds = {name: round(value * 1000, 3) for name, value in summary.items()}
            print_event("summary", path=peer.path, milliseconds=milliseconds, bytes_per_second=round(rate))
        else:
            print(f"{best * 1000:.2f} / {mean * 1000:.2f} / {max(trips) * 1000:.2f} ms (min, mean, max)")
            print(f"{rate / 1e6:.1f} MB/s to the daemon, by {shown(peer.path or '')}")
    return 0


async def _round_trip(peer: Peer, payload: str) -> float:
    from sideband.errors import RpcPeerError

    begun = time.perf_counter()
    try:
        await peer.rpc.call(METHOD, payload, timeout=60.0)
    except RpcPeerError as error:
        if error.rpc_code != UNSUPPORTED:
            raise
    return time.perf_counter() - begun
