"""The file watcher, as its user runs it, and its own decisions."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.served_platform import ROOT, ServedPlatform


@pytest.fixture(scope="module")
def watch() -> ModuleType:
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        spec = importlib.util.spec_from_file_location("watch_daemon", ROOT / "examples/watch_daemon.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "examples"))
    return module


def test_clients_are_told_what_changes(platform: ServedPlatform, tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    (folder / "sub").mkdir(parents=True)
    (folder / "here before.txt").write_text("12345")
    environment = platform.daemon_environment("daemon")
    with platform.running("daemon", "watch_daemon.py", str(folder), **environment) as daemon:
        daemon.hear("watching")
        code = daemon.hear("code").partition(" ")[0]
        with (
            platform.running("all", "watch_client.py", **platform.client_environment("all")) as everything,
            platform.running(
                "removed", "watch_client.py", "file.removed", **platform.client_environment("removed", code=code)
            ) as removed,
        ):
            for client in (everything, removed):
                client.hear("1 files; waiting for changes")
                assert [line.split() for line in client.said[:1]] == [["5", "here", "before.txt"]]
            (folder / "sub" / "new.txt").write_text("x" * 2000)
            assert everything.hear("created") == "sub/new.txt, 2,000 bytes"
            (folder / "here before.txt").write_text("123456")
            assert everything.hear("changed") == "here before.txt, 6 bytes"
            (folder / "here before.txt").unlink()
            assert everything.hear("removed") == "here before.txt"
            assert removed.hear("") == "removed here before.txt"
            everything.interrupt()
            removed.interrupt()
        daemon.interrupt()


def test_wrong_use_is_said(platform: ServedPlatform, tmp_path: Path) -> None:
    with platform.running("daemon", "watch_daemon.py", str(tmp_path / "nowhere")) as daemon:
        daemon.finish(1)
        assert daemon.errors().strip() == "usage: watch_daemon.py FOLDER"


_files = st.dictionaries(st.text("abc/", min_size=1, max_size=3), st.tuples(st.integers(0, 9), st.integers(0, 3)))


@given(_files, _files)
def test_the_events_lead_from_one_look_to_the_next(
    watch: ModuleType, before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]
) -> None:
    sizes = {path: size for path, (size, _) in before.items()}
    told = watch.changes(before, after)
    for event, data in told:
        assert (event == "file.created") == (data["path"] not in sizes)
        if event == "file.removed":
            del sizes[data["path"]]
        else:
            sizes[data["path"]] = data["size"]
    assert sizes == {path: size for path, (size, _) in after.items()}
    assert len({data["path"] for _, data in told}) == len(told)
    assert watch.changes(after, after) == []


def test_links_are_not_followed(watch: ModuleType, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("s")
    (inside / "file").write_text("f")
    (inside / "link").symlink_to(outside / "secret")
    (inside / "folder").symlink_to(outside)
    assert set(watch.look(inside)) == {"file"}
