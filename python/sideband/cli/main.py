"""The command line `sideband`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sideband.allocator import tune_allocator
from sideband.cli import admin, identity, inbox, pins
from sideband.cli import bench as bench_command
from sideband.cli import call as call_command
from sideband.cli import connect as connect_command
from sideband.cli import daemon as daemon_command
from sideband.cli import get as get_command
from sideband.cli import init as init_command
from sideband.cli import login as login_command
from sideband.cli import ls as ls_command
from sideband.cli import ping as ping_command
from sideband.cli import pipe as pipe_command
from sideband.cli import put as put_command
from sideband.cli import serve as serve_command
from sideband.cli.demo import command as demo_command

__all__ = ["app", "main"]

_EPILOG = """\b
Examples:
  sideband                           what to do next on this machine
  sideband demo                      see the whole path work, with nothing set up
  sideband serve                     run a control plane and a relay
  sideband daemon --share .          share this folder, and show a code for it
  sideband get abcd-efgh-jkmn FILE   fetch a file with that code
  sideband COMMAND --help            what a command takes, with examples

Exit codes: 0 ok, 1 failure, 2 usage, 3 authentication, 4 identity mismatch, 5 offline, 130 interrupted.
"""

app = typer.Typer(
    name="sideband", invoke_without_command=True, pretty_exceptions_enable=False, epilog=_EPILOG, rich_markup_mode=None
)
app.command("demo", epilog=demo_command.EPILOG)(demo_command.demo)
app.command("serve", epilog=serve_command.EPILOG)(serve_command.serve)
app.command("daemon", epilog=daemon_command.EPILOG)(daemon_command.daemon)
app.command("ls", epilog=ls_command.EPILOG)(ls_command.ls)
app.command("get", epilog=get_command.EPILOG)(get_command.get)
app.command("put", epilog=put_command.EPILOG)(put_command.put)
app.command("pipe", epilog=pipe_command.EPILOG)(pipe_command.pipe)
app.command("init", epilog=init_command.EPILOG)(init_command.init)
app.command("login", epilog=login_command.EPILOG)(login_command.login)
app.command("connect", epilog=connect_command.EPILOG)(connect_command.connect)
app.command("ping", epilog=ping_command.EPILOG)(ping_command.ping)
app.command("bench", epilog=bench_command.EPILOG)(bench_command.bench)
app.command("call", epilog=call_command.EPILOG)(call_command.call)
app.add_typer(identity.app, name="identity")
app.add_typer(pins.app, name="pins")
app.add_typer(inbox.app, name="inbox")
app.add_typer(admin.app, name="admin")


def main() -> None:
    """Run the command line and end the process with its exit code."""
    tune_allocator()
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
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=lambda wanted: _show_version(wanted), is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """End-to-end encrypted peers through a relay that sees ciphertext only."""
    if context.invoked_subcommand is None:
        from sideband.cli.first_steps import first_steps
        from sideband.cli.running import closed_pipe_is_an_end

        with closed_pipe_is_an_end():
            print(first_steps())


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"sideband {version('sideband')}")
        raise typer.Exit
