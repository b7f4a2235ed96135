"""Programs on a pseudo-terminal, as people use them."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ

SECONDS = 60
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A program on a pseudo-terminal of its own.

    Args:
        heard: told all that the program writes, as it comes.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        environment: dict[str, str],
        folder: Path,
        *,
        columns: int = 100,
        rows: int = 50,
        heard: Callable[[bytes], object] = len,
    ) -> None:
        near, far = pty.openpty()
        ioctl(far, TIOCSWINSZ, pack("HHHH", rows, columns, 0, 0))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
            clean.pop(name, None)
        self.process = subprocess.Popen(
            ("setsid", "--ctty", *command),  # Ctrl-C is for the session that has the terminal
            stdin=far,
            stdout=far,
            stderr=far,
            cwd=folder,
            env={**clean, "TERM": "xterm-256color", **environment},
        )
        os.close(far)
        self._near = near
        self._bytes = b""
        self._heard = heard

    @property
    def lines(self) -> list[str]:
        """What was written so far, without colours."""
        return _ESCAPE.sub("", self._bytes.decode(errors="replace")).replace("\r", "").split("\n")

    def until(self, condition: Callable[[list[str]], object]) -> None:
        """Wait until the lines meet a condition."""
        while not condition(self.lines):
            assert self.read(), f"it ended: {self.lines}"

    def fileno(self) -> int:
        """What can be waited for until there is something to read."""
        return self._near

    def type(self, text: str) -> None:
        r"""Press keys; `"\x03"` is Ctrl-C."""
        os.write(self._near, text.encode())

    def finish(self) -> int:
        """Wait for its end, and return its exit code."""
        while self.read():
            pass
        return self.process.wait(SECONDS)

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        os.close(self._near)

    def read(self) -> bool:
        """Wait for more and take it in; return whether there was any before the end."""
        ready, _, _ = select.select([self._near], [], [], SECONDS)
        assert ready, f"nothing came for {SECONDS} s: {self.lines}"
        try:
            more = os.read(self._near, 65_536)
        except OSError:  # Linux tells so that the other side is gone
            return False
        self._bytes += more
        self._heard(more)
        return bool(more)
