"""`sideband login`: store a user's token."""

from __future__ import annotations

import os
from pathlib import Path

from sideband.cli.running import run_command
from sideband.cli.target import ApiOption, JsonOption, TokenFileOption

__all__ = ["EPILOG", "login"]

EPILOG = """\b
Examples:
  sideband login --token-file token.txt               the token from a file
  pass show sideband-user | sideband login            or from another program
  sideband login --api https://sideband.example --token-file token.txt

`sideband admin user create-token` on the server makes a token. At a terminal it is asked for, and not shown.

Exit codes: 0 ok, 2 usage, 3 the token is refused, 5 the control plane cannot be reached, 130 interrupted.
"""


def login(token_file: TokenFileOption = None, api: ApiOption = None, json_output: JsonOption = False) -> None:
    """Check and store a user's token, with which the daemons of the account are reached by their ids."""
    run_command(_login(token_file, api, json_output=json_output), json_output=json_output)


async def _login(file: Path | None, api: str | None, *, json_output: bool) -> int:
    from sideband.cli import config
    from sideband.cli.output import print_event
    from sideband.cli.shown import shown
    from sideband.cloud import ControlPlane

    token = _token(file)
    address = config.api_url(api)
    daemons = await ControlPlane(address).list_accessible(token)
    stored = config.save_token(token)
    if api is not None:
        config.save_config(api_url=address, api_key=None)
    if json_output:
        listed = [{"daemon_id": each.id, "name": each.name, "online": each.online} for each in daemons]
        print_event("ready", api_url=address, credentials=str(stored), daemons=listed)
        return 0
    print(f"stored in {stored}")
    if not daemons:
        print("no daemon is open to this user yet")
    for each in daemons:
        print(f"  {each.id}  {'online ' if each.online else 'offline'}  {shown(each.name or '')}".rstrip())
    if daemons:
        print(f"next: sideband connect {daemons[0].id}")
    return 0


def _token(file: Path | None) -> str:
    from sideband.cli import config

    if file is None and not os.environ.get("SIDEBAND_TOKEN"):
        file = Path("-")
    return config.user_token(file)
