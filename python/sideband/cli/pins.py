"""`sideband pins`: the identity keys of daemons that this machine has pinned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sideband.cli.running import run_command
from sideband.cli.target import CONNECT_SECONDS, ApiOption, JsonOption, TargetArgument, TimeoutOption, TokenFileOption

if TYPE_CHECKING:
    from sideband.identity import FileIdentityKeyStore

__all__ = ["EPILOG", "app"]

EPILOG = """\b
Examples:
  sideband pins                                       all of them
  sideband pins verify d_4pjqkx... SHA256:AB:CD...    is this the one that is pinned?
  sideband pins accept d_4pjqkx... SHA256:AB:CD...    accept a key that has changed
  sideband pins remove d_4pjqkx...                    forget it: the next key is taken for the first

Compare fingerprints by another way than this connection: by telephone, or in person.

Exit codes: 0 ok, 1 failure, 2 usage, 3 authentication, 4 another key, 5 offline, 130 interrupted.
"""

app = typer.Typer(name="pins", invoke_without_command=True, epilog=EPILOG, rich_markup_mode=None)

Daemon = Annotated[str, typer.Argument(metavar="DAEMON", help="The daemon's id.")]
Fingerprint = Annotated[str, typer.Argument(metavar="FINGERPRINT", help="SHA256: and 32 pairs of hex digits.")]


@app.callback()
def list_pins(context: typer.Context, json_output: JsonOption = False) -> None:
    """List pinned keys; other words look into them or change them."""
    if context.invoked_subcommand is None:
        run_command(_list(json_output=json_output), json_output=json_output)


@app.command(epilog=EPILOG)
def verify(daemon: Daemon, fingerprint: Fingerprint, json_output: JsonOption = False) -> None:
    """Compare a fingerprint with the pinned key: 0 when it is that one, 4 when it is not."""
    run_command(_verify(daemon, fingerprint, json_output=json_output), json_output=json_output)


@app.command(epilog=EPILOG)
def remove(daemon: Daemon, json_output: JsonOption = False) -> None:
    """Forget a pinned key."""
    run_command(_remove(daemon, json_output=json_output), json_output=json_output)


@app.command(epilog=EPILOG)
def accept(
    target: TargetArgument,
    fingerprint: Fingerprint,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    timeout: TimeoutOption = CONNECT_SECONDS,
    json_output: JsonOption = False,
) -> None:
    """Connect once, and pin the key that the daemon proves to have if it is this one."""
    run_command(
        _accept(target, fingerprint, api, token_file, timeout, json_output=json_output), json_output=json_output
    )


async def _list(*, json_output: bool) -> int:
    from sideband._native import compute_fingerprint
    from sideband.cli.output import print_event
    from sideband.cli.shown import shown

    pins = await _store().entries()
    if json_output:
        print_event("ready", pins=len(pins))
    for daemon, key in sorted(pins.items()):
        if json_output:
            print_event("pin", daemon_id=daemon, fingerprint=compute_fingerprint(key))
        else:
            print(f"{shown(daemon)}  {compute_fingerprint(key)}")
    if not pins and not json_output:
        print("nothing is pinned yet; the first connection to a daemon pins its key")
    return 0


async def _verify(daemon: str, fingerprint: str, *, json_output: bool) -> int:
    from sideband._native import compute_fingerprint
    from sideband.cli.output import EXIT_FAILURE, EXIT_IDENTITY, print_event
    from sideband.cli.target import checked_fingerprint

    wanted = checked_fingerprint(fingerprint)
    key = await _store().get(daemon)
    pinned = None if key is None else compute_fingerprint(key)
    if json_output:
        print_event("ready", done="verified", daemon_id=daemon, pinned=pinned, matches=pinned == wanted)
    elif pinned is None:
        print("nothing is pinned for this daemon")
    else:
        print("this is the pinned key" if pinned == wanted else f"another key is pinned: {pinned}")
    return EXIT_FAILURE if pinned is None else 0 if pinned == wanted else EXIT_IDENTITY


async def _remove(daemon: str, *, json_output: bool) -> int:
    from sideband.cli.output import EXIT_FAILURE, print_event

    store = _store()
    held = await store.get(daemon) is not None
    await store.delete(daemon)
    if json_output:
        print_event("ready", done="removed", daemon_id=daemon, held=held)
    else:
        print("forgotten: the next key it shows is pinned" if held else "nothing was pinned for this daemon")
    return 0 if held else EXIT_FAILURE


async def _accept(
    target: str, fingerprint: str, api: str | None, token_file: object, timeout: float, *, json_output: bool
) -> int:
    from sideband.cli.output import print_event
    from sideband.cli.target import open_peer, resolve_target

    async with open_peer(
        resolve_target(target),
        api=api,
        token_file=token_file,  # type: ignore[arg-type]  # a Path, or None
        timeout=timeout,
        accept=fingerprint,
    ) as peer:
        if json_output:
            print_event("ready", done="accepted", fingerprint=peer.fingerprint)
        else:
            print(f"pinned  {peer.fingerprint}")
    return 0


def _store() -> FileIdentityKeyStore:
    from sideband.cli import config
    from sideband.identity import FileIdentityKeyStore

    return FileIdentityKeyStore(config.pins_folder())
