"""The command line `sideband`."""

from __future__ import annotations

import typer

from sideband.cli import admin
from sideband.cli.serve import serve

__all__ = ["app", "main"]

app = typer.Typer(name="sideband", no_args_is_help=True, pretty_exceptions_show_locals=False)
app.command("serve")(serve)
app.add_typer(admin.app, name="admin")


def main() -> None:
    """Run the command line."""
    app()
