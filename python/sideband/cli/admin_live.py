"""`sideband admin session`, `sideband admin audit`, `sideband admin signing-key`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sideband.cli.admin_output import print_made, print_rows
from sideband.cli.admin_store import Config, DataDir, Json, now, with_administration, with_store
from sideband.cli.output import reporting_errors

__all__ = ["audit", "session", "signing_key"]

session = typer.Typer(no_args_is_help=True, help="Live sessions.")
audit = typer.Typer(no_args_is_help=True, help="The audit trail.")
signing_key = typer.Typer(no_args_is_help=True, help="Keys that sign tokens.")


@session.command("list")
def list_sessions(data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """List the live sessions, as the relay reported them in the last 10 s."""
    from sideband.control.store import directory

    with reporting_errors(json_output):
        rows = with_store(
            config, data_dir, lambda store: store.reading(lambda connection: directory.list_sessions(connection, now()))
        )
        columns = ("sid", "daemon_id", "subject", "state", "since", "bytes_up", "bytes_down")
        print_rows("session", rows, columns, json_output)


@session.command("kick")
def kick_session(
    sid: Annotated[str, typer.Argument(metavar="SESSION", help="Session id, as listed.")],
    data_dir: DataDir = None,
    config: Config = None,
    json_output: Json = False,
) -> None:
    """End a session within 10 s."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.kick_session(sid))
        print_made("session", made, json_output)


@audit.command("list")
def list_records(
    limit: Annotated[
        int, typer.Option("--limit", metavar="COUNT", min=1, max=10_000, help="How many, the newest first.")
    ] = 50,
    target: Annotated[str | None, typer.Option("--target", metavar="ID", help="Only those about this id.")] = None,
    data_dir: DataDir = None,
    config: Config = None,
    json_output: Json = False,
) -> None:
    """List audit records."""
    from sideband.control.store.audit import list_audit

    with reporting_errors(json_output):
        records = with_store(
            config,
            data_dir,
            lambda store: store.reading(lambda connection: list_audit(connection, limit=limit, target=target)),
        )
        columns = ("at", "actor", "action", "target", "address", "outcome")
        print_rows("audit", [asdict(record) for record in records], columns, json_output)


@signing_key.command("list")
def list_signing_keys(data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """List the signing keys and when each signs and leaves."""
    from sideband.control.store.signing_keys import all_signing_keys

    with reporting_errors(json_output):
        keys = with_store(config, data_dir, lambda store: store.reading(all_signing_keys))
        rows = [
            {"kid": row.kid, "created_at": row.created_at, "signs_from": row.signs_from, "retired_at": row.retired_at}
            for row in keys
        ]
        print_rows("signing_key", rows, ("kid", "created_at", "signs_from", "retired_at"), json_output)


@signing_key.command("rotate")
def rotate_signing_key(
    immediately: Annotated[
        bool, typer.Option("--now", help="The old key leaked: sign with the new one and drop the old at once.")
    ] = False,
    data_dir: DataDir = None,
    config: Config = None,
    json_output: Json = False,
) -> None:
    """Make a new signing key; the old one goes when its last token has expired, so nobody is refused."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.rotate_signing_key(immediately=immediately))
        print_made("signing_key", made, json_output)
