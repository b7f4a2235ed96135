"""Whole folders, and other sides that lie about what they hold."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from sideband.errors import FileTransferError
from sideband.peer import Peer
from sideband.sharing import FolderTransfer, get_folder, put_folder
from sideband.sharing.folders import FileOutcome
from sideband.sharing.server import GET_STREAM, LIST_METHOD
from tests.peer.test_streams_plain import connected
from tests.sharing.conftest import Sharing


def tree(folder: Path) -> dict[str, Any]:
    """All that is in a folder: contents by path, and the times of files."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name] = (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
    return found


@pytest.fixture
def plain(shared: Path) -> Path:
    (shared / ".hidden").unlink()
    (shared / "empty" / "er").mkdir(parents=True)
    (shared / "sub" / "run").write_text("#!")
    (shared / "sub" / "run").chmod(0o755)
    (shared / "sub" / "none").touch()
    return shared


async def test_a_folder_comes_whole(sharing: Sharing, plain: Path, target: Path) -> None:
    progress: list[tuple[int, int | None]] = []
    outcomes: list[FileOutcome] = []
    async with sharing() as peer:
        done = await get_folder(
            peer, "", target / "copy", progress=lambda *told: progress.append(told), on_file=outcomes.append
        )
    assert tree(target / "copy") == tree(plain)
    assert os.access(target / "copy" / "sub" / "run", os.X_OK)
    size = sum(path.stat().st_size for path in plain.rglob("*") if path.is_file())
    assert done == FolderTransfer(files=6, size=size)
    assert progress[0] == (0, size)
    assert progress[-1] == (size, size)
    assert sorted(outcome.path for outcome in outcomes) == sorted(
        path.relative_to(plain).as_posix() for path in plain.rglob("*") if path.is_file()
    )


async def test_a_folder_goes_whole(sharing: Sharing, plain: Path, target: Path) -> None:
    (plain / "empty" / "er").rmdir()  # folders without files are not sent
    (plain / "empty").rmdir()
    source = target / "source"
    plain.rename(source)
    plain.mkdir()
    (source / "link").symlink_to("a.txt")
    (source / ".git").mkdir()
    os.mkfifo(source / "fifo")
    async with sharing(writable=True) as peer:
        done = await put_folder(peer, source, "copies/one")
        assert (done.files, done.present, done.failed) == (6, 0, [])
        assert sorted(done.left_out) == [".git", "fifo", "link"]
        for extra in ("link", "fifo"):
            (source / extra).unlink()
        (source / ".git").rmdir()
        assert tree(plain / "copies" / "one") == tree(source)
        (source / "a.txt").write_text("new and longer")
        again = await put_folder(peer, source, "copies/one")
        assert (again.files, again.present) == (0, 5)
        assert [(one.path, one.error.code) for one in again.failed] == [("a.txt", "exists")]
        last = await put_folder(peer, source, "copies/one", exists="replace")
        assert (last.files, last.present, last.failed) == (1, 5, [])
        assert tree(plain / "copies" / "one") == tree(source)


async def test_what_is_there_already_is_not_fetched_again(sharing: Sharing, plain: Path, target: Path) -> None:
    async with sharing() as peer:
        await get_folder(peer, "sub", target / "copy")
        (target / "copy" / "c.txt").unlink()
        (target / "copy" / "none").write_text("mine")
        done = await get_folder(peer, "sub", target / "copy")
    assert (done.files, done.present) == (1, 2)
    assert [(one.path, one.error.code) for one in done.failed] == [("none", "exists")]
    assert (target / "copy" / "none").read_text() == "mine"
    assert (target / "copy" / "c.txt").read_text() == "third"


async def test_many_files_travel_at_once(sharing: Sharing, shared: Path, target: Path) -> None:
    chance = random.Random(3)
    for number in range(200):
        path = shared / "many" / str(number % 7) / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(200_000)))
    async with sharing(writable=True) as peer:
        done = await get_folder(peer, "many", target / "many")
        assert done.files == 200
        assert tree(target / "many") == tree(shared / "many")
        done = await put_folder(peer, target / "many", "again")
        assert done.files == 200
        assert tree(shared / "again") == tree(shared / "many")


async def test_links_in_the_target_are_not_followed(sharing: Sharing, plain: Path, target: Path) -> None:
    outside = target / "outside"
    outside.mkdir()
    copy = target / "copy"
    copy.mkdir()
    (copy / "sub").symlink_to(outside)
    (copy / "a.txt").symlink_to(outside / "a.txt")
    async with sharing() as peer:
        done = await get_folder(peer, "", copy, exists="replace")
    assert {one.path for one in done.failed} == {f"sub/{name}" for name in ("c.txt", "deep/d.txt", "none", "run")}
    assert (copy / "a.txt").read_text() == "first"
    assert not (copy / "a.txt").is_symlink()
    assert list(outside.iterdir()) == []


def entry(name: str, kind: str = "file", **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "size": 4, "mtime": 1, "mode": 0o644} | more


LIES: list[dict[str, Any]] = [
    {"entries": [entry("../evil")]},
    {"entries": [entry("..", "folder")]},
    {"entries": [entry("/etc/evil")]},
    {"entries": [entry("a/b")]},
    {"entries": [entry("a\0b")]},
    {"entries": [entry("a\nb")]},
    {"entries": [entry("")]},
    {"entries": [entry(".x.sideband-part")]},
    {"entries": [entry("a"), entry("a")]},
    {"entries": [entry("b"), entry("a")]},
    {"entries": [entry("e\u0301"), entry("\u00e9")]},
    {"entries": [entry("a", "socket")]},
    {"entries": [entry("a", size=-1)]},
    {"entries": [entry("a", size="4")]},
    {"entries": [entry("a", mtime=None)]},
    {"entries": [entry("a", mode=1 << 70)]},
    {"entries": ["a"]},
    {"entries": "a"},
    {},
    {"entries": [], "next": "a"},
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: ascii(lie)[:60])
async def test_a_listing_that_lies_leads_nowhere(target: Path, lie: dict[str, Any]) -> None:
    def serve(peer: Peer) -> None:
        peer.rpc.handle_platform(LIST_METHOD, lambda params: lie)

    async with connected(serve) as (peer, _):
        with pytest.raises(FileTransferError) as caught:
            await get_folder(peer, "", target / "copy")
    assert caught.value.code in ("invalid_name", "protocol")
    assert list(target.iterdir()) == []


async def test_a_folder_without_end_is_given_up(target: Path) -> None:
    def serve(peer: Peer) -> None:
        peer.rpc.handle_platform(LIST_METHOD, lambda params: {"entries": [entry("a", "folder")]})

    async with connected(serve) as (peer, _):
        with pytest.raises(FileTransferError) as caught:
            await get_folder(peer, "", target / "copy")
    assert caught.value.code == "too_large"
    assert list(target.iterdir()) == []


async def test_a_file_that_is_another_size_than_listed_is_what_was_sent(
    sharing: Sharing, shared: Path, target: Path
) -> None:
    """The listing may be old; each file is right by its own digest."""

    async def get(stream: Any) -> None:
        await stream.send_file(shared / "b.txt")

    def serve(peer: Peer) -> None:
        peer.rpc.handle_platform(LIST_METHOD, lambda params: {"entries": [entry("b.txt", size=1)]})
        peer.stream_handler(GET_STREAM, get)

    async with connected(serve) as (peer, _):
        done = await get_folder(peer, "", target / "copy")
    assert done.files == 1
    assert (target / "copy" / "b.txt").read_text() == "second one"
