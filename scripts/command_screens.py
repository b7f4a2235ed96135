"""Write the screens of the main commands into docs/guide/cli.md: `python -m scripts.command_screens`.

The commands run on terminals of their own, against a server and a daemon that are started for it. On the page a screen
follows a comment with its name.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pyte

from sideband._native import IdentityKeyPair
from sideband.identity import FileIdentityKeyStore
from tests.support.pseudo_terminal import Terminal
from tests.support.served_platform import SIDEBAND

PAGE = Path(__file__).parents[1] / "docs/guide/cli.md"
COLUMNS, ROWS = 240, 60  # nothing wraps, however long the folder's name is
FILE_BYTES = 60_000_000
FILE_TIME = 1_767_261_600

_BLOCK = re.compile(r"(<!-- screen: (\w+) -->\n\n```text\n)(.*?)(?=```\n)", re.DOTALL)
_FINGERPRINT = re.compile(r"SHA256((?::[0-9A-F]{2}){4})(?::[0-9A-F]{2}){28}")
_VARIES = (
    (r"SHA256:[0-9A-F:]+\.\.\.", "FINGERPRINT"),
    (r"\bd_[0-9A-Za-z]{22}\b", "DAEMON"),
    (r"\b[a-z]{4}-[a-z]{4}-[a-z]{4}\b", "CODE"),
    (r"\b\d\d:\d\d:\d\d\b", "TIME"),
    (r"━+ ", "BAR "),
    (r"(\?|[\d.]+ [kMG]?B/s) (-:--:--|[\d:-]+)$", "RATE"),
    (r"in [\d.]+ s \([\d.]+ [kMG]?B/s\)", "RATE"),
    (r"(?:^[█▀▄ ]{20,}\n)+", "QR\n"),
)


def blocks(page: str) -> dict[str, str]:
    """Return the screens that stand on a page, by name."""
    return {found[2]: found[3] for found in _BLOCK.finditer(page)}


def comparable(screen: str) -> str:
    """Return a screen without what is different each time: keys, ids, codes, times and rates."""
    for pattern, name in _VARIES:
        screen = re.sub(pattern, name, screen, flags=re.MULTILINE)
    return screen


def play(folder: Path) -> dict[str, str]:
    """Run the commands in an empty folder, and return their screens by name."""
    story = _Story(folder)
    with story.running("serve") as server:
        server.until(lambda lines: "stop with Ctrl-C" in lines)
        story.keep("serve", server)
        (url,) = re.findall(r"serves at (\S+)", "\n".join(server.lines))
        story.environment["SIDEBAND_API_URL"] = url
        first = "~/.local/share/sideband/server/first"
        story.run("init", f"init --api-key-file {first}/api-key")
        with story.running("daemon", "--share", ".", "--writable", "--name", "attic") as daemon:
            daemon.until(lambda lines: re.search(r"▀{20}\n\n", "\n".join(lines)))
            story.keep("daemon", daemon)
            told = "\n".join(daemon.lines)
            who, code = re.findall(r"d_\w{22}", told)[0], re.findall(r"connect ([a-z-]{14}) ", told)[0]
            story.run("get", f"get {code} film.mp4 copy.mp4")
            daemon.until(lambda lines: any(" - #1 " in line for line in lines))
            story.run("login", f"login --token-file {first}/token")
            story.run("ls", f"ls {who}")
            story.run("put", f"put {who} notes.txt papers/")
            _talk(story, who)
            story.run("pins", "pins")
            asyncio.run(_pin_another_key(folder, who))
            story.run("mismatch", f"ls {who}", code=4)
            (key,) = set(re.findall(r"SHA256(?::[0-9A-F]{2}){32}", told))
            story.run("accept", f"pins accept {who} {key}")
    return story.screens


class _Story:
    """Commands in one home folder, and the screens they left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.screens: dict[str, str] = {}
        self.environment = {
            "HOME": str(folder),
            "TZ": "UTC",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "SIDEBAND_SERVER_LISTEN__PORT": "0",
            "SIDEBAND_SERVER_PRIVATE__PORT": "0",
            "SIDEBAND_SERVER_LOG__LEVEL": "warning",
            **{f"XDG_{name}_HOME": "" for name in ("CONFIG", "DATA", "STATE", "CACHE")},
        }
        self._written: dict[int, bytearray] = {}
        (folder / "papers").mkdir()
        (folder / "notes.txt").write_text("milk\n" * 240, "utf-8")
        (folder / "film.mp4").touch()
        os.truncate(folder / "film.mp4", FILE_BYTES)
        for path in (folder / "papers", folder / "notes.txt", folder / "film.mp4"):
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, (FILE_TIME, FILE_TIME))

    @contextmanager
    def running(self, *words: str) -> Iterator[Terminal]:
        """Run a command until the block ends."""
        written = bytearray()
        given = [word.replace("~", str(self.folder)) for word in words]
        terminal = Terminal(
            (*SIDEBAND, *given), self.environment, self.folder, columns=COLUMNS, rows=ROWS, heard=written.extend
        )
        written += f"$ sideband {' '.join(words)}\r\n".encode()
        self._written[id(terminal)] = written
        try:
            yield terminal
        finally:
            terminal.close()

    def run(self, name: str, command: str, *, code: int = 0, talk: Callable[[Terminal], None] = lambda _: None) -> None:
        """Run a command to its end, and keep its screen."""
        with self.running(*command.split()) as terminal:
            talk(terminal)
            ended = terminal.finish()
            self.keep(name, terminal)
        assert ended == code, self.screens[name]

    def keep(self, name: str, terminal: Terminal) -> None:
        """Keep what the screen shows; above the end of a transfer also its bar, which is gone by then."""
        screen = pyte.Screen(COLUMNS, ROWS)
        pyte.ByteStream(screen).feed(bytes(self._written[id(terminal)]))
        lines = "\n".join(line.rstrip() for line in screen.display).rstrip().splitlines()
        bars = [found[0] for line in terminal.lines if (found := re.search(r"━+ +100%[^━]*", line))]
        self.screens[name] = self._as_on_the_page("\n".join([lines[0], *bars[-1:], *lines[1:]]) + "\n")

    def _as_on_the_page(self, text: str) -> str:
        """Return a screen with the folder and the ports of the page, and long digests cut."""
        text = text.replace(str(self.folder), "/home/ada")
        text = re.sub(r"(health, metrics, admin: http://127.0.0.1):\d+", r"\1:9464", text)
        text = re.sub(r"(127\.0\.0\.1):(?!9464)\d+", r"\1:8080", text)
        if text.startswith("$ sideband serve"):
            # It is said for another port than 8080 only.
            text = text.replace(" --api http://127.0.0.1:8080", "")
        text = re.sub(r"(BLAKE3 [0-9a-f]{16})[0-9a-f]{48}", r"\1...", text)
        text = re.sub(r"^(━+)(?= )", "━" * 40, text, flags=re.MULTILINE)
        return _FINGERPRINT.sub(r"SHA256\1:...", text)


def _talk(story: _Story, who: str) -> None:
    def talk(terminal: Terminal) -> None:
        for typed, answered in (
            ("methods\r", "stats.stop\n"),
            ('call $sideband/echo "Ada"\r', '"Ada"\n'),
            ("\x04", ""),
        ):
            terminal.until(lambda lines: lines[-1].strip().endswith("sideband>"))
            seen = len(terminal.lines)
            terminal.type(typed)
            terminal.until(partial(_says, answered, seen))

    story.run("connect", f"connect {who}", talk=talk)


async def _pin_another_key(folder: Path, who: str) -> None:
    """Do as if the daemon had been met before, when it had another key."""
    store = FileIdentityKeyStore(folder / ".config/sideband/pins")
    await store.set(who, IdentityKeyPair.generate().public_key)


def _says(text: str, after: int, lines: list[str]) -> bool:
    return text in "\n".join(lines[after:])


def main() -> None:
    """Run the commands, and write their screens into the page."""
    with tempfile.TemporaryDirectory() as folder:
        screens = play(Path(folder))
    text = PAGE.read_text("utf-8")
    PAGE.write_text(_BLOCK.sub(lambda found: found[1] + screens[found[2]], text), "utf-8")


if __name__ == "__main__":
    main()
