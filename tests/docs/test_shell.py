"""The console blocks of the guide run, in order and in one shell, as somebody would type them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pages import ROOT, blocks

PORT = 8080  # what the pages write; another one may be free here
PAGES = {
    str(page.relative_to(ROOT)): [block.text for block in blocks(page, "console")]
    for page in [*sorted((ROOT / "docs/guide").glob("*.md")), ROOT / "docs/performance.md"]
    if blocks(page, "console")
}
_END = "-- end of the command:"

# What runs in the background writes to a pipe; its first line tells that it is ready, as it tells a person.
_BACKGROUND = """\
mkfifo pipe{number}
{command} > pipe{number} 2>&1 &
exec {{fd{number}}}< pipe{number}
read -r line <&"$fd{number}" && echo "$line"
"""


class Shell:
    """One bash, fed command by command."""

    def __init__(self, folder: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        self.process = subprocess.Popen(
            ["bash", "--norc", "-o", "pipefail"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        self._background = 0

    def run(self, command: str) -> tuple[int, str]:
        """Run one command; return its exit code and what it said, or what it said first if it goes on."""
        if command.endswith(" &"):
            self._background += 1
            command = _BACKGROUND.format(number=self._background, command=command.removesuffix(" &"))
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f'{command}\necho "{_END} $?"\n')
        self.process.stdin.flush()
        said = []
        for line in self.process.stdout:
            if line.startswith(_END):
                return int(line.removeprefix(_END)), "".join(said)
            said.append(line)
        raise AssertionError(f"the shell ended in {command!r}: {''.join(said)}")

    def end(self) -> None:
        """End it with everything it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    shell = Shell(tmp_path)
    yield shell
    shell.end()


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_the_page_run(page: str, shell: Shell, tmp_path: Path) -> None:
    port = str(_free_port())
    for program in blocks(ROOT / page, "python"):
        if program.file is not None:
            (tmp_path / program.file).write_text(program.text, "utf-8")
    for text in PAGES[page]:
        for command, shown in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", text.replace(str(PORT), port), re.MULTILINE):
            code, said = shell.run(command)
            assert code == 0, f"{command}: {said}"
            assert re.match(".*".join(map(re.escape, shown.split("..."))), said), f"{command}: {said}"


def test_the_guide_begins_with_commands() -> None:
    assert "docs/guide/index.md" in PAGES


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
