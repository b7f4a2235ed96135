"""`sideband daemon`: a daemon that shares a folder, and is reached by a code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sideband.cli import config
from sideband.cli.direct_way import HostCandidatesOption, IceServersOption, Way
from sideband.cli.output import EXIT_IDENTITY, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, reporting_errors
from sideband.cli.running import closed_pipe_is_an_end
from sideband.cli.target import ApiOption, JsonOption
from sideband.errors import CloudApiError, ConfigError, ProcessError, TransportError

if TYPE_CHECKING:
    from sideband.cli.daemon_output import DaemonOutput, Shared
    from sideband.cli.daemon_run import DaemonSettings

__all__ = ["EPILOG", "daemon"]

EPILOG = """\b
Examples:
  sideband daemon                            run, and show a code to connect with
  sideband daemon --share .                  let clients list and get the files here
  sideband daemon --share in --writable      let them put files there too
  sideband daemon --share . --once           end when the first client has gone
  sideband daemon --share . --direct         clients that can reach it may leave the relay
  sideband daemon --direct --ice-server stun:stun.example:3478 --no-host-candidates
                                             the same from behind a NAT, without telling its own addresses
  sideband daemon --no-codes --json          for users of the account only; events for a program

The API key comes from --api-key-file, SIDEBAND_API_KEY, or what `sideband init` has stored.

Exit codes: 0 ended by SIGTERM or --once, 2 usage, 3 the key is refused, 4 another identity,
130 interrupted.
"""

_REPLACED = 4001
_ANOTHER_IDENTITY = 409


def daemon(
    share: Annotated[
        Path | None, typer.Option("--share", metavar="DIR", help="Folder that clients may list and get.")
    ] = None,
    writable: Annotated[bool, typer.Option("--writable", help="Clients may put files there too.")] = False,
    hidden: Annotated[bool, typer.Option("--hidden", help="Names that begin with a dot are shared too.")] = False,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What people call this daemon.")] = None,
    api: ApiOption = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option("--api-key-file", metavar="FILE", help="File that holds the API key; - for standard input."),
    ] = None,
    codes: Annotated[
        bool | None,
        typer.Option("--codes/--no-codes", help="Keep a Quick Connect code [on a terminal and with --json]."),
    ] = None,
    qr: Annotated[bool, typer.Option("--qr/--no-qr", help="Draw codes where there is room.")] = True,
    once: Annotated[bool, typer.Option("--once", help="End when the first client has gone.")] = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="Clients that can reach this machine may leave the relay.")
    ] = False,
    ice_server: IceServersOption = None,
    host_candidates: HostCandidatesOption = None,
    log_level: Annotated[
        str, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
    ] = "warning",
    json_output: JsonOption = False,
) -> None:
    """Run a daemon: other machines reach this one through the relay, end-to-end encrypted.

    It prints its id and key, and a Quick Connect code that opens one connection; a new one follows when that was used,
    or 30 s before it expires. Then one line for each connection. Ctrl-C ends it in good order.
    """
    with closed_pipe_is_an_end(), reporting_errors(json_output):
        from sideband.cli.daemon_output import EventOutput, LineOutput

        shared = _shared(share, writable=writable, hidden=hidden)
        if codes is None:
            # What a service prints is kept in a log, and a code is a secret as long as it lives.
            codes = json_output or sys.stdout.isatty()
        way = Way(direct, ice_server, host_candidates)
        settings = _settings(api, api_key_file, name, shared, codes=codes, once=once, way=way)
        _log_to_standard_error(log_level)
        output = EventOutput() if json_output else LineOutput(qr=qr)
        code = asyncio.run(_run(settings, output))
    raise typer.Exit(code)


async def _run(settings: DaemonSettings, output: DaemonOutput) -> int:
    from sideband.cli.daemon_run import run_daemon

    loop = asyncio.get_running_loop()
    stop: asyncio.Future[str] = loop.create_future()
    running = asyncio.create_task(run_daemon(settings, output, stop))

    def end(number: signal.Signals) -> None:
        if stop.done():
            # Asked twice: whoever asks does not want to wait for connections to end well.
            running.cancel()
        else:
            stop.set_result(number.name)

    if os.name != "nt":  # Ctrl-C arrives there as KeyboardInterrupt instead
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup has asked for hangups to be ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, end, number)
    try:
        await running
    except asyncio.CancelledError:
        if not stop.done():
            raise
    except TransportError as error:
        if error.close_code == _REPLACED:
            # Nothing that trying again would mend: two services that did would take the connection from each other.
            raise ProcessError(str(error), exit_code=EXIT_USAGE) from error
        raise
    except CloudApiError as error:
        if error.status == _ANOTHER_IDENTITY:
            raise ProcessError(
                f"{error}; the one here is {settings.identity.fingerprint}, of {settings.identity.path}",
                exit_code=EXIT_IDENTITY,
            ) from error
        raise
    return EXIT_INTERRUPTED if stop.done() and stop.result() == signal.SIGINT.name else EXIT_OK


def _shared(root: Path | None, *, writable: bool, hidden: bool) -> Shared | None:
    from sideband.cli.daemon_output import Shared

    if root is None:
        if writable or hidden:
            raise ConfigError("--writable and --hidden say how a folder is shared; name it with --share")
        return None
    if not root.is_dir():
        raise ConfigError(f"--share takes a folder; {root} is none")
    return Shared(root.resolve(), writable, hidden)


def _settings(
    api: str | None,
    api_key_file: Path | None,
    name: str | None,
    shared: Shared | None,
    *,
    codes: bool,
    once: bool,
    way: Way,
) -> DaemonSettings:
    from sideband.cli.daemon_run import DaemonSettings
    from sideband.identity import FileIdentity

    return DaemonSettings(
        api_url=config.api_url(api),
        api_key=config.api_key(api_key_file),
        identity=FileIdentity(config.identity_path()),
        name=name,
        shared=shared,
        codes=codes,
        once=once,
        peer_options=way.daemon_options(),
    )


def _log_to_standard_error(level: str) -> None:
    from sideband.cli.service_notice import JournalFormatter

    names = {"debug", "info", "warning", "error"}
    if level not in names:
        raise ConfigError(f"--log-level is one of {', '.join(sorted(names))}; got {level!r}")
    handler = logging.StreamHandler()
    # systemd sets it for what it starts, and keeps the time of each line itself.
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s  %(levelname)s: %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("sideband")
    logger.addHandler(handler)
    logger.setLevel(level.upper())
