"""`sideband serve`: control plane and relay."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sideband.cli.output import EXIT_INTERRUPTED, EXIT_OK, print_event, reporting_errors
from sideband.errors import ConfigError

if TYPE_CHECKING:
    from sideband.server.endpoints import Endpoints
    from sideband.server.settings import ServerSettings

__all__ = ["EPILOG", "serve"]

EPILOG = """\b
Examples:
  sideband serve                                     loopback, SQLite, port 8080
  sideband serve --port 0 --json                     a free port, its URL in the first line
  sideband serve --config /etc/sideband/server.toml --check

On loopback a new server makes a first daemon and a first user, and prints the commands that use them.

Exit codes: 0 ended by SIGTERM, 1 failure, 2 usage, 130 interrupted.
"""


def serve(
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="TOML file with the settings.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Folder of the store and the secrets.")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on [127.0.0.1].")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", help="Port to listen on, 0 for a free one [8080].")
    ] = None,
    public_url: Annotated[
        str | None, typer.Option("--public-url", metavar="URL", help="Where clients reach this server.")
    ] = None,
    private_port: Annotated[
        int | None,
        typer.Option(
            "--private-port", metavar="PORT", help="Port of health, metrics and admin, 0 for a free one [9464]."
        ),
    ] = None,
    no_private: Annotated[bool, typer.Option("--no-private", help="No private port.")] = False,
    tls_certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", metavar="FILE", help="PEM certificate chain.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="PEM private key.")] = None,
    log_level: Annotated[
        str | None, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
    ] = None,
    relay_only: Annotated[bool, typer.Option("--relay-only", help="Only the relay; needs an issuer.")] = False,
    control_only: Annotated[bool, typer.Option("--control-only", help="Only the control plane.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Validate the settings, print what is in force, end.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="One JSON object a line; the first is ready.")] = False,
) -> None:
    """Run the control plane and the relay in one process, with SQLite unless told otherwise.

    Settings come from a TOML file, the environment (SIDEBAND_SERVER_...) and flags, in rising order.
    """
    from sideband.server.settings import load_settings

    flags: dict[str, Any] = {
        "data_dir": data_dir,
        "public_url": public_url,
        "listen": {"host": host, "port": port, "tls_certificate": tls_certificate, "tls_key": tls_key},
        "private": {"port": private_port, "enabled": False if no_private else None},
        "log": {"level": log_level},
        "planes": "relay" if relay_only else "control" if control_only else None,
    }
    with reporting_errors(json_output):
        if relay_only and control_only:
            raise ConfigError("--relay-only and --control-only exclude each other")
        settings = load_settings(config, flags)
        if check:
            from sideband.server.service import check as check_what_they_name

            check_what_they_name(settings)
            _print_settings(settings, json_output)
            return
        from sideband.server.logs import configure_logs

        configure_logs(settings.log)
        code = asyncio.run(_run(settings, json_output))
    raise typer.Exit(code)


async def _run(settings: ServerSettings, json_output: bool) -> int:
    from sideband.server.service import run

    stop = asyncio.Event()
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        stop.set()
        if len(received) > 1:
            # Asked twice: whoever asks does not want to wait for connections to end well.
            serving.cancel()

    serving = asyncio.create_task(run(settings, ready=lambda endpoints: _announce(endpoints, json_output), stop=stop))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, end, number)
        except NotImplementedError:  # Windows: Ctrl-C arrives as KeyboardInterrupt instead
            break
    try:
        await serving
    except asyncio.CancelledError:
        if len(received) < 2:
            raise
    return EXIT_INTERRUPTED if signal.SIGINT in received else EXIT_OK


def _announce(endpoints: Endpoints, json_output: bool) -> None:
    from sideband.cloud.defaults import DEFAULT_API_URL
    from sideband.server.first_account import API_KEY_FILE, TOKEN_FILE, first_credentials

    first = first_credentials(endpoints.data_dir)
    if json_output:
        print_event(
            "ready",
            url=endpoints.url,
            relay_url=endpoints.relay_url,
            private_url=endpoints.private_url,
            data_dir=str(endpoints.data_dir),
            api_key_file=None if first is None else str(first / API_KEY_FILE),
            token_file=None if first is None else str(first / TOKEN_FILE),
        )
        return
    print(f"sideband serves at {endpoints.url} (relay {endpoints.relay_url})", file=sys.stderr)
    if endpoints.private_url:
        print(f"health, metrics, admin: {endpoints.private_url}", file=sys.stderr)
    print(f"data folder: {endpoints.data_dir}", file=sys.stderr)
    if first is None:
        print("first steps: sideband admin bootstrap --help; stop with Ctrl-C", file=sys.stderr, flush=True)
        return
    api = "" if endpoints.url == DEFAULT_API_URL else f" --api {endpoints.url}"
    commands = (
        ("a daemon's key, once:", f"sideband init{api} --api-key-file {_quoted(first / API_KEY_FILE)}"),
        ("a daemon:", "sideband daemon --share ."),
        ("a client, with its code:", f"sideband get{api} CODE FILE"),
    )
    for what, command in commands:
        print(f"  {what:<25} {command}", file=sys.stderr)
    print("stop with Ctrl-C", file=sys.stderr, flush=True)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path)) if os.name == "posix" else f'"{path}"'


def _print_settings(settings: ServerSettings, json_output: bool) -> None:
    shown = settings.model_dump(mode="json")
    if json_output:
        print_event("ready", settings=shown)
        return
    print(json.dumps(shown, indent=2))
