"""A network namespace with one cable to the host, which can fall silent or be pulled out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from types import TracebackType
from typing import Self

WAYS = ("input", "output")


class Namespace:
    """Needs root and iproute2; `silence` needs nft. Everything is removed on leaving, whatever happened."""

    def __init__(self) -> None:
        tag = secrets.token_hex(3)
        self.name = f"sideband-{os.getpid()}-{tag}"
        # At most 15 characters.
        self._cable = f"sbh{tag}"
        self._far_end = f"sbn{tag}"
        # A /30 of its own in 198.18.0.0/15, which RFC 2544 sets aside for tests of networks.
        third, fourth = secrets.randbelow(256), 4 * secrets.randbelow(64)
        self.host_address = f"198.18.{third}.{fourth + 1}"
        self._address = f"198.18.{third}.{fourth + 2}"

    @property
    def prefix(self) -> tuple[str, ...]:
        """Put before a command, it runs in here."""
        return ("ip", "netns", "exec", self.name)

    async def __aenter__(self) -> Self:
        try:
            await run_command("ip", "netns", "add", self.name)
            await run_command("ip", "link", "add", self._cable, "type", "veth", "peer", "name", self._far_end)
            await run_command("ip", "link", "set", self._far_end, "netns", self.name)
            await run_command("ip", "address", "add", f"{self.host_address}/30", "dev", self._cable)
            await run_command("ip", "link", "set", self._cable, "up")
            await self._inside("ip", "address", "add", f"{self._address}/30", "dev", self._far_end)
            await self._inside("ip", "link", "set", self._far_end, "up")
            await self._inside("ip", "link", "set", "lo", "up")
        except BaseException:
            await self._remove()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._remove()

    async def silence(self, *ways: str) -> None:
        """Drop every packet without a word; only what comes in with "input", only what goes out with "output"."""
        chains = "".join(f"chain {way} {{ type filter hook {way} priority 0; policy drop; }}\n" for way in ways or WAYS)
        await self._inside("nft", "-f", "-", given=f"table inet sideband_silence {{\n{chains}}}\n")

    async def speak(self) -> None:
        """Undo `silence`."""
        await self._inside("nft", "delete", "table", "inet", "sideband_silence")

    async def pull(self) -> None:
        """Take the cable out: the interface in here has no carrier, the host no route."""
        await run_command("ip", "link", "set", self._cable, "down")

    async def plug(self) -> None:
        """Undo `pull`."""
        await run_command("ip", "link", "set", self._cable, "up")

    async def _inside(self, *command: str, given: str = "") -> None:
        await run_command(*self.prefix, *command, given=given)

    async def _remove(self) -> None:
        for command in (("ip", "link", "delete", self._cable), ("ip", "netns", "delete", self.name)):
            with contextlib.suppress(RuntimeError):  # it was not made yet, or went with the other
                await run_command(*command)


async def run_command(*command: str, given: str = "") -> None:
    """Run a command with this on its standard input.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate(given.encode())
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {output.decode()}")
