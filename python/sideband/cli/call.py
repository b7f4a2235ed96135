"""`sideband call`: one call to a daemon."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from sideband.cli.blocking_streams import waiting_for_input
from sideband.cli.direct_way import HostCandidatesOption, IceServersOption, RelayFirstOption, Way
from sideband.cli.running import run_command
from sideband.cli.target import (
    CONNECT_SECONDS,
    ApiOption,
    JsonOption,
    TargetArgument,
    TimeoutOption,
    TokenFileOption,
    TrustOption,
)

__all__ = ["EPILOG", "call"]

EPILOG = """\b
Examples:
  sideband call d_4pjqkx... greet '"Ada"'            one parameter
  sideband call abcd-efgh-jkmn add '{"a": 1, "b": 2}' several, by name
  sideband call d_4pjqkx... store - < record.json    from standard input
  sideband call d_4pjqkx... '$sideband/info'         what every daemon answers
  sideband call d_4pjqkx... greet --direct           only without the relay

Prints the result as JSON. A daemon's error is told on standard error.

Exit codes: 0 ok, 1 failure, 2 usage, 3 authentication, 4 identity mismatch, 5 offline, 130 interrupted.
"""

MAX_INPUT_BYTES = 16 * 1024 * 1024


def call(
    target: TargetArgument,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Name of the method.")],
    params: Annotated[str | None, typer.Argument(metavar="JSON", help="Its parameters; - for standard input.")] = None,
    call_timeout: Annotated[
        float, typer.Option("--call-timeout", metavar="SECONDS", min=0.1, help="How long the answer may take.")
    ] = 60.0,
    direct: RelayFirstOption = None,
    ice_server: IceServersOption = None,
    host_candidates: HostCandidatesOption = None,
    timeout: TimeoutOption = CONNECT_SECONDS,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    trust: TrustOption = "accept-new",
    json_output: JsonOption = False,
) -> None:
    """Call a method of a daemon, and print what it returns as JSON."""
    how: dict[str, Any] = {"api": api, "token_file": token_file, "timeout": timeout, "trust": trust}
    how["way"] = Way(direct or False, ice_server, host_candidates)
    run_command(_call(target, method, params, call_timeout, how, json_output=json_output), json_output=json_output)


async def _call(
    target: str, method: str, params: str | None, call_timeout: float, how: dict[str, Any], *, json_output: bool
) -> int:
    from sideband.cli.output import print_event
    from sideband.cli.target import open_peer, resolve_target
    from sideband.protocol.connection import MISSING

    whom = resolve_target(target)
    value = MISSING if params is None else _parse(params)
    async with open_peer(whom, **how) as peer:
        if json_output:
            print_event("ready", fingerprint=peer.fingerprint, path=peer.path)
        result = await peer.rpc.call(method, value, timeout=call_timeout)
    if json_output:
        print_event("result", value=plain(result))
    else:
        # JSON escapes what could steer a terminal.
        print(json.dumps(plain(result), indent=2 if sys.stdout.isatty() else None))
    return 0


def plain(value: Any) -> Any:
    """Return a result so that JSON can carry it: bytes become `{"$bytes": base64}`."""
    import base64

    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def _parse(params: str) -> Any:
    from sideband.errors import ConfigError

    text = params
    if params == "-":
        with waiting_for_input():
            text = sys.stdin.read(MAX_INPUT_BYTES + 1)
        if len(text) > MAX_INPUT_BYTES:
            raise ConfigError(f"the parameters on standard input are over {MAX_INPUT_BYTES} bytes; use a stream")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        hint = f"""; a text needs quotes of its own: '"{params[:40]}"'""" if params.isalnum() else ""
        raise ConfigError(f"the parameters are no JSON{hint}") from None
