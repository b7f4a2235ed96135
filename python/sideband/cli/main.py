"""The command line `sideband`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sideband.cli import admin
from sideband.cli import daemon as daemon_command
from sideband.cli import serve as serve_command
from sideband.cli.demo import command as demo_command

__all__ = ["app", "main"]

_EPILOG = """\b
Examples:
  sideband demo                      see the whole path work on this machine
  sideband serve                     run a control plane and a relay
  sideband COMMAND --help            what a command takes, with examples

Exit codes: 0 ok, 1 failure, 2 usage, 3 authentication, 4 identity mismatch, 5 offline, 130 interrupted.
"""

app = typer.Typer(
    name="sideband", no_args_is_help=True, pretty_exceptions_enable=False, epilog=_EPILOG, rich_markup_mode=None
)
app.command("demo", epilog=demo_command.EPILOG)(demo_command.demo)
app.command("serve", epilog=serve_command.EPILOG)(serve_command.serve)
app.command("daemon", epilog=daemon_command.EPILOG)(daemon_command.daemon)
app.add_typer(admin.app, name="admin")


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from sideband.cli.output import exit_code, print_error
        from sideband.errors import SidebandError

        if not isinstance(error, SidebandError):
            raise
        print_error(error, json_output=False)
        sys.exit(exit_code(error))


@app.callback()
def _sideband(
    _version: Annotated[
        bool, typer.Option("--version", callback=lambda wanted: _show_version(wanted), is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """End-to-end encrypted peers through a relay that sees ciphertext only."""


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"sideband {version('sideband')}")
        raise typer.Exit
