"""`sideband demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sideband.cli.demo.payload import FilePayload, GeneratedPayload

__all__ = ["EPILOG", "demo"]

DEFAULT_SIZE = "256MiB"

EPILOG = """\b
Examples:
  sideband demo                          256 MiB of random bytes there and back
  sideband demo --size 1GiB              more of them
  sideband demo --file video.mp4         a file of yours, of any size
  sideband demo --json | tail -n 1       the result, for a program

Exit codes: 0 ok, 1 failure, 2 usage, 130 interrupted.
"""


def demo(
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="SIZE", help=f"Random bytes to send: 64KiB, 256MiB, 1GiB [{DEFAULT_SIZE}]."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Send this file instead.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object a line; the last is done.")] = False,
) -> None:
    """Send a real payload through a relay to a daemon and back, end-to-end encrypted, all on this machine.

    Control plane and relay, daemon, and client run as processes of their own on loopback, in a temporary folder that is
    removed at the end. Nothing has to be configured; nothing stays behind, also after Ctrl-C.
    """
    from sideband.cli.demo.report import JsonReport, TerminalReport
    from sideband.cli.demo.run import run_demo, run_until_signal
    from sideband.cli.output import EXIT_FAILURE, reporting_errors

    with reporting_errors(json_output):
        payload = _payload(size, file)
        with (JsonReport if json_output else TerminalReport)(payload.size) as report:
            result = run_until_signal(run_demo(payload, report))
            report.summary(result)
    if not result.ok:
        raise typer.Exit(EXIT_FAILURE)


def _payload(size: str | None, file: Path | None) -> FilePayload | GeneratedPayload:
    from sideband.cli.demo.payload import FilePayload, GeneratedPayload, parse_size
    from sideband.errors import ConfigError

    if file is None:
        return GeneratedPayload(parse_size(size or DEFAULT_SIZE))
    if size is not None:
        msg = "--size and --file exclude each other; a file is sent whole"
        raise ConfigError(msg)
    return FilePayload.of(file)
