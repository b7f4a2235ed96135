"""`sideband admin daemon`, `sideband admin key`."""

from __future__ import annotations

from typing import Annotated

import typer

from sideband.cli.admin_output import print_made, print_rows
from sideband.cli.admin_store import Config, DataDir, Json, now, with_administration, with_store
from sideband.cli.output import reporting_errors

__all__ = ["daemon", "key"]

daemon = typer.Typer(no_args_is_help=True, help="Daemons.")
key = typer.Typer(no_args_is_help=True, help="API keys of daemons.")

DaemonName = Annotated[str, typer.Argument(metavar="DAEMON", help="Name or id of a daemon.")]
KeyId = Annotated[str, typer.Argument(metavar="KEY-ID", help="Id of an API key, dk_...")]


@daemon.command("create")
def create_daemon(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name or id of the account it belongs to.")],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What people see.")] = None,
    data_dir: DataDir = None,
    config: Config = None,
    json_output: Json = False,
) -> None:
    """Make a daemon with its first API key, shown this once."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.create_daemon(account, name=name))
        print_made("daemon", made, json_output)


@daemon.command("list")
def list_daemons(data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """List the daemons."""
    from sideband.control.store import directory

    with reporting_errors(json_output):
        rows = with_store(
            config, data_dir, lambda store: store.reading(lambda connection: directory.list_daemons(connection, now()))
        )
        print_rows("daemon", rows, ("id", "name", "account", "online", "created_at", "disabled_at"), json_output)


@daemon.command("disable")
def disable_daemon(
    name: DaemonName, data_dir: DataDir = None, config: Config = None, json_output: Json = False
) -> None:
    """Disable a daemon: its connection ends within 10 s and it is refused from then on."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.set_daemon_disabled(name, True))
        print_made("daemon", made, json_output)


@daemon.command("enable")
def enable_daemon(name: DaemonName, data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """Enable a daemon again."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.set_daemon_disabled(name, False))
        print_made("daemon", made, json_output)


@daemon.command("kick")
def kick_daemon(name: DaemonName, data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """End a daemon's connection; it may come back at once."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.kick_daemon(name))
        print_made("daemon", made, json_output)


@key.command("create")
def create_key(name: DaemonName, data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """Make another API key for a daemon, shown this once."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.create_key(name))
        print_made("key", made, json_output)


@key.command("list")
def list_keys(data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """List API keys by their ids."""
    from sideband.control.store import directory

    with reporting_errors(json_output):
        rows = with_store(config, data_dir, lambda store: store.reading(directory.list_keys))
        print_rows("key", rows, ("id", "daemon_id", "hint", "created_at", "revoked_at"), json_output)


@key.command("revoke")
def revoke_key(key_id: KeyId, data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """Revoke an API key: refused from now on; a connection made with it ends within 10 s."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.revoke_key(key_id))
        print_made("key", made, json_output)


@key.command("rotate")
def rotate_key(name: DaemonName, data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """Make a new API key for a daemon, shown this once, and revoke all its others."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.rotate_key(name))
        print_made("key", made, json_output)
