"""`sideband ls`: what a daemon shares."""

from __future__ import annotations

import stat
import time
from typing import TYPE_CHECKING, Annotated

import typer

from sideband.cli.direct_way import HostCandidatesOption, IceServersOption, RelayFirstOption, Way
from sideband.cli.output import EXIT_OK
from sideband.cli.shown import shown
from sideband.cli.target import (
    CONNECT_SECONDS,
    ApiOption,
    JsonOption,
    TargetArgument,
    TimeoutOption,
    TokenFileOption,
    TrustOption,
)
from sideband.cli.transfer_command import Reach, run_transfer
from sideband.cli.transfer_output import TransferOutput

if TYPE_CHECKING:
    from sideband.peer import Peer
    from sideband.sharing import FileEntry

__all__ = ["EPILOG", "ls"]

EPILOG = """\b
Examples:
  sideband ls abcd-efgh-jkmn                 what the daemon shares
  sideband ls d_4pjqkx... photos/2024        one folder
  sideband ls d_4pjqkx... --direct           only without the relay
  sideband ls d_4pjqkx... --json             for a program

Exit codes: 0 ok, 1 failure, 2 usage, 3 authentication, 4 identity mismatch, 5 offline, 130 interrupted.
"""


def ls(
    target: TargetArgument,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Folder or file, relative to what is shared.")] = "",
    direct: RelayFirstOption = None,
    ice_server: IceServersOption = None,
    host_candidates: HostCandidatesOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    timeout: TimeoutOption = CONNECT_SECONDS,
    trust: TrustOption = "accept-new",
    json_output: JsonOption = False,
) -> None:
    """List a folder that a daemon shares, like `ls -l`: mode, bytes, time and name."""
    output = TransferOutput(json_output=json_output, bar=False)
    reach = Reach(target, api, token_file, timeout, trust, Way(direct or False, ice_server, host_candidates))
    run_transfer(_list(reach, path, output), output)


async def _list(reach: Reach, path: str, output: TransferOutput) -> int:
    async with reach.peer() as peer:
        output.ready(peer)
        entries = await _entries(peer, path)
    width = max((len(str(entry.size)) for entry in entries), default=0)
    for entry in entries:
        output.event("entry", **entry.encode())
        output.line(_line(entry, width))
    output.event("done", entries=len(entries))
    return EXIT_OK


async def _entries(peer: Peer, path: str) -> list[FileEntry]:
    from sideband.errors import FileTransferError
    from sideband.sharing import list_folder

    try:
        return await list_folder(peer, path)
    except FileTransferError as error:
        folder, _, name = path.rstrip("/").rpartition("/")
        if error.code != "not_found" or not name:
            raise
        # Perhaps it is a file: its folder tells.
        found = [entry for entry in await list_folder(peer, folder) if entry.name == name]
        if not found:
            raise
        return found


def _line(entry: FileEntry, width: int) -> str:
    kind = {"file": stat.S_IFREG, "folder": stat.S_IFDIR, "link": stat.S_IFLNK, "other": 0}[entry.kind]
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.mtime / 1000))
    name = shown(entry.name) + ("/" if entry.kind == "folder" else "")
    return f"{stat.filemode(kind | entry.mode)} {entry.size:>{width}} {when} {name}"
