"""`sideband bench`: what this machine, or the way to a daemon, makes of sideband."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sideband.cli.direct_way import HostCandidatesOption, IceServersOption, RelayFirstOption, Way
from sideband.cli.target import CONNECT_SECONDS, ApiOption, TimeoutOption, TokenFileOption, TrustOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from sideband.bench.daemon import DaemonFigures
    from sideband.bench.machine import Sealing, Stream

__all__ = ["EPILOG", "bench"]

EPILOG = """\b
Examples:
  sideband bench                       this machine: sealing, a stream, calls
  sideband bench --size 1GiB           with a longer stream
  sideband bench --json > before.json  figures to compare with later ones
  sideband bench abcd-efgh-jkmn        the way to a daemon: round trip and rate
  sideband bench d_4pjqkx... --direct  the way without the relay

The stream and the calls go from one process through a relay to another, all on this machine. What costs what, and how
to tune it: docs/performance.md.

Exit codes: 0 ok, 1 failure, 2 usage, 3 authentication, 4 identity mismatch, 5 offline, 130 interrupted.
"""

DEFAULT_SIZE = "256MiB"
DEFAULT_REMOTE_SIZE = "16MiB"
ROUNDS = 7
_MIB = 1 << 20


def bench(
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="A daemon to measure instead of this machine.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size", metavar="SIZE", help=f"Bytes of the stream [{DEFAULT_SIZE}; to a daemon {DEFAULT_REMOTE_SIZE}]."
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="SECONDS", min=0.001, help="For each figure of sealing.")
    ] = 0.2,
    direct: RelayFirstOption = None,
    ice_server: IceServersOption = None,
    host_candidates: HostCandidatesOption = None,
    timeout: TimeoutOption = CONNECT_SECONDS,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    trust: TrustOption = "accept-new",
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object a line, times in seconds.")] = False,
) -> None:
    """Measure this machine, or the way to a daemon."""
    from sideband.cli.output import reporting_errors
    from sideband.cli.running import closed_pipe_is_an_end, run_command

    if target is None:
        if direct is not None or ice_server or host_candidates is not None:
            raise typer.BadParameter("--direct, --relay-only and what goes with them need a TARGET")
        with closed_pipe_is_an_end(), reporting_errors(json_output):
            _measure_machine(_bytes(size or DEFAULT_SIZE), seconds, json_output=json_output)
        return
    how: dict[str, Any] = {"api": api, "token_file": token_file, "timeout": timeout, "trust": trust}
    # One way for the whole of it: figures of a session that moves meanwhile would be of neither.
    how["way"] = Way(direct or False, ice_server, host_candidates)
    run_command(
        _measure_daemon(target, size or DEFAULT_REMOTE_SIZE, how, json_output=json_output), json_output=json_output
    )


def _bytes(size: str) -> int:
    from sideband.cli.demo.payload import parse_size
    from sideband.errors import ConfigError

    parsed = parse_size(size)
    if parsed < 1:
        raise ConfigError("--size is at least 1 byte")
    return parsed


# This machine


def _measure_machine(size: int, seconds: float, *, json_output: bool) -> None:
    from sideband.bench import sealing
    from sideband.bench.machine import measure_calls, measure_sealing, measure_stream, through_relay
    from sideband.bench.measuring import Settings
    from sideband.cli.output import console, print_event
    from sideband.secure_relay import backend

    settings = Settings(ROUNDS, seconds / ROUNDS, size)
    terminal, progress = console(), console(stderr=True)
    cipher = backend()
    if json_output:
        print_event("ready", backend={"bulk": cipher.bulk, "bulk_from": cipher.bulk_from, "small": cipher.small})
    with progress.status("sealing and opening"):
        rows = list(measure_sealing(settings, sealing.SIZES))
    if json_output:
        for row in rows:
            print_event("sealing", action=row.action, bytes=row.size, seconds=row.seconds, spread=round(row.spread, 3))
    else:
        terminal.print(_sealing_table(rows))
        bulk = (
            f"{cipher.bulk} from {cipher.bulk_from} bytes on, {cipher.small} below"
            if cipher.bulk_from
            else cipher.small
        )
        terminal.print(f"Cipher: {bulk}.\n")
    with progress.status("a stream and calls through a relay"), through_relay() as path:
        streams = list(measure_stream(path, settings))
        calls = measure_calls(path)
    if json_output:
        for one in streams:
            print_event(
                "stream", direction=one.direction, bytes=one.size, bytes_a_second=list(one.rates), cpu_seconds=one.cpu
            )
        print_event("calls", count=len(calls), **_percentiles(calls))
    else:
        terminal.print(_stream_table(streams))
        _print_calls(terminal, "Call of 256 B through the relay", calls)


def _sealing_table(rows: list[Sealing]) -> Table:
    from sideband.bench.sealing import BATCH, OPENSSL, OURS, OURS_BATCH, PURE

    title = "Sealing and opening, MB/s on one thread (ours against it)"
    table = _table(title, "", "bytes", "ours", f"ours, by {BATCH}", "over cryptography", "pure Python")
    for row in rows:
        rate = {name: row.size / seconds / 1e6 for name, seconds in row.seconds.items()}
        table.add_row(
            row.action,
            f"{row.size:,}",
            f"{rate[OURS]:,.0f}",
            f"{rate[OURS_BATCH]:,.0f}",
            f"{rate[OPENSSL]:,.0f} ({rate[OURS] / rate[OPENSSL]:.2f})",
            f"{rate[PURE]:.2f} ({rate[OURS] / rate[PURE]:,.0f})",
        )
    return table


def _stream_table(rows: list[Stream]) -> Table:
    names = list(rows[0].cpu)
    title = f"One stream of {rows[0].size / _MIB:,.0f} MiB through a relay{', µs of CPU for 64 KiB' if names else ''}"
    table = _table(title, "", "rate", "spread", *names)
    for row in rows:
        low, middle, high = statistics.quantiles(row.rates, n=4)
        cpu = (f"{row.cpu[name] * 1e6:.1f}" for name in names)
        table.add_row(row.direction, _rate(middle), f"{(high - low) / middle:.0%}", *cpu)
    return table


# A daemon


async def _measure_daemon(target: str, size: str, how: dict[str, Any], *, json_output: bool) -> int:
    from sideband.bench.daemon import measure_daemon
    from sideband.cli.output import console, print_event
    from sideband.cli.target import open_peer, resolve_target

    wanted = _bytes(size)
    async with open_peer(resolve_target(target), **how) as peer:
        if json_output:
            print_event("ready", fingerprint=peer.fingerprint, path=peer.path)
        with console(stderr=True).status("round trips, and a stream there and back"):
            found = await measure_daemon(peer, size=wanted)
        path = peer.path
    if json_output:
        print_event("calls", count=len(found.seconds), **_percentiles(found.seconds))
        if found.echo_seconds is not None:
            print_event("echo", bytes=found.echoed_bytes, seconds=found.echo_seconds)
    else:
        _print_daemon(console(), found, path)
    return 0


def _print_daemon(terminal: Console, found: DaemonFigures, path: str | None) -> None:
    terminal.print(f"Path: {path or 'unknown'}")
    _print_calls(terminal, "Round trip, a call of 256 B", found.seconds)
    if found.echo_seconds is None:
        terminal.print("Rate: not measured; this daemon does not echo streams (an older sideband).")
    else:
        rate = _rate(found.echoed_bytes / found.echo_seconds)
        terminal.print(f"Rate: {rate} there and back at once ({found.echoed_bytes / _MIB:,.0f} MiB).")


# Both


def _table(title: str, *columns: str) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE)
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right")
    return table


def _print_calls(terminal: Console, title: str, seconds: Sequence[float]) -> None:
    found = _percentiles(seconds)
    terminal.print(f"{title}: p50 {found['p50'] * 1e3:.2f} ms, p99 {found['p99'] * 1e3:.2f} ms.")


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    from sideband.bench.machine import percentile

    return {"p50": statistics.median(seconds), "p99": percentile(seconds, 0.99)}


def _rate(bytes_a_second: float) -> str:
    if bytes_a_second >= 1e9:
        return f"{bytes_a_second / 1e9:.2f} GB/s"
    if bytes_a_second >= 1e6:
        return f"{bytes_a_second / 1e6:.1f} MB/s"
    return f"{bytes_a_second / 1e3:.0f} kB/s"
