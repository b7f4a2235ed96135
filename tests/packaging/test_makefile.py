"""What make says to someone on a machine that lacks something, and that its words are all there."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = ["bench", "clean", "demo", "fuzz", "help", "soak", "test", "test-servers", "wheel"]


def run(*command: str, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing on PATH but the folder `path`."""
    return subprocess.run(
        command, cwd=ROOT, env={"PATH": str(path), **environment}, capture_output=True, text=True, check=False
    )


def tools(folder: Path, *names: str) -> Path:
    """Make `folder` hold these real tools."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return folder


def fake(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    (folder / name).chmod(0o755)


def test_help_lists_every_word() -> None:
    listing = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [word for word in WORDS if f"  make {word} " not in listing] == []


def test_without_cargo_it_says_where_to_get_it(tmp_path: Path) -> None:
    done = run("/bin/sh", "scripts/require.sh", "rust", path=tools(tmp_path / "bin", "cat"))
    assert done.returncode == 1
    assert "cargo is not on PATH. Install Rust with rustup" in done.stderr


def test_without_a_c_compiler_it_says_what_to_install(tmp_path: Path) -> None:
    folder = tools(tmp_path / "bin", "cat")
    fake(folder, "cargo", "exit 0")
    done = run("/bin/sh", "scripts/require.sh", "rust", path=folder)
    assert done.returncode == 1
    assert "there is no C compiler" in done.stderr


def test_without_rustfmt_it_names_the_component(tmp_path: Path) -> None:
    folder = tools(tmp_path / "bin", "cat")
    fake(folder, "cargo", "exit 1")
    fake(folder, "cc", "exit 0")
    done = run("/bin/sh", "scripts/require.sh", "rust-lints", path=folder)
    assert done.returncode == 1
    assert "rustup component add rustfmt" in done.stderr


@pytest.mark.parametrize("name", ["python3", "python3.11"])
def test_a_python_that_is_too_old_is_not_taken(name: str, tmp_path: Path) -> None:
    folder = tools(tmp_path / "bin", "cat")
    # Answers as Python 3.9 would: the check for the version fails.
    fake(folder, name, '[ "$1" = --version ] && echo "Python 3.9.2" && exit 0; exit 1')
    done = run("/bin/sh", "scripts/venv.sh", str(tmp_path / "venv"), str(tmp_path / "venv/bin/python"), path=folder)
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_a_python_that_was_named_must_fit(tmp_path: Path) -> None:
    folder = tools(tmp_path / "bin", "cat")
    done = run("/bin/sh", "scripts/venv.sh", str(tmp_path / "v"), str(tmp_path / "v/p"), path=folder, PYTHON="/nowhere")
    assert done.returncode == 1
    assert "PYTHON=/nowhere is not a Python of version 3.11 or newer" in done.stderr


def test_fuzzing_without_its_tool_names_the_tool(tmp_path: Path) -> None:
    folder = tools(tmp_path / "bin", "cat")
    fake(folder, "cargo", "exit 1")
    done = run("/bin/sh", "scripts/fuzz.sh", path=folder)
    assert done.returncode == 1
    assert "cargo install cargo-fuzz" in done.stderr


def test_servers_are_not_started_by_an_ordinary_user(tmp_path: Path) -> None:
    folder = tools(tmp_path / "bin", "dirname")
    fake(folder, "id", "echo 1000")
    done = run("/bin/sh", "scripts/test-servers.sh", path=folder, SIDEBAND_PYTHON=os.devnull)
    assert done.returncode == 1
    assert "runs as root" in done.stderr
