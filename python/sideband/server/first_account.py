"""The account that a new server begins with, so that nothing has to be set up on one machine."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from sqlalchemy import func, select

from sideband.control.administration import Administration
from sideband.control.plane import ControlPlane
from sideband.control.store import schema
from sideband.identity.private_file import create_private, make_private_folder

__all__ = ["API_KEY_FILE", "FIRST_FOLDER", "TOKEN_FILE", "first_credentials", "make_first_account"]

FIRST_FOLDER = "first"
"""In the data folder: the secrets of the first daemon and of the first user."""
API_KEY_FILE = "api-key"
TOKEN_FILE = "token"  # noqa: S105  (a file's name)
_NAME = "first"


async def make_first_account(plane: ControlPlane, data_dir: Path, host: str) -> None:
    """Make an account with a daemon and a user where a store has none and only this machine can reach the server.

    Their secrets go to files of mode 0600 in the data folder, nowhere else. A server that others can reach begins
    without any account: whoever runs it decides on the first one (`sideband admin bootstrap`).

    Raises:
        IdentityStoreError: the files cannot be written.
    """
    folder = data_dir / FIRST_FOLDER
    if not _is_loopback(host) or folder.exists():
        return
    async with plane.database.read() as connection:
        if await connection.scalar(select(func.count()).select_from(schema.accounts)):
            return
    make_private_folder(folder)
    admin = Administration(plane.database, plane.secret, actor="server", now=plane.now())
    account = await admin.create_account(_NAME)
    user = await admin.create_user(_NAME, accounts=[_NAME])
    daemon = await admin.create_daemon(account["id"], name=_NAME)
    token = await admin.create_user_token(user["id"])
    create_private(folder / API_KEY_FILE, daemon["apiKey"].encode() + b"\n")
    create_private(folder / TOKEN_FILE, token["token"].encode() + b"\n")


def first_credentials(data_dir: Path) -> Path | None:
    """Return the folder with the secrets of the first account, while they are there."""
    folder = data_dir / FIRST_FOLDER
    return folder if (folder / API_KEY_FILE).is_file() else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
