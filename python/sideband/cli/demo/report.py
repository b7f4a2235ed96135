"""How the demo is shown: a progress bar and a summary for people, one JSON object a line for programs."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from sideband.cli.demo.run import DemoResult
from sideband.cli.output import console, print_event

__all__ = ["JsonReport", "TerminalReport"]

PROGRESS_SECONDS = 0.5


class JsonReport:
    """Events on standard output; `progress` at most twice a second."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._told_at = 0.0

    def __enter__(self) -> JsonReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def preparing(self, what: str) -> None:
        """Say nothing: `ready` is the first line."""

    def ready(self, url: str, daemon_id: str) -> None:
        """Print `ready`."""
        print_event("ready", url=url, daemon_id=daemon_id, bytes=self._size)

    def connected(self, fingerprint: str, session_id: str, handshake_ms: float) -> None:
        """Print `connected`."""
        print_event("connected", fingerprint=fingerprint, session_id=session_id, handshake_ms=handshake_ms)

    def progress(self, sent: int, returned: int) -> None:
        """Print `progress`, if the last one is long enough ago."""
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_SECONDS:
            self._told_at = now
            print_event("progress", sent=sent, returned=returned, bytes=self._size)

    def summary(self, result: DemoResult) -> None:
        """Print `relay`, what the relay counted, and `done`, the last line."""
        print_event("relay", session_id=result.session_id, sha256=result.sha256, **result.relay)
        print_event(
            "done",
            ok=result.ok,
            bytes=result.bytes,
            frames=result.frames,
            upload_mb_s=result.upload_mb_s,
            download_mb_s=result.download_mb_s,
            handshake_ms=result.handshake_ms,
            fingerprint=result.fingerprint,
            sha256_match=result.sha256_match,
            relay_saw_plaintext=result.relay_saw_plaintext,
        )


class TerminalReport:
    """A progress bar on standard error, where that is a terminal, and a summary on standard output."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._errors = console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            console=self._errors,
            disable=not self._errors.is_terminal,
        )
        self._bar: TaskID | None = None

    def __enter__(self) -> TerminalReport:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def preparing(self, what: str) -> None:
        """Print what is being started."""
        self._errors.print(f"starting {what} ...")

    def ready(self, url: str, daemon_id: str) -> None:
        """Print where everything is."""
        self._errors.print(f"control plane and relay at {url}, daemon {daemon_id}", soft_wrap=True)

    def connected(self, fingerprint: str, session_id: str, handshake_ms: float) -> None:
        """Print the fingerprint and show the bar."""
        self._errors.print(f"session {session_id} in {handshake_ms:.1f} ms; pinned the daemon's key:")
        self._errors.print(f"  {fingerprint}", soft_wrap=True)
        # One bar for both ways: they take turns, and each alone would show half of its real rate.
        self._bar = self._progress.add_task("there and back", total=max(1, 2 * self._size))

    def progress(self, sent: int, returned: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            # A bar over nothing is full from the start.
            self._progress.update(self._bar, completed=sent + returned + int(self._size == 0))

    def summary(self, result: DemoResult) -> None:
        """Print what came of it."""
        self._progress.stop()
        for name, value in _lines(result):
            print(f"{name:<13}{value}")


def _lines(result: DemoResult) -> list[tuple[str, str]]:
    relay: dict[str, Any] = result.relay
    blind = (
        f"saw no plaintext: none of {relay['blocks']:,} blocks sampled from the payload stands in what it forwarded "
        f"({relay['places_searched']:,} places looked at)"
    )
    if result.relay_saw_plaintext:
        blind = f"SAW PLAINTEXT: {relay['plaintext_frames']:,} frames held blocks of the payload"
    return [
        ("fingerprint", result.fingerprint),
        ("session", result.session_id),
        ("handshake", f"{result.handshake_ms:.1f} ms"),
        ("to daemon", f"{result.bytes:,} bytes in {result.frames:,} frames, {result.upload_mb_s:,.1f} MB/s"),
        ("and back", f"{result.bytes:,} bytes in {result.frames:,} frames, {result.download_mb_s:,.1f} MB/s"),
        ("sha-256", result.sha256 + (" at all three places" if result.sha256_match else " DIFFERS")),
        ("relay", f"forwarded {relay['frames_up']:,} frames, {relay['bytes_up']:,} bytes to the daemon"),
        ("", f"and {relay['frames_down']:,} frames, {relay['bytes_down']:,} bytes back"),
        ("", blind),
    ]
