"""`sideband get`: fetch a file or a folder from a daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sideband.cli.direct_way import HostCandidatesOption, IceServersOption, Way, WayOption
from sideband.cli.output import EXIT_FAILURE, EXIT_OK, reporting_errors
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
from sideband.errors import ConfigError

if TYPE_CHECKING:
    from sideband.sharing.folders import FileOutcome, FolderTransfer

__all__ = ["EPILOG", "get", "report_folder", "tell_file"]

EPILOG = """\b
Examples:
  sideband get abcd-efgh-jkmn report.pdf         into this folder
  sideband get d_4pjqkx... backup.tar /mnt/      into another one
  sideband get -r d_4pjqkx... photos             a folder with all that is in it
  sideband get -r d_4pjqkx... photos old         the same, as the folder old
  sideband get -r d_4pjqkx... photos old/        the same, as old/photos
  sideband get -r d_4pjqkx... . copy             all that is shared, as the folder copy
  sideband get d_4pjqkx... film.mp4 --direct     only without the relay

A transfer that was interrupted goes on where it was when the same command is given again.

Exit codes: 0 ok, 1 failure, 2 usage, 3 authentication, 4 identity mismatch, 5 offline, 130 interrupted.
"""


def get(
    target: TargetArgument,
    path: Annotated[str, typer.Argument(metavar="PATH", help="File or folder, relative to what is shared.")],
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="Where it goes: a name, or a folder that takes it in.")
    ] = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="A folder, with all that is in it.")] = False,
    replace: Annotated[bool, typer.Option("--replace", "-f", help="Replace files that are there already.")] = False,
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
    """Fetch a file or a folder that a daemon shares. Every byte is checked before a file gets its name."""
    from sideband.peer.files import held_bytes

    with reporting_errors(json_output):
        to = _destination(path, destination, recursive=recursive)

    def kept() -> str:
        if recursive:
            return "what has come is kept; the same command goes on with the rest" if to.exists() else ""
        held = held_bytes(to)
        return f"{held:,} bytes are kept; the same command goes on there" if held else ""

    reach = Reach(target, api, token_file, timeout, trust, Way(direct, ice_server, host_candidates))
    output = TransferOutput(json_output=json_output)
    if recursive:
        command = _get_folder(reach, path, to, output, replace=replace)
    else:
        command = _get_file(reach, path, to, output, replace=replace, resume=resume)
    run_transfer(command, output, kept)


async def _get_file(reach: Reach, path: str, to: Path, output: TransferOutput, *, replace: bool, resume: bool) -> int:
    from sideband.sharing import get_file

    async with reach.peer() as peer:
        output.ready(peer)
        with output:
            done = await get_file(
                peer,
                path,
                to,
                resume=resume,
                exists="replace" if replace else "fail",
                progress=output.progress,
            )
            seconds = output.seconds
    output.event(
        "done", file=str(to), size=done.size, resumed_at=done.resumed_at, blake3=done.digest.hex(), seconds=seconds
    )
    output.line(f"{shown(str(to))}: {size_text(done.size - done.resumed_at, seconds)}, BLAKE3 {done.digest.hex()}")
    return EXIT_OK


async def _get_folder(reach: Reach, path: str, to: Path, output: TransferOutput, *, replace: bool) -> int:
    from sideband.sharing import get_folder

    async with reach.peer() as peer:
        output.ready(peer)
        with output:
            done = await get_folder(
                peer,
                path,
                to,
                exists="replace" if replace else "fail",
                progress=output.progress,
                on_file=lambda outcome: tell_file(output, outcome),
            )
            return report_folder(output, done, str(to))


def report_folder(output: TransferOutput, done: FolderTransfer, name: str) -> int:
    """Tell what became of a folder; return the exit code."""
    for path in done.left_out:
        output.note(f"left out {shown(path)}: neither a file nor a folder, or hidden")
    output.event(
        "done",
        folder=name,
        files=done.files,
        size=done.size,
        present=done.present,
        left_out=done.left_out,
        failed=len(done.failed),
        seconds=output.seconds,
    )
    there = f", {done.present:,} were there already" if done.present else ""
    failed = f", {len(done.failed):,} FAILED" if done.failed else ""
    output.line(f"{shown(name)}: {done.files:,} files, {size_text(done.size, output.seconds)}{there}{failed}")
    return EXIT_FAILURE if done.failed else EXIT_OK


def tell_file(output: TransferOutput, outcome: FileOutcome) -> None:
    """Tell what became of one file of a folder."""
    done = outcome.transfer
    output.event(
        "file",
        path=outcome.path,
        size=None if done is None else done.size,
        blake3=None if done is None else done.digest.hex(),
        present=done is None and outcome.error is None,
        error=None if outcome.error is None else str(outcome.error),
    )
    if outcome.error is not None:
        output.note(f"{shown(outcome.path)}: {shown(str(outcome.error))}")


def _destination(path: str, destination: str, *, recursive: bool) -> Path:
    from sideband.sharing.names import parse_path

    names = parse_path(path, allow_hidden=True)
    if not names and not recursive:
        raise ConfigError("that is a folder; fetch it with -r")
    if (not names and destination in ("", ".", "..")) or (not names and destination.endswith("/")):
        raise ConfigError("say as which folder all that is shared is to be stored: sideband get -r TARGET . DEST")
    to = Path(destination)
    # A folder's name says what the copy is called, whether it is there or not: so the same command goes on with it.
    inside = destination == "" or destination.endswith("/") or destination in (".", "..")
    if names and (inside or (to.is_dir() and not recursive)):
        to /= names[-1]
    return to
