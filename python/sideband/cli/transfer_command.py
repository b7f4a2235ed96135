"""What the commands `ls`, `get`, `put` and `pipe` have in common: the session, and how they end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sideband.cli.running import run_to_end
from sideband.cli.target import CONNECT_SECONDS, open_peer, resolve_target
from sideband.cli.transfer_output import TransferOutput
from sideband.errors import SidebandError

if TYPE_CHECKING:
    from sideband.cli.direct_way import Way
    from sideband.peer import Peer

__all__ = ["Reach", "run_transfer"]


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom a command connects to, and how: its options, as they were given."""

    target: str
    api: str | None = None
    token_file: Path | None = None
    timeout: float = CONNECT_SECONDS
    trust: str = "accept-new"
    way: Way | None = None

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """Connect; the session ends with the block.

        Raises:
            SidebandError: see `open_peer`.
        """
        async with open_peer(
            resolve_target(self.target),
            api=self.api,
            token_file=self.token_file,
            timeout=self.timeout,
            trust=self.trust,
            way=self.way,
        ) as peer:
            yield peer


def run_transfer(
    command: Coroutine[Any, Any, int], output: TransferOutput, kept: Callable[[], str] = lambda: ""
) -> NoReturn:
    """Run a command to its end, and end the process with its exit code; see `run_to_end`.

    Args:
        command: returns the exit code.
        output: told how it ended, when that was no success.
        kept: returns what is said about what was kept of an unfinished transfer, or nothing.
    """

    def failed(error: SidebandError) -> None:
        output.error(error)
        if text := kept():
            output.note(text)

    def interrupted() -> None:
        text = kept()
        output.event("interrupted", message=text)
        output.note(f"interrupted; {text}" if text else "interrupted")

    run_to_end(command, failed, interrupted)
