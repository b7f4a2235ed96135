"""`sideband init`: make this machine ready to be a daemon."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sideband.cli.running import run_command
from sideband.cli.target import ApiOption, JsonOption

__all__ = ["EPILOG", "init"]

EPILOG = """\b
Examples:
  sideband init --api-key-file key.txt                        the key from a file
  pass show sideband | sideband init --api-key-file -         or from another program
  SIDEBAND_API_KEY=... sideband init                          or from the environment
  sideband init --api https://sideband.example --api-key-file key.txt

An identity key that is there already stays as it is.

Exit codes: 0 ok, 2 usage, 3 the key is refused, 5 the control plane cannot be reached, 130 interrupted.
"""


def init(
    api_key: Annotated[
        str | None, typer.Option("--api-key", metavar="KEY", help="The API key; other users can see it in `ps`.")
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option("--api-key-file", metavar="FILE", help="File that holds the API key; - for standard input."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What people call this daemon.")] = None,
    api: ApiOption = None,
    json_output: JsonOption = False,
) -> None:
    """Check and store a daemon's API key, and make its identity key."""
    run_command(_init(api_key, api_key_file, name, api, json_output=json_output), json_output=json_output)


async def _init(given: str | None, file: Path | None, name: str | None, api: str | None, *, json_output: bool) -> int:
    from sideband.cli import config
    from sideband.cli.output import print_event
    from sideband.cloud import ControlPlane
    from sideband.errors import ConfigError
    from sideband.identity import FileIdentity

    if given is not None and file is not None:
        raise ConfigError("--api-key and --api-key-file exclude each other")
    if given is not None:
        print("note: other users of this machine can see --api-key in `ps`; prefer --api-key-file", file=sys.stderr)
    key = given or config.api_key(file)
    address = config.api_url(api)
    identity = FileIdentity(config.identity_path())
    # The key is stored only once the control plane has taken it: what was there before goes on working until then.
    registered = await ControlPlane(address).register(key, identity.public_key, name=name)
    stored = config.save_config(api_url=address, api_key=key)
    if json_output:
        print_event(
            "ready",
            daemon_id=registered.daemon_id,
            fingerprint=identity.fingerprint,
            identity_created=identity.created,
            api_url=address,
            config=str(stored),
        )
        return 0
    print(f"daemon       {registered.daemon_id}")
    print(f"fingerprint  {identity.fingerprint}{' (new)' if identity.created else ''}")
    print(f"stored in    {stored}")
    print(f"next         sideband daemon --share {'.' if os.name != 'nt' else 'FOLDER'}")
    return 0
