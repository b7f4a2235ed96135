"""What the environment tells the examples: who a daemon is, or whom a client reaches and as whom.

SIDEBAND_API_KEY        for a daemon: its API key, or
SIDEBAND_API_KEY_FILE   a file that holds it
SIDEBAND_TOKEN          for a client: a user's token, with
SIDEBAND_DAEMON         the daemon to reach; or
SIDEBAND_CODE           a Quick Connect code, which opens one session
"""

import os
from pathlib import Path
from typing import Any

from sideband import FileIdentity, cloud


def daemon() -> dict[str, Any]:
    """Return what `cloud.listen` needs to be the daemon that the API key belongs to."""
    file = os.environ.get("SIDEBAND_API_KEY_FILE")
    key = Path(file).read_text().strip() if file else _required("SIDEBAND_API_KEY", "the daemon's API key")
    return {"api_key": key, "identity_key_pair": FileIdentity(cloud.default_home() / "identity.json")}


def client() -> dict[str, Any]:
    """Return what `cloud.connect` needs to reach the daemon that is named, or the one that made the code."""
    code = os.environ.get("SIDEBAND_CODE")
    if code:
        return {"quick_connect_code": code}
    return {"daemon_id": _required("SIDEBAND_DAEMON", "the daemon's id, d_..."), "get_access_token": token}


def token() -> str:
    """Return the user's token."""
    return _required("SIDEBAND_TOKEN", "a user's token, or SIDEBAND_CODE to a Quick Connect code")


async def online_daemons() -> list[str]:
    """Return the ids of the daemons that are online and open to the user."""
    return [daemon.id for daemon in await cloud.ControlPlane().list_accessible(token()) if daemon.online]


def _required(variable: str, what: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise SystemExit(f"set {variable} to {what}; examples/README.md shows where it comes from")
    return value
