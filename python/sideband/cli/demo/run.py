"""One demo from begin to end: the folder, the processes, and what they have to say."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sideband.cli.demo.blindness import take_samples
from sideband.cli.demo.payload import FilePayload, GeneratedPayload, describe
from sideband.cli.demo.processes import Children
from sideband.errors import ProcessError
from sideband.identity.private_file import create_private

__all__ = ["DemoResult", "Report", "run_demo", "run_until_signal"]

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What came of a demo; sizes in bytes, rates in MB (10^6 bytes) a second.

    Attributes:
        relay: the relay's own counts, see `BlindnessTap`.
    """

    bytes: int
    frames: int
    upload_mb_s: float
    download_mb_s: float
    handshake_ms: float
    fingerprint: str
    session_id: str
    sha256: str
    sha256_match: bool
    relay: dict[str, Any]

    @property
    def relay_saw_plaintext(self) -> bool:
        """Whether the relay found a block of the payload in what it forwarded."""
        return bool(self.relay["plaintext_frames"])

    @property
    def ok(self) -> bool:
        """Whether the payload came back whole and the relay was blind."""
        return self.sha256_match and not self.relay_saw_plaintext


class Report(Protocol):
    """Where a demo tells how it goes."""

    def preparing(self, what: str) -> None:
        """Tell what is being started."""

    def ready(self, url: str, daemon_id: str) -> None:
        """Tell that all processes stand."""

    def connected(self, fingerprint: str, session_id: str, handshake_ms: float) -> None:
        """Tell that the client pinned the daemon's key and the session stands."""

    def progress(self, sent: int, returned: int) -> None:
        """Tell how far it is."""


async def run_demo(payload: FilePayload | GeneratedPayload, report: Report) -> DemoResult:
    """Start the processes, let them work, end them, and remove their folder, whatever happens.

    Raises:
        ProcessError: a process failed or was ended from outside.
        ConfigError: the payload cannot be read.
    """
    with _folder() as folder:
        async with Children(folder) as children:
            return await children.guard(_drive(folder, children, payload, report))


def run_until_signal(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run `work`; SIGINT, SIGTERM and SIGHUP cancel it, and it ends in order.

    Raises:
        KeyboardInterrupt: it was cancelled so.
    """

    async def run() -> _Result:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            # Windows has neither SIGHUP nor handlers of the loop; there Ctrl-C cancels the task by itself.
            with contextlib.suppress(NotImplementedError, AttributeError):
                loop.add_signal_handler(getattr(signal, name), task.cancel)
        return await task

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _drive(
    folder: Path, children: Children, payload: FilePayload | GeneratedPayload, report: Report
) -> DemoResult:
    report.preparing("control plane and relay, daemon, client")
    # All at once, since most of their time goes into loading; each waits for what it needs to know.
    server = await children.start("relay", "sideband.cli.demo.server_process")
    daemon = await children.start("daemon", "sideband.cli.demo.daemon_process")
    client = await children.start("client", "sideband.cli.demo.client_process")
    samples = await asyncio.to_thread(take_samples, payload)
    create_private(folder / "samples", samples.pack())
    base = {"folder": str(folder)}
    await server.configure(base)
    at = await server.expect("ready")
    base["url"] = at["url"]
    await daemon.configure({**base, "api_key": at["api_key"]})
    own_fingerprint = (await daemon.expect("ready"))["fingerprint"]
    report.ready(at["url"], at["daemon_id"])
    await client.configure(
        {
            **base,
            "daemon_id": at["daemon_id"],
            "user_token": at["user_token"],
            "payload": describe(payload),
            "marker": samples.marker.hex(),
        }
    )
    connected = await client.expect("connected")
    if connected["fingerprint"] != own_fingerprint:
        raise ProcessError("the client pinned another key than the daemon's own")
    report.connected(connected["fingerprint"], connected["session_id"], connected["handshake_ms"])
    transferred: dict[str, Any] = {}
    async for event in client.events():
        if event["event"] == "transferred":
            transferred = event
            break
        report.progress(event["sent"], event["returned"])
    report.progress(payload.size, payload.size)
    await server.command("report")
    seen = await server.expect("report")
    return _result(connected, transferred, seen)


def _result(connected: dict[str, Any], transferred: dict[str, Any], seen: dict[str, Any]) -> DemoResult:
    size: int = transferred["bytes"]
    return DemoResult(
        bytes=size,
        frames=transferred["frames"],
        upload_mb_s=_rate(size, transferred["upload_seconds"]),
        download_mb_s=_rate(size, transferred["download_seconds"]),
        handshake_ms=connected["handshake_ms"],
        fingerprint=connected["fingerprint"],
        session_id=connected["session_id"],
        sha256=transferred["sent_sha256"],
        sha256_match=transferred["match"],
        relay={name: value for name, value in seen.items() if name != "event"},
    )


def _rate(size: int, seconds: float) -> float:
    return round(size / seconds / 1e6, 2) if seconds > 0 else 0.0


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sideband-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
