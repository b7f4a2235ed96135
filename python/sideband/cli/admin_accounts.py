"""`sideband admin account`, `sideband admin user`."""

from __future__ import annotations

from typing import Annotated

import typer

from sideband.cli.admin_output import print_made, print_rows
from sideband.cli.admin_store import Config, DataDir, Json, with_administration, with_store
from sideband.cli.output import reporting_errors

__all__ = ["account", "user"]

account = typer.Typer(no_args_is_help=True, help="Accounts: who owns daemons, and which users reach them.")
user = typer.Typer(no_args_is_help=True, help="Users and their tokens.")

AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name or id of an account.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="Name or id of a user.")]


@account.command("create")
def create_account(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A new name.")],
    data_dir: DataDir = None,
    config: Config = None,
    json_output: Json = False,
) -> None:
    """Make an account."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.create_account(name))
        print_made("account", made, json_output)


@account.command("list")
def list_accounts(data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """List the accounts with their users."""
    from sideband.control.store import directory

    with reporting_errors(json_output):
        rows = with_store(config, data_dir, lambda store: store.reading(directory.list_accounts))
        print_rows("account", rows, ("id", "name", "users", "created_at", "disabled_at"), json_output)


@account.command("disable")
def disable_account(
    name: AccountName, data_dir: DataDir = None, config: Config = None, json_output: Json = False
) -> None:
    """Disable an account: its daemons are cut off and refused, and no user reaches them."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.set_account_disabled(name, True))
        print_made("account", made, json_output)


@account.command("enable")
def enable_account(
    name: AccountName, data_dir: DataDir = None, config: Config = None, json_output: Json = False
) -> None:
    """Enable an account again."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.set_account_disabled(name, False))
        print_made("account", made, json_output)


@account.command("add-user")
def add_user(
    name: AccountName, user_name: UserName, data_dir: DataDir = None, config: Config = None, json_output: Json = False
) -> None:
    """Let a user reach the account's daemons."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.set_member(name, user_name, True))
        print_made("account", made, json_output)


@account.command("remove-user")
def remove_user(
    name: AccountName, user_name: UserName, data_dir: DataDir = None, config: Config = None, json_output: Json = False
) -> None:
    """Take a user's access to the account's daemons."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.set_member(name, user_name, False))
        print_made("account", made, json_output)


@user.command("create")
def create_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A new name.")],
    account_names: Annotated[
        list[str] | None, typer.Option("--account", metavar="ACCOUNT", help="Account to belong to.")
    ] = None,
    oidc_issuer: Annotated[
        str | None, typer.Option("--oidc-issuer", metavar="URL", help="Issuer of the user's logins.")
    ] = None,
    oidc_subject: Annotated[
        str | None, typer.Option("--oidc-subject", metavar="SUBJECT", help="The user's claim sub there.")
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    json_output: Json = False,
) -> None:
    """Make a user."""
    with reporting_errors(json_output):
        made = with_administration(
            config,
            data_dir,
            lambda admin: admin.create_user(
                name, accounts=account_names or [], oidc_issuer=oidc_issuer, oidc_subject=oidc_subject
            ),
        )
        print_made("user", made, json_output)


@user.command("list")
def list_users(data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """List the users."""
    from sideband.control.store import directory

    with reporting_errors(json_output):
        rows = with_store(config, data_dir, lambda store: store.reading(directory.list_users))
        print_rows("user", rows, ("id", "name", "oidc_subject", "created_at", "disabled_at"), json_output)


@user.command("disable")
def disable_user(name: UserName, data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """Disable a user: every credential of theirs is refused."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.set_user_disabled(name, True))
        print_made("user", made, json_output)


@user.command("enable")
def enable_user(name: UserName, data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """Enable a user again."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.set_user_disabled(name, False))
        print_made("user", made, json_output)


@user.command("create-token")
def create_token(
    name: UserName,
    ttl_days: Annotated[
        int | None, typer.Option("--ttl-days", metavar="DAYS", min=1, help="Days it is good for.")
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    json_output: Json = False,
) -> None:
    """Make a user token, shown this once; without --ttl-days it is good until it is revoked."""
    ttl = None if ttl_days is None else ttl_days * 86400
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.create_user_token(name, ttl_seconds=ttl))
        print_made("user_token", made, json_output)


@user.command("tokens")
def list_tokens(data_dir: DataDir = None, config: Config = None, json_output: Json = False) -> None:
    """List user tokens by their ids."""
    from sideband.control.store import directory

    with reporting_errors(json_output):
        rows = with_store(config, data_dir, lambda store: store.reading(directory.list_tokens))
        print_rows("user_token", rows, ("id", "user_id", "hint", "created_at", "expires_at", "revoked_at"), json_output)


@user.command("revoke-token")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN-ID", help="Id of the token, ut_...")],
    data_dir: DataDir = None,
    config: Config = None,
    json_output: Json = False,
) -> None:
    """Revoke a user token."""
    with reporting_errors(json_output):
        made = with_administration(config, data_dir, lambda admin: admin.revoke_user_token(token_id))
        print_made("user_token", made, json_output)
