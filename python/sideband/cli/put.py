"""`sideband put`: send a file or a folder to a daemon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sideband.cli.direct_way import HostCandidatesOption, IceServersOption, Way, WayOption
from sideband.cli.get import report_folder, tell_file
from sideband.cli.output import EXIT_OK, reporting_errors
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
from sideband.cli.transfer_output import TransferOutput, size_text
from sideband.errors import ConfigError, FileTransferError

if TYPE_CHECKING:
    from sideband.peer import Peer

__all__ = ["EPILOG", "put"]

EPILOG = """\b
Examples:
  sideband put abcd-efgh-jkmn report.pdf         under the same name
  sideband put d_4pjqkx... a.tar backups/        into a folder
  sideband put -r d_4pjqkx... photos             a folder with all that is in it
  sideband put -r d_4pjqkx... photos old/2024    the same, as the folder old/2024
  sideband put d_4pjqkx... a.tar --direct        only without the relay

The daemon has to share for writing: sideband daemon --share DIR --writable.
A transfer that was interrupted goes on where it was when the same command is given again.

Exit codes: 0 ok, 1 failure, 2 usage, 3 authentication, 4 identity mismatch, 5 offline, 130 interrupted.
"""

_KEPT = "what the other side has is kept there; the same command goes on"


def put(
    target: TargetArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="File or folder.")],
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="Where it goes, relative to what is shared: a name, or a folder that takes it in."
        ),
    ] = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="A folder, with all that is in it.")] = False,
    replace: Annotated[bool, typer.Option("--replace", "-f", help="Replace files that are there already.")] = False,
    parents: Annotated[
        bool, typer.Option("--parents", "-p", help="Make the folders of PATH that are missing.")
    ] = False,
    hidden: Annotated[bool, typer.Option("--hidden", help="With -r: names that begin with a dot too.")] = False,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on with what an earlier try left.")] = True,
    direct: WayOption = None,
    ice_server: IceServersOption = None,
    host_candidates: HostCandidatesOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    timeout: TimeoutOption = CONNECT_SECONDS,
    trust: TrustOption = "accept-new",
    json_output: JsonOption = False,
) -> None:
    """Send a file or a folder to a daemon. Every byte is checked there before a file gets its name."""
    with reporting_errors(json_output):
        source = _source(file, recursive=recursive)
        name = _name(source, path)
    reach = Reach(target, api, token_file, timeout, trust, Way(direct, ice_server, host_candidates))
    output = TransferOutput(json_output=json_output)
    if recursive:
        command = _put_folder(reach, source, name, output, replace=replace, hidden=hidden)
    else:
        inside = not path.endswith("/") and path != ""
        command = _put_file(
            reach, source, name, output, replace=replace, parents=parents, resume=resume, perhaps_inside=inside
        )
    run_transfer(command, output, lambda: _KEPT if output.begun else "")


async def _put_file(
    reach: Reach,
    source: Path,
    name: str,
    output: TransferOutput,
    *,
    replace: bool,
    parents: bool,
    resume: bool,
    perhaps_inside: bool,
) -> int:
    from sideband.sharing import put_file

    async with reach.peer() as peer:
        output.ready(peer)
        if perhaps_inside and await _is_folder(peer, name):
            name = f"{name}/{source.name}"
        with output:
            done = await put_file(
                peer,
                source,
                name,
                resume=resume,
                exists="replace" if replace else "fail",
                parents=parents,
                progress=output.progress,
            )
            seconds = output.seconds
    output.event(
        "done", file=name, size=done.size, resumed_at=done.resumed_at, blake3=done.digest.hex(), seconds=seconds
    )
    output.line(f"{shown(name)}: {size_text(done.size - done.resumed_at, seconds)}, BLAKE3 {done.digest.hex()}")
    return EXIT_OK


async def _put_folder(
    reach: Reach, source: Path, name: str, output: TransferOutput, *, replace: bool, hidden: bool
) -> int:
    from sideband.sharing import put_folder

    async with reach.peer() as peer:
        output.ready(peer)
        with output:
            done = await put_folder(
                peer,
                source,
                name,
                exists="replace" if replace else "fail",
                allow_hidden=hidden,
                progress=output.progress,
                on_file=lambda outcome: tell_file(output, outcome),
            )
            return report_folder(output, done, name or ".")


async def _is_folder(peer: Peer, path: str) -> bool:
    from sideband.sharing import list_folder

    try:
        await list_folder(peer, path)
    except FileTransferError as error:
        if error.code != "not_found":
            raise
        return False
    return True


def _source(file: str, *, recursive: bool) -> Path:
    source = Path(file)
    if not os.path.lexists(source):
        raise FileTransferError("not_found", f"{file}: there is no such file")
    if source.is_dir() and not recursive:
        raise ConfigError(f"{file} is a folder; send it with -r")
    if recursive and not source.is_dir():
        raise ConfigError(f"{file} is no folder; leave out -r")
    return source


def _name(source: Path, path: str) -> str:
    from sideband.sharing.names import parse_path

    own = source.resolve().name if source.name in ("", ".", "..") else source.name
    name = f"{path}{own}" if path == "" or path.endswith("/") else path
    if path == "./" or path == ".":
        name = own
    return "/".join(parse_path(name, allow_hidden=True))
