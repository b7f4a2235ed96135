"""How a command runs and ends: signals, errors, a reader that goes away."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from sideband.cli.output import EXIT_FAILURE, EXIT_INTERRUPTED, exit_code, print_error, print_event
from sideband.errors import SidebandError

__all__ = ["closed_pipe_is_an_end", "run_command", "run_to_end"]


def run_command(command: Coroutine[Any, Any, int], *, json_output: bool) -> NoReturn:
    """Run a command, and end the process with its exit code.

    Ctrl-C, SIGTERM and a hangup end it in good order with 130; a closed pipe on standard output silently with 1.

    Args:
        command: returns the exit code.
        json_output: errors, and the interruption, are events.
    """

    def interrupted() -> None:
        if json_output:
            print_event("interrupted")
        else:
            print("interrupted", file=sys.stderr, flush=True)

    run_to_end(command, lambda error: print_error(error, json_output=json_output), interrupted)


def run_to_end(
    command: Coroutine[Any, Any, int], on_error: Callable[[SidebandError], None], on_interrupt: Callable[[], None]
) -> NoReturn:
    """Run a command, and end the process with its exit code, as `run_command` does.

    Args:
        command: returns the exit code.
        on_error: tells an error that ends the command.
        on_interrupt: tells that it was interrupted.
    """
    with closed_pipe_is_an_end():
        code = _run(command, on_error, on_interrupt)
    raise typer.Exit(code)


@contextmanager
def closed_pipe_is_an_end() -> Iterator[None]:
    """End the command silently with 1 when nobody reads its standard output any more."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered would fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(EXIT_FAILURE) from None


def _run(
    command: Coroutine[Any, Any, int], on_error: Callable[[SidebandError], None], on_interrupt: Callable[[], None]
) -> int:
    interrupted = False

    async def main() -> int:
        loop = asyncio.get_running_loop()
        running = loop.create_task(command)

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            running.cancel()

        if os.name != "nt":
            for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(name, interrupt)
        return await running

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if not interrupted:
            raise
    except KeyboardInterrupt:  # Windows has no handlers for signals
        pass
    except SidebandError as error:
        on_error(error)
        return exit_code(error)
    on_interrupt()
    return EXIT_INTERRUPTED
