"""A folder of many files both ways, interrupted three times; at full size in `make soak`."""

from __future__ import annotations

import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.transfers.conftest import Run, events
from tests.support.served_platform import SIDEBAND, Program, ServedPlatform

INTERRUPTIONS = 3

SIZES = pytest.mark.parametrize(
    ("files", "size"),
    [(200, 20_000_000), pytest.param(2000, 1 << 30, marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
)


def make_tree(folder: Path, files: int, size: int) -> None:
    """Files of very different sizes, together `size` bytes, in folders within folders."""
    chance = random.Random(files)
    weights = [chance.random() ** 4 for _ in range(files)]
    for number, weight in enumerate(weights):
        path = folder / f"{number % 17}" / f"{number % 3}" / f"file {number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(int(size * weight / sum(weights))))


def count(folder: Path) -> int:
    """Whole files in it."""
    return sum(not path.name.startswith(".") for path in folder.rglob("*.bin"))


def interrupt_at(process: subprocess.Popen[str], folder: Path, files: int) -> None:
    """Press Ctrl-C as soon as so many files are whole."""
    while count(folder) < files:
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


@SIZES
@pytest.mark.parametrize("what", ["get", "put"])
def test_a_folder_comes_and_goes_in_spite_of_interruptions(
    run: Run,
    platform: ServedPlatform,
    daemon: Program,
    environment: dict[str, str],
    shared: Path,
    tmp_path: Path,
    what: str,
    files: int,
    size: int,
) -> None:
    there, here = shared / f"{what} {files}", tmp_path / "here"
    source, target = (there, here) if what == "get" else (here, there)
    make_tree(source, files, size)
    target.mkdir()
    places = (there.name, "here") if what == "get" else ("here", there.name)

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*SIDEBAND, what, "-r", platform.first.daemon_id, *places],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
        )

    for number in range(1, INTERRUPTIONS + 1):
        with start() as process:
            interrupt_at(process, target, files * number // (INTERRUPTIONS + 2))
    told = events(run(what, "-r", "TARGET", *places, "--json").stdout)
    assert told[-1]["failed"] == 0
    assert told[-1]["files"] + told[-1]["present"] == files
    assert told[-1]["present"] >= files * INTERRUPTIONS // (INTERRUPTIONS + 2)
    assert subprocess.run(["diff", "-r", source, target], check=False).returncode == 0
    assert list(target.rglob(".*")) == []
