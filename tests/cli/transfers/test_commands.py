"""`sideband ls`, `get` and `put` as a user runs them."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from sideband._native import Blake3
from sideband.peer.files.messages import Held
from tests.cli.transfers.conftest import Run, events
from tests.support.served_platform import SIDEBAND, ServedPlatform

CONTENT = random.Random(2).randbytes(3_000_000)


@pytest.fixture
def folder(shared: Path, request: pytest.FixtureRequest) -> Path:
    """A folder of its own for each test, right in what is shared."""
    made = shared / request.node.originalname
    made.mkdir()
    return made


def digest(data: bytes) -> str:
    hasher = Blake3()
    hasher.update(data)
    return hasher.digest().hex()


def test_ls_looks_like_ls(call: Run, folder: Path) -> None:
    (folder / "sub").mkdir(mode=0o755)
    (folder / "file").write_bytes(bytes(1234))
    (folder / "file").chmod(0o644)
    (folder / "run me").write_bytes(b"#!")
    (folder / "run me").chmod(0o755)
    (folder / "link").symlink_to("file")
    os.mkfifo(folder / "fifo", 0o600)
    (folder / ".hidden").touch()
    for path in folder.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    assert call("ls", "TARGET", folder.name).stdout == (
        "?rw------- 0 2023-11-14 22:13 fifo\n"
        "-rw-r--r-- 1234 2023-11-14 22:13 file\n"
        "lrwxrwxrwx 0 2023-11-14 22:13 link\n"
        "-rwxr-xr-x 2 2023-11-14 22:13 run me\n"
        "drwxr-xr-x 0 2023-11-14 22:13 sub/\n"
    ).replace(" 0 ", "    0 ").replace(" 2 2", "    2 2")
    assert call("ls", "TARGET", f"{folder.name}/file").stdout == "-rw-r--r-- 1234 2023-11-14 22:13 file\n"
    told = events(call("ls", "TARGET", f"{folder.name}/", "--json").stdout)
    assert [one["event"] for one in told] == ["ready", *["entry"] * 5, "done"]
    assert told[2] == {
        "v": 1,
        "event": "entry",
        "name": "file",
        "kind": "file",
        "size": 1234,
        "mtime": 1_700_000_000_000,
        "mode": 0o644,
    }


def test_a_file_goes_both_ways(run: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "a.bin").write_bytes(CONTENT)
    said = run("get", "TARGET", f"{folder.name}/a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert said.stdout.startswith("a.bin: 3,000,000 bytes in ")
    assert said.stdout.endswith(f"BLAKE3 {digest(CONTENT)}\n")
    assert said.stderr == ""  # no terminal, no bar
    told = events(run("put", "TARGET", "a.bin", f"{folder.name}/b.bin", "--json").stdout)
    assert (told[0]["event"], told[-1]["event"]) == ("ready", "done")
    assert (told[-1]["size"], told[-1]["blake3"]) == (3_000_000, digest(CONTENT))
    assert (folder / "b.bin").read_bytes() == CONTENT
    (folder / "a.bin").unlink()
    run("put", "TARGET", "a.bin", f"{folder.name}/")
    assert (folder / "a.bin").read_bytes() == CONTENT
    (folder / "sub").mkdir()
    run("put", "TARGET", "a.bin", f"{folder.name}/sub")
    assert (folder / "sub" / "a.bin").read_bytes() == CONTENT
    run("put", "-p", "TARGET", "a.bin", f"{folder.name}/new/er/c.bin")
    assert (folder / "new" / "er" / "c.bin").read_bytes() == CONTENT


def test_what_exists_stays(call: Run, folder: Path, tmp_path: Path) -> None:
    (folder / "a").write_text("theirs")
    (tmp_path / "a").write_text("mine")
    assert "exists" in call("get", "TARGET", f"{folder.name}/a", code=1).stderr
    assert "exists" in call("put", "TARGET", "a", f"{folder.name}/a", code=1).stderr
    assert ((folder / "a").read_text(), (tmp_path / "a").read_text()) == ("theirs", "mine")
    call("get", "-f", "TARGET", f"{folder.name}/a")
    assert (tmp_path / "a").read_text() == "theirs"
    (tmp_path / "a").write_text("mine")
    call("put", "--replace", "TARGET", "a", f"{folder.name}/a")
    assert (folder / "a").read_text() == "mine"


def test_a_folder_goes_both_ways(run: Run, folder: Path, tmp_path: Path) -> None:
    chance = random.Random(7)
    for number in range(40):
        path = folder / "tree" / str(number % 5) / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(60_000)))
    said = run("get", "-r", "TARGET", f"{folder.name}/tree", "copy")
    assert said.stdout.startswith("copy: 40 files, ")
    told = events(run("get", "-r", "TARGET", f"{folder.name}/tree", "copy", "--json").stdout)
    assert (told[-1]["files"], told[-1]["present"]) == (0, 40)
    assert [one["present"] for one in told if one["event"] == "file"] == [True] * 40
    run("put", "-r", "TARGET", "copy", f"{folder.name}/back")
    want = {path.relative_to(folder / "tree"): path.read_bytes() for path in (folder / "tree").rglob("*/*")}
    for made in (tmp_path / "copy", folder / "back"):
        assert {path.relative_to(made): path.read_bytes() for path in made.rglob("*/*")} == want
    assert "not_found" in run("get", "-r", "TARGET", f"{folder.name}/tree", "in/", code=1).stderr
    (tmp_path / "in").mkdir()
    run("get", "-r", "TARGET", f"{folder.name}/tree", "in/")
    assert (tmp_path / "in" / "tree" / "0").is_dir()
    (tmp_path / "copy" / "0" / "5").write_text("mine")
    failed = run("get", "-r", "TARGET", f"{folder.name}/tree", "copy", code=1)
    assert "1 FAILED" in failed.stdout
    assert failed.stderr.startswith("0/5: exists: ")


@pytest.mark.parametrize(
    "words",
    [
        ("get", "TARGET", "/etc/passwd"),
        ("get", "TARGET", "../secret"),
        ("get", "TARGET", "a/../../b"),
        ("get", "TARGET", "a\x1b[2Jb"),
        ("get", "TARGET", "missing"),
        ("get", "-r", "TARGET", "missing", "x"),
        ("get", "TARGET", ".hidden"),
        ("put", "TARGET", "missing"),
        ("ls", "TARGET", "missing"),
        ("ls", "TARGET", "../"),
        ("ls", "TARGET", "a\nb"),
    ],
    ids=lambda words: ascii(" ".join(words)),
)
def test_what_cannot_be_is_said(call: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = call(*words, code=1)
    assert done.stderr.startswith("error: ")
    assert not any(letter in done.stderr for letter in "\x1b\x07\x00")
    assert done.stdout == ""
    told = events(call(*words, "--json", code=1).stdout)
    assert (told[-1]["event"], told[-1]["error"], told[-1]["exit_code"]) == ("error", "FileTransferError", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("get", "TARGET", ""),
        ("get", "TARGET", "."),
        ("get", "-r", "TARGET", "."),
        ("put", "TARGET", "."),
        ("put", "-r", "TARGET", "/etc/hostname"),
        ("get", "nonsense", "a"),
        ("pipe", "TARGET"),
        ("pipe", "TARGET", "a", "--listen", "b"),
        ("pipe", "-", "a"),
        ("ls",),
    ],
    ids=" ".join,
)
def test_wrong_use_is_said(call: Run, words: tuple[str, ...]) -> None:
    assert call(*words, code=2).stderr


def test_names_are_never_shown_raw(call: Run, folder: Path, tmp_path: Path) -> None:
    """The daemon shares none of them, but a file on this side may have one too."""
    name = "bell\x07\x1b[31m\u202etxt\n"
    (tmp_path / name).write_text("x")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / name).write_text("x")
    said = call("put", "TARGET", name, code=1)
    assert "\x1b" not in said.stderr
    said = call("put", "-r", "TARGET", "tree", f"{folder.name}/tree")
    assert said.stderr.startswith(r"left out bell\x07\x1b[31m\u202etxt\x0a: ")
    told = events(call("put", "-r", "TARGET", "tree", f"{folder.name}/tree", "--json").stdout)
    assert told[-1]["left_out"] == [name]


def test_a_reader_that_goes_away_is_no_fault(
    run: Run, folder: Path, platform: ServedPlatform, environment: dict[str, str], tmp_path: Path
) -> None:
    for number in range(300):
        (folder / f"{number:0200}").touch()
    with subprocess.Popen(
        [*SIDEBAND, "ls", platform.first.daemon_id, folder.name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=tmp_path,
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert listing.stderr.read() == b""
        assert listing.wait(60) == 1


def test_messages_stay_small() -> None:
    held = Held(1 << 62, 1, tuple((number + 1, bytes(32)) for number in range(64)))
    assert len(held.encode()) < 16 * 1024
