"""The boundary of every command: what an error says, and the code the process ends with."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sideband.cli.shown import shown_lines
from sideband.errors import (
    BridgeError,
    CloudApiError,
    ConfigError,
    IdentityRefusedError,
    InboxError,
    ProcessError,
    SbrpError,
    SbrpErrorCode,
    SidebandError,
    TokenError,
    TransportError,
)

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "EXIT_AUTHENTICATION",
    "EXIT_FAILURE",
    "EXIT_IDENTITY",
    "EXIT_INTERRUPTED",
    "EXIT_OFFLINE",
    "EXIT_OK",
    "EXIT_USAGE",
    "console",
    "error_text",
    "event_line",
    "exit_code",
    "print_error",
    "print_event",
    "reporting_errors",
]

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_AUTHENTICATION = 3
EXIT_IDENTITY = 4
EXIT_OFFLINE = 5
EXIT_INTERRUPTED = 130

_UNREACHABLE = ("connection_refused", "dns_failure", "timeout")


def exit_code(error: SidebandError) -> int:
    """Return the code for an error that ends a command: 1 failure, 2 usage, 3 authentication, 4 identity, 5 offline."""
    if isinstance(error, ProcessError):
        return error.exit_code
    if isinstance(error, ConfigError):
        return EXIT_USAGE
    if isinstance(error, TokenError):
        return EXIT_AUTHENTICATION
    if isinstance(error, CloudApiError):
        return EXIT_AUTHENTICATION if error.status in (401, 403) else EXIT_FAILURE
    if isinstance(error, InboxError):
        return EXIT_USAGE if error.code == "SHADE_VALIDATION" else EXIT_FAILURE
    if isinstance(error, BridgeError):
        if error.http_status == 401 or error.ws_close_code in (4401, 4403):
            return EXIT_AUTHENTICATION
        return EXIT_OFFLINE if error.kind in ("network", "timeout", "unavailable") else EXIT_FAILURE
    if isinstance(error, TransportError):
        if error.kind == "authentication_failed":
            return EXIT_AUTHENTICATION
        return EXIT_OFFLINE if error.kind in _UNREACHABLE else EXIT_FAILURE
    if isinstance(error, IdentityRefusedError):
        return EXIT_IDENTITY
    if isinstance(error, SbrpError):
        return {
            SbrpErrorCode.IDENTITY_KEY_CHANGED: EXIT_IDENTITY,
            SbrpErrorCode.UNAUTHORIZED: EXIT_AUTHENTICATION,
            SbrpErrorCode.FORBIDDEN: EXIT_AUTHENTICATION,
            SbrpErrorCode.DAEMON_OFFLINE: EXIT_OFFLINE,
        }.get(error.code, EXIT_FAILURE)
    return EXIT_FAILURE


def console(*, stderr: bool = False) -> Console:
    """Return a terminal that shows text to the letter: `:AB:` in a fingerprint is no emoji, `[x]` is no markup."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def print_event(event: str, **fields: Any) -> None:
    """Print one line of `--json` output."""
    print(event_line(event, **fields), flush=True)


def event_line(event: str, **fields: Any) -> str:
    """Return one line of `--json` output, in which nothing can steer a terminal."""
    content = {"v": 1, "event": event, **fields}
    text = json.dumps(content, ensure_ascii=False)
    # JSON itself escapes the first 32 control characters only.
    return text if text.isprintable() else json.dumps(content)


def print_error(error: SidebandError, *, json_output: bool) -> None:
    """Tell an error: a line on standard error for people, an event `error` on standard output for programs."""
    if json_output:
        print_event("error", error=type(error).__name__, message=str(error), exit_code=exit_code(error))
    else:
        print(f"error: {error_text(error)}", file=sys.stderr, flush=True)


def error_text(error: SidebandError) -> str:
    """Return what an error says to people, and what they can do about it."""
    return shown_lines(str(error)) + _advice(error)


def _advice(error: SidebandError) -> str:
    if isinstance(error, CloudApiError) and error.retry_after:
        return f"; try again in {error.retry_after:g} s"
    if isinstance(error, SbrpError) and error.code is SbrpErrorCode.DAEMON_OFFLINE:
        return "; `sideband daemon` connects it, on its machine"
    return ""


@contextmanager
def reporting_errors(json_output: bool) -> Iterator[None]:
    """Tell an error of this package that ends the block, and end the command with its exit code; Ctrl-C is 130."""
    import typer

    try:
        yield
    except SidebandError as error:
        print_error(error, json_output=json_output)
        raise typer.Exit(exit_code(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
