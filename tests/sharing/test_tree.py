"""Nothing leads out of a tree, whatever links lie in it, and whatever changes meanwhile."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sideband.errors import ConfigError, FileTransferError
from sideband.sharing.root import MAX_LINKS, ConfinedTree


def read(tree: ConfinedTree, path: str) -> bytes:
    with tree.source(path.split("/")) as source:
        return source.read(100)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def tree(shared: Path) -> Iterator[ConfinedTree]:
    tree = ConfinedTree(shared, follow_links=True)
    yield tree
    tree.close()


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "../outside/secret",
        "sub/../../outside/secret",
        "../../../../../../etc/passwd",
        "sub/deep/../../../shared/a.txt",
        ".",
        "..",
    ],
)
def test_links_that_lead_out_are_refused(tree: ConfinedTree, shared: Path, target: str) -> None:
    (shared / "link").symlink_to(target)
    with pytest.raises(FileTransferError) as refused:
        read(tree, "link")
    assert refused.value.code in ("permission_denied", "not_a_file")
    assert "outside" not in str(refused.value)
    assert "/" not in str(refused.value)


def test_folders_that_are_links_out_are_refused(tree: ConfinedTree, shared: Path) -> None:
    (shared / "out").symlink_to("../outside")
    (shared / "absolute").symlink_to(shared.parent / "outside")
    for path in ("out/secret", "absolute/secret"):
        with pytest.raises(FileTransferError):
            read(tree, path)
    for name in ("out", "absolute"):
        with pytest.raises(FileTransferError):
            tree.folder([name])
        with pytest.raises(FileTransferError):
            tree.folder([name, "new"], create=True)
    assert not (shared.parent / "outside" / "new").exists()


def test_links_that_stay_inside_are_followed(tree: ConfinedTree, shared: Path) -> None:
    (shared / "file").symlink_to("sub/c.txt")
    (shared / "folder").symlink_to("sub/deep/")
    (shared / "sub" / "up").symlink_to("../a.txt")
    (shared / "sub" / "chain").symlink_to("./up")
    (shared / "back").symlink_to("sub/deep/../c.txt")
    assert read(tree, "file") == b"third"
    assert read(tree, "folder/d.txt") == b"fourth"
    assert read(tree, "sub/up") == read(tree, "sub/chain") == b"first"
    assert read(tree, "back") == b"third"


def test_links_to_hidden_files_are_refused(shared: Path) -> None:
    (shared / "shown").symlink_to(".hidden")
    strict = ConfinedTree(shared, follow_links=True)
    with pytest.raises(FileTransferError) as refused:
        read(strict, "shown")
    assert refused.value.code == "invalid_name"
    strict.close()
    lenient = ConfinedTree(shared, follow_links=True, allow_hidden=True)
    assert read(lenient, "shown") == b"hidden"
    lenient.close()


def test_loops_end(tree: ConfinedTree, shared: Path) -> None:
    (shared / "loop").symlink_to("loop")
    (shared / "first").symlink_to("second")
    (shared / "second").symlink_to("first")
    for name in ("loop", "first"):
        with pytest.raises(FileTransferError):
            read(tree, name)
    before = "a.txt"
    for number in range(MAX_LINKS + 1):
        (shared / f"link{number}").symlink_to(before)
        before = f"link{number}"
    assert read(tree, f"link{MAX_LINKS - 1}") == b"first"
    with pytest.raises(FileTransferError):
        read(tree, f"link{MAX_LINKS}")


def test_without_links_none_is_followed(shared: Path) -> None:
    (shared / "file").symlink_to("a.txt")
    (shared / "folder").symlink_to("sub")
    strict = ConfinedTree(shared)
    for path in ("file", "folder/c.txt"):
        with pytest.raises(FileTransferError):
            read(strict, path)
    strict.close()


def test_special_files_are_not_opened(tree: ConfinedTree, shared: Path) -> None:
    os.mkfifo(shared / "fifo")
    with pytest.raises(FileTransferError) as refused:
        read(tree, "fifo")
    assert refused.value.code == "not_a_file"
    with pytest.raises(FileTransferError):
        read(tree, "sub")
    with pytest.raises(FileTransferError):
        tree.source([])


def test_the_root_is_resolved_once(tmp_path: Path, shared: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("shared")
    tree = ConfinedTree(link)
    link.unlink()
    link.symlink_to("outside")
    assert read(tree, "a.txt") == b"first"
    shared.rename(tmp_path / "moved")
    assert read(tree, "a.txt") == b"first"
    tree.close()


def test_what_is_no_folder_cannot_be_shared(tmp_path: Path, shared: Path) -> None:
    for path in (tmp_path / "missing", shared / "a.txt"):
        with pytest.raises(ConfigError, match="folder"):
            ConfinedTree(path)


def test_a_race_does_not_lead_out(tree: ConfinedTree, shared: Path) -> None:
    """A folder is swapped for a link that leads out, again and again, while files below it are read."""
    real, link = shared / "real", shared / "link"
    real.mkdir()
    (real / "secret").write_text("inside")
    link.symlink_to("../outside")
    place, stop = shared / "place", threading.Event()

    def swap() -> None:
        while not stop.is_set():
            real.rename(place)
            place.rename(real)
            link.rename(place)
            place.rename(link)

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen: set[bytes] = set()
    refused = 0
    try:
        for _ in range(20_000):
            try:
                seen.add(read(tree, "place/secret"))
            except (FileTransferError, FileNotFoundError, NotADirectoryError):
                refused += 1
            if seen and refused > 100:
                break
    finally:
        stop.set()
        swapping.join()
    assert seen <= {b"inside"}
    assert refused


def test_nothing_stays_open(tree: ConfinedTree, shared: Path) -> None:
    (shared / "out").symlink_to("/etc")
    before = open_files()
    for path in ("a.txt", "sub/deep/d.txt", "sub", "out/passwd", "missing", "a.txt/x"):
        with contextlib.suppress(FileTransferError, OSError):
            read(tree, path)
    tree.folder(["sub", "new"], create=True).close()
    assert open_files() == before
