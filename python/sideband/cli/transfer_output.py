"""What `get`, `put` and `pipe` tell: a bar and lines for people, or events for programs."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sideband.cli.output import console, error_text, event_line, exit_code, print_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from sideband.errors import SidebandError
    from sideband.peer import Peer

__all__ = ["TransferOutput", "size_text"]

EVENT_SECONDS = 1.0
"""Between two events of progress."""


class TransferOutput:
    """Tells of one command. As a context it shows a bar while the block runs, if standard error is a terminal.

    Attributes:
        begun: whether bytes have begun to travel.

    Args:
        json_output: events on standard output instead of all else.
        bar: False for no bar in any case, as when data goes to the same terminal.
        events_on_stderr: where standard output is for data.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        json_output: bool,
        bar: bool = True,
        events_on_stderr: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._json = json_output
        self._events_on_stderr = events_on_stderr
        self._clock = clock
        self._bar = _Bar() if bar and not json_output and sys.stderr.isatty() else None
        self._last_event = float("-inf")
        self._told = -1
        self.begun = False
        self._started = clock()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        self._started = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @property
    def seconds(self) -> float:
        """Since the block began."""
        return self._clock() - self._started

    def ready(self, peer: Peer, **fields: Any) -> None:
        """The session stands; when it takes another way later on, that is told too."""
        self.event("ready", fingerprint=peer.fingerprint, path=peer.path, **fields)
        peer.on("path_changed", self._moved)

    def progress(self, done: int, total: int | None) -> None:
        """So many bytes are done; a `ProgressFunction`."""
        self.begun = True
        if self._bar is not None:
            self._bar.reach(done, total)
        if self._json and done != self._told:
            now = self._clock()
            if done == total or now - self._last_event >= EVENT_SECONDS:
                self._last_event, self._told = now, done
                self.event("progress", done=done, total=total)

    def event(self, event: str, **fields: Any) -> None:
        """Something for programs."""
        if not self._json:
            return
        if self._events_on_stderr:
            print(event_line(event, **fields), file=sys.stderr, flush=True)
        else:
            print_event(event, **fields)

    def error(self, error: SidebandError) -> None:
        """What ended the command."""
        if self._json:
            self.event("error", error=type(error).__name__, message=str(error), exit_code=exit_code(error))
        else:
            self._print(f"error: {error_text(error)}", error=True)

    def line(self, text: str) -> None:
        """Something for people, on standard output. What comes from elsewhere is `shown` by the caller."""
        if not self._json:
            self._print(text, error=False)

    def note(self, text: str) -> None:
        """Something for people, on standard error."""
        if not self._json:
            self._print(text, error=True)

    def _moved(self, path: str) -> None:
        self.event("path", path=path)
        if self._bar is not None:
            self.note(f"now by {path}")

    def _print(self, text: str, *, error: bool) -> None:
        if self._bar is not None and (error or sys.stdout.isatty()):
            # Above the bar.
            self._bar.print(text)
        else:
            print(text, file=sys.stderr if error else sys.stdout, flush=True)


class _Bar:
    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TaskProgressColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=console(stderr=True),
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task("", total=None)
        self._begun = False

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def reach(self, done: int, total: int | None) -> None:
        if not self._begun:
            # What was there already has not been transferred at any rate.
            self._begun = True
            self._progress.reset(self._task, total=total, completed=done)
        self._progress.update(self._task, completed=done, total=total)

    def print(self, text: str) -> None:
        self._progress.console.print(text, soft_wrap=True)


def size_text(size: int, seconds: float | None = None) -> str:
    """Return a size as people read it, with the rate of a transfer where its seconds are given."""
    text = f"{size:,} bytes"
    if seconds is not None and seconds > 0:
        text += f" in {seconds:.1f} s ({_scaled(size / seconds)}/s)"
    return text


def _scaled(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < _STEP:
            return f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:.2f} GB"


_STEP = 1000
