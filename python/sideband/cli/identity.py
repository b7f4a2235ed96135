"""`sideband identity`: this machine's identity key as a daemon."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from sideband.cli.running import run_command
from sideband.cli.target import ApiOption, JsonOption

__all__ = ["EPILOG", "app"]

EPILOG = """\b
Examples:
  sideband identity                 the fingerprint, to be compared with what clients show
  sideband identity rotate          go over to a new key; clients that pinned the old one follow

Exit codes: 0 ok, 1 failure, 2 usage, 3 authentication, 5 offline, 130 interrupted.
"""

app = typer.Typer(name="identity", invoke_without_command=True, epilog=EPILOG, rich_markup_mode=None)


@app.callback()
def show(context: typer.Context, json_output: JsonOption = False) -> None:
    """Show the fingerprint of the identity key; other words change it."""
    if context.invoked_subcommand is None:
        run_command(_show(json_output=json_output), json_output=json_output)


@app.command(epilog=EPILOG)
def rotate(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    api_key_file: Annotated[
        Path | None,
        typer.Option("--api-key-file", metavar="FILE", help="File that holds the API key; - for standard input."),
    ] = None,
    api: ApiOption = None,
    json_output: JsonOption = False,
) -> None:
    """Go over to a new identity key. The old one signs the change, and clients that pinned it follow.

    The daemon has to be ended before, and started again afterwards.
    """
    if not yes and not json_output:
        typer.confirm("Is the daemon ended, and shall its identity key be replaced?", abort=True)
    run_command(_rotate(api_key_file, api, json_output=json_output), json_output=json_output)


async def _show(*, json_output: bool) -> int:
    from sideband.cli import config
    from sideband.cli.output import print_event
    from sideband.errors import ConfigError
    from sideband.identity import FileIdentity

    path = config.identity_path()
    if not path.exists():
        raise ConfigError("this machine has no identity key yet; `sideband init` makes one")
    identity = FileIdentity(path)
    if json_output:
        print_event("ready", fingerprint=identity.fingerprint, path=str(path))
    else:
        print(f"fingerprint  {identity.fingerprint}")
        print(f"kept in      {path}")
    return 0


async def _rotate(api_key_file: Path | None, api: str | None, *, json_output: bool) -> int:
    from sideband.cli import config
    from sideband.cli.output import print_event
    from sideband.cloud import ControlPlane
    from sideband.errors import ConfigError
    from sideband.identity import FileIdentity
    from sideband.identity.private_file import read_private, replace_private
    from sideband.identity.rotation import make_statement

    path = config.identity_path()
    plane, key = ControlPlane(config.api_url(api)), config.api_key(api_key_file)
    kept = read_private(path)
    if kept is None:
        raise ConfigError("this machine has no identity key yet; `sideband init` makes one")
    identity = FileIdentity(path)
    before = identity.fingerprint
    registered = await plane.register(key, identity.public_key)
    old = identity.rotate()
    try:
        statement = make_statement(registered.daemon_id, old, identity.public_key, int(time.time()))
        await plane.register(key, identity.public_key, rotate=statement)
    except BaseException:
        # The control plane still has the old key, or nothing is known: with the old one the daemon works either way,
        # and another try rotates again.
        replace_private(path, kept)
        raise
    if json_output:
        print_event(
            "ready", done="rotated", daemon_id=registered.daemon_id, before=before, fingerprint=identity.fingerprint
        )
    else:
        print(f"before  {before}")
        print(f"now     {identity.fingerprint}")
        print("Start the daemon again. Clients that pinned the old key follow by its signature.")
    return 0
