"""Blocks that begin with a comment such as `# daemon.py` are programs: the two of a page run as two processes."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pages import PAGES, ROOT, blocks

PORT = 8765  # what the pages write; another one may be free here
PROGRAMS = {
    str(page.relative_to(ROOT)): {block.file: block.text for block in blocks(page, "python") if block.file}
    for page in PAGES
}
# Those that need a control plane run in the shell of their page, which starts one.
PROGRAMS = {
    page: programs
    for page, programs in PROGRAMS.items()
    if programs and "sideband.cloud" not in "".join(programs.values())
}


@pytest.mark.parametrize("page", PROGRAMS)
def test_the_client_prints_what_the_page_says(page: str, tmp_path: Path) -> None:
    port = _free_port()
    for name, text in PROGRAMS[page].items():
        (tmp_path / name).write_text(text.replace(str(PORT), str(port)), "utf-8")
    with _running(tmp_path / "daemon.py") as daemon:
        assert daemon.stdout is not None
        assert "listening" in daemon.stdout.readline()
        client = subprocess.run(
            [sys.executable, "-W", "error", "client.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert client.stderr == ""
    assert client.returncode == 0
    assert client.stdout == _printed(ROOT / page)


def test_every_page_with_programs_has_both() -> None:
    assert {page: set(programs) for page, programs in PROGRAMS.items()} == {
        page: {"daemon.py", "client.py"} for page in PROGRAMS
    }


def test_the_programs_of_the_readme_are_twenty_lines_or_so() -> None:
    assert {
        name: len(text.splitlines()) for name, text in PROGRAMS["README.md"].items() if len(text.splitlines()) > 25
    } == {}


@contextmanager
def _running(program: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", program.name]
    with subprocess.Popen(command, cwd=program.parent, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _printed(page: Path) -> str:
    """What the page shows after `python client.py`."""
    (shown,) = (block.text for block in blocks(page, "console") if "python client.py" in block.text)
    return re.sub(r"^\$ .*\n", "", shown, flags=re.MULTILINE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
