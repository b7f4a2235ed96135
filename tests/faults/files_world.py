"""A server, a daemon that shares a folder behind a network that can be cut, and clients that get and put files."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from typing_extensions import override

from sideband._native import Blake3
from tests.faults.processes import Process
from tests.faults.world import FaultWorld

BLOCK = 1024 * 1024


class FilesWorld(FaultWorld):
    """Everything of one test.

    Args:
        folder: where stores, logs, and the files of both sides are kept.

    Attributes:
        shared: what the daemon shares.
        target: where clients put what they get.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, clients=4)
        self.shared = folder / "shared"
        self.target = folder / "target"
        self.shared.mkdir()
        self.target.mkdir()
        self._count = 0

    @override
    async def start_daemon(self) -> None:
        self._daemons += 1
        self.daemon = await self._start(
            f"daemon{self._daemons}",
            "tests.faults.files_daemon_role",
            log=str(self._folder / "daemon.jsonl"),
            identity=str(self._folder / "identity.json"),
            shared=str(self.shared),
            url=self.url,
            relay=f"{self.proxy.url}relay",
            **self._made,
        )
        await self.daemon.expect("ready")

    @override
    async def _start_clients(self) -> None:
        """They come one by one."""

    async def start_client(self, *, file_limit: int = 0) -> FileClient:
        """Start one more client, and wait until it is connected."""
        self._count += 1
        process = await self._start(
            f"client{self._count}",
            "tests.faults.files_client_role",
            log=str(self._folder / "clients.jsonl"),
            url=self.url,
            file_limit=file_limit,
            **self._made,
        )
        await process.expect("ready")
        return FileClient(process)


class FileClient:
    """One client."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._orders = 0

    def order(self, what: str, path: str, file: Path | str = "") -> int:
        """Begin a transfer, and return its number."""
        self._orders += 1
        self.process.order(what, number=self._orders, path=path, file=str(file))
        return self._orders

    async def reach(self, number: int, step: int) -> None:
        """Wait until a transfer has come so far, of 200 steps, or is over."""
        await self.process.until(
            lambda news: any(
                one.get("number") == number and (one["event"] in ("done", "failed") or one.get("step", -1) >= step)
                for one in news
            ),
            seconds=120,
        )

    async def result(self, number: int, seconds: float = 120.0) -> dict[str, Any]:
        """Wait for the end of a transfer, and return what was told of it."""
        found = await self.process.until(
            lambda news: [one for one in news if one.get("number") == number and one["event"] in ("done", "failed")],
            seconds,
        )
        return dict(found[0])


def make_file(path: Path, size: int) -> str:
    """Make a file in which no two places look alike; return its digest."""
    chance, hasher = random.Random(size), Blake3()
    with path.open("wb") as file:
        for offset in range(0, size, BLOCK):
            block = chance.randbytes(min(BLOCK, size - offset))
            hasher.update(block)
            file.write(block)
    return hasher.digest().hex()


def digest_of(path: Path) -> str:
    """The digest of what is there."""
    hasher = Blake3()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            hasher.update(block)
    return hasher.digest().hex()


def names(folder: Path) -> set[str]:
    """What is in a folder, hidden or not."""
    return {path.name for path in folder.iterdir()}
