from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

COMMAND = [sys.executable, "-c", "from sideband.cli.main import main; main()"]


def sideband(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)


def test_version() -> None:
    ended = sideband("--version")
    assert (ended.returncode, ended.stdout) == (0, f"sideband {version('sideband')}\n")


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom sideband.cli import main\n"
        "try:\n main.app(['--help'], standalone_mode=False)\nexcept BaseException: pass\n"
        "heavy = {'aiohttp', 'rich', 'sqlalchemy', 'joserfc', 'pydantic', 'alembic'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.stderr.strip() == ""
    assert ended.returncode == 0


@pytest.mark.parametrize("arguments", [["bogus"], ["demo", "--bogus"], ["demo", "--size"]])
def test_a_wrong_use_is_exit_code_2_and_says_what_is_wrong(arguments: list[str]) -> None:
    ended = sideband(*arguments)
    assert ended.returncode == 2
    assert "bogus" in ended.stderr or "--size" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_reader_that_leaves_is_no_traceback() -> None:
    with subprocess.Popen([*COMMAND, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
