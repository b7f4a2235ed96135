"""`sideband admin`: accounts, users, daemons, keys, sessions, audit, on the store of a data folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sideband.cli.admin_accounts import account, user
from sideband.cli.admin_daemons import daemon, key
from sideband.cli.admin_live import audit, session, signing_key
from sideband.cli.admin_output import print_made
from sideband.cli.admin_store import Config, DataDir, Json, with_administration
from sideband.cli.output import reporting_errors

if TYPE_CHECKING:
    from sideband.control.administration import Administration

__all__ = ["EPILOG", "app"]

EPILOG = """\b
Examples:
  sideband admin bootstrap                            an account, a user and a daemon, with their secrets
  sideband admin daemon create default --name cellar  another daemon, and its API key
  sideband admin user create-token admin              another token for a user
  sideband admin daemon list --json                   for a program
  sideband admin audit list --limit 20                what was done last

The data folder is that of `sideband serve` unless --data-dir or --config says otherwise.

Exit codes: 0 ok, 1 failure, 2 usage, 130 interrupted.
"""

app = typer.Typer(
    no_args_is_help=True,
    epilog=EPILOG,
    rich_markup_mode=None,
    help="Accounts, users, daemons, keys, sessions and audit of a server, by its data folder. A running server follows "
    "within seconds.",
)
app.add_typer(account, name="account")
app.add_typer(user, name="user")
app.add_typer(daemon, name="daemon")
app.add_typer(key, name="key")
app.add_typer(session, name="session")
app.add_typer(audit, name="audit")
app.add_typer(signing_key, name="signing-key")


@app.command("bootstrap")
def bootstrap(
    account_name: Annotated[
        str, typer.Option("--account", metavar="NAME", help="Name of the new account.")
    ] = "default",
    user_name: Annotated[str, typer.Option("--user", metavar="NAME", help="Name of the new user.")] = "admin",
    daemon_name: Annotated[str, typer.Option("--daemon", metavar="NAME", help="Name of the new daemon.")] = "daemon",
    data_dir: DataDir = None,
    config: Config = None,
    json_output: Json = False,
) -> None:
    """Make an account, a user with a token, and a daemon with an API key: enough to begin."""

    async def make(admin: Administration) -> dict[str, Any]:
        made_account = await admin.create_account(account_name)
        made_user = await admin.create_user(user_name, accounts=[account_name])
        made_token = await admin.create_user_token(made_user["id"])
        made_daemon = await admin.create_daemon(made_account["id"], name=daemon_name)
        return {
            "accountId": made_account["id"],
            "userId": made_user["id"],
            "token": made_token["token"],
            "daemonId": made_daemon["id"],
            "keyId": made_daemon["keyId"],
            "apiKey": made_daemon["apiKey"],
        }

    with reporting_errors(json_output):
        print_made("bootstrap", with_administration(config, data_dir, make), json_output)
