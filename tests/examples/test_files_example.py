"""Sending files, as their user does it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from sideband._native import Blake3
from tests.support.served_platform import ServedPlatform


def test_files_arrive_whole(platform: ServedPlatform, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    data = os.urandom(3_000_000)
    (tmp_path / "a b.bin").write_bytes(data)
    (tmp_path / ".hidden").write_bytes(data)
    hasher = Blake3()
    hasher.update(data)
    digest = hasher.digest().hex()
    environment = platform.daemon_environment("daemon")
    client = platform.client_environment("client")
    with platform.running("daemon", "files_daemon.py", str(folder), **environment) as daemon:
        daemon.hear("code")
        with platform.running("one", "files_client.py", str(tmp_path / "a b.bin"), **client) as one:
            assert one.finish() == [f"sent a b.bin 3,000,000 bytes, BLAKE3 {digest}"]
            assert one.errors() == ""
        assert daemon.hear("received") == f"a b.bin 3,000,000 bytes {digest}"
        assert (folder / "a b.bin").read_bytes() == data
        with platform.running("again", "files_client.py", str(tmp_path / "a b.bin"), **client) as again:
            again.finish(1)
            assert "exists" in again.errors()
        assert "exists" in daemon.hear("not received")
        with platform.running("hidden", "files_client.py", str(tmp_path / ".hidden"), **client) as hidden:
            hidden.finish(1)
            assert "a single name" in hidden.errors()
        daemon.interrupt()
    assert {path.name for path in folder.iterdir()} == {"a b.bin"}


def test_an_interrupted_file_goes_on(platform: ServedPlatform, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    size = 200 * 1024 * 1024
    with (tmp_path / "large").open("wb") as file:
        file.write(os.urandom(1_000_000))
        file.truncate(size)
    environment = platform.daemon_environment("daemon")
    client = platform.client_environment("client")
    with platform.running("daemon", "files_daemon.py", str(folder), **environment) as daemon:
        daemon.hear("code")
        with platform.running("killed", "files_client.py", str(tmp_path / "large"), **client) as killed:
            while not any(path.stat().st_size > 2_000_000 for path in folder.iterdir()):
                assert killed.process.poll() is None
            killed.process.send_signal(signal.SIGINT)
            killed.finish()
        with platform.running("again", "files_client.py", str(tmp_path / "large"), **client) as again:
            (said,) = again.finish()
        assert "were there" in said
        daemon.interrupt()
    assert (folder / "large").stat().st_size == size
