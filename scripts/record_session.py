"""Record the README's session, and draw it: `python -m scripts.record_session`, from the root of the checkout.

Three terminals with a shell each: a server, a daemon that shares a folder, a client that fetches a file by a code. What
they write is real; the server's log is cut to warnings. Port 8080 has to be free.
"""

from __future__ import annotations

import argparse
import codecs
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from select import select

from scripts.terminal_picture import Cast, render
from tests.support.pseudo_terminal import Terminal

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs/session.svg"
COLUMNS = 112
PROMPT = "$ "
KEY_SECONDS = 0.035
FILE_BYTES = 400_000_000
SECONDS = 60


class Session:
    """Three shells whose terminals are recorded on one clock."""

    def __init__(self, home: Path) -> None:
        self._began = time.monotonic()
        self._home = home
        self._terminals: list[Terminal] = []
        self.casts: list[Cast] = []

    def open(self, title: str, rows: int, folder: Path) -> Terminal:
        """Start a shell in a folder, on a terminal of its own."""
        cast = Cast(title, COLUMNS, rows)
        decoder = codecs.getincrementaldecoder("utf-8")()
        environment = {
            "HOME": str(self._home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PS1": r"\[\e[32m\]$\[\e[0m\] ",
            "SIDEBAND_SERVER_LOG__LEVEL": "warning",
            **{f"XDG_{name}_HOME": "" for name in ("CONFIG", "DATA", "STATE", "CACHE")},
        }
        terminal = Terminal(
            ("bash", "--norc", "--noprofile", "-i"),
            environment,
            folder,
            columns=COLUMNS,
            rows=rows,
            heard=lambda more: cast.events.append((time.monotonic() - self._began, decoder.decode(more))),
        )
        self.casts.append(cast)
        self._terminals.append(terminal)
        self._until(lambda: PROMPT in terminal.lines[-1])
        return terminal

    def enter(self, terminal: Terminal, command: str, shown: str) -> re.Match[str]:
        """Type a command as a person does, and wait until what is written to that terminal from then on matches."""
        before = len(terminal.lines)
        for key in command:
            terminal.type(key)
            self.rest(KEY_SECONDS)
        self.rest(0.3)
        terminal.type("\n")
        return self.see(terminal, shown, before)

    def see(self, terminal: Terminal, shown: str, since: int = 0) -> re.Match[str]:
        """Wait until a terminal shows something."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(re.finditer(shown, "\n".join(terminal.lines[since:])))
            return bool(found)

        self._until(look)
        return found[0]

    def rest(self, seconds: float) -> None:
        """Let the clock run, and record what happens."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._read(left)

    def close(self) -> None:
        """End all shells and what runs in them."""
        while self._terminals:
            terminal = self._terminals[-1]
            terminal.type("\x03")
            self._until(lambda: self._terminals[-1].lines[-1].endswith(PROMPT))
            self._terminals.pop().close()

    def _until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("\n".join(self._terminals[-1].lines))
            self._read(1.0)

    def _read(self, seconds: float) -> None:
        for terminal in select(self._terminals, [], [], seconds)[0]:
            terminal.read()


def record(home: Path) -> list[Cast]:
    """Play the session in a home folder that must not exist, and return what was recorded."""
    shared, fetched = home / "holidays", home / "laptop"
    for folder in (home, shared, fetched):
        folder.mkdir()
    session = Session(home)
    try:
        _make_file(shared / "film.mp4")
        server = session.open("server", 9, home)
        daemon = session.open("the machine at home", 27, shared)
        client = session.open("laptop", 4, fetched)
        session.enter(server, "sideband serve", r"(?m)^stop with")
        session.rest(1)
        key = home.joinpath(".local/share/sideband/server/first/api-key").relative_to(home)
        session.enter(daemon, f"sideband init --api-key-file ~/{key}", r"(?m)^next .*\n")
        session.rest(1)
        code = session.enter(
            daemon, "sideband daemon --share .", r"(?s)connect ([a-z]{4}-[a-z]{4}-[a-z]{4}) .*▀{9}\n\n"
        )
        session.rest(1)
        session.enter(client, f"sideband get {code[1]} film.mp4", r"BLAKE3 .*\n")
        session.see(daemon, r"(?s)the one before was used.*▀{9}\n")
        session.see(daemon, r"(?m) = #1 .*")
        session.see(daemon, r"(?m) - #1 .*")
        session.rest(1)
    finally:
        casts = [Cast(cast.title, cast.columns, cast.rows, list(cast.events)) for cast in session.casts]
        session.close()
        shutil.rmtree(home)
    return casts


def _make_file(path: Path) -> None:
    block = os.urandom(1_000_000)
    with path.open("wb") as file:
        for _ in range(FILE_BYTES // len(block)):
            file.write(block)


def main() -> None:
    """Record, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("/tmp/ada"), help="A folder that does not exist: it shows.")
    parser.add_argument("--casts", type=Path, help="Write the recordings into this folder too, as asciicast v2.")
    given = parser.parse_args()
    casts = record(given.home)
    if given.casts is not None:
        given.casts.mkdir(parents=True, exist_ok=True)
        for cast in casts:
            cast.write(given.casts / f"{cast.title.replace(' ', '-')}.cast")
    PICTURE.write_text(render(casts), "utf-8")


if __name__ == "__main__":
    main()
