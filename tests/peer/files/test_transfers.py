"""Files over streams: what arrives, what is kept, and what is said when it cannot."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from sideband._native import Blake3
from sideband.errors import FileTransferError, PeerError
from sideband.peer.files import Folder, held_bytes, opened_in_worker
from sideband.peer.files.messages import Offer, read_held
from sideband.peer.files.partial import Partial, partial_name
from sideband.peer.streams import Stream
from tests.peer.files.conftest import Pair


def blake3(data: bytes) -> bytes:
    hasher = Blake3()
    hasher.update(data)
    return hasher.digest()


async def transfer(pair: Pair, source: Path, target: Path, **options: Any) -> tuple[Any, Any]:
    """Send a file; return what either side came to."""
    stream = await pair.open(lambda stream: stream.receive_file(target, **options))
    try:
        sent: Any = await stream.send_file(source)
    except (FileTransferError, PeerError) as error:
        sent = error
    return sent, await pair.results.get()


async def interrupted(pair: Pair, source: Path, target: Path, at: int) -> None:
    """Send the first `at` bytes of a file, and give up when the receiver has them."""
    reached = asyncio.Event()

    def told(done: int, _total: int | None) -> None:
        if done == at:
            reached.set()

    stream = await pair.open(lambda stream: stream.receive_file(target, progress=told))
    await read_held(stream.read)
    status = source.stat()
    await stream.write(Offer(status.st_size, status.st_mtime_ns, executable=False, offset=0).encode())
    await stream.write(source.read_bytes()[:at])
    await reached.wait()
    stream.reset()
    error = await pair.results.get()
    assert isinstance(error, PeerError)
    assert error.code == "stream_reset"
    assert held_bytes(target) == at


def left(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()}


@pytest.mark.parametrize("size", [0, 1, 4095, 65_536, 262_144, 1 << 20, (1 << 20) + 1, 5_000_000])
async def test_a_file_arrives_whole(pair: Pair, content: bytes, source: Path, target: Path, size: int) -> None:
    source.write_bytes(content[:size])
    os.utime(source, ns=(1, 1_600_000_000_123_456_789))
    sent, received = await transfer(pair, source, target)
    assert sent == received
    assert (sent.size, sent.resumed_at, sent.digest) == (size, 0, blake3(content[:size]))
    assert target.read_bytes() == content[:size]
    assert target.stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert left(target) == {target.name}


async def test_what_is_flushed_while_more_comes_is_whole(
    pair: Pair, content: bytes, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sideband.peer.files.partial.FLUSH_BYTES", 65_536)
    source.write_bytes(content[:3_000_000])
    await interrupted(pair, source, target, 1_000_000)
    sent, received = await transfer(pair, source, target)
    assert sent == received
    assert sent.resumed_at == 1_000_000
    assert target.read_bytes() == content[:3_000_000]


async def test_the_one_who_opens_can_receive(pair: Pair, content: bytes, source: Path, target: Path) -> None:
    stream = await pair.open(lambda stream: stream.send_file(source, offset=1000))
    received = await stream.receive_file(target)
    assert target.read_bytes() == content[1000:]
    assert await pair.results.get() == received


async def test_a_stream_with_a_digest_of_its_own_carries_a_file(pair: Pair, source: Path, target: Path) -> None:
    pair.handler = lambda stream: stream.receive_file(target)
    stream = await pair.peer.open_stream("file", digest=True)
    assert await stream.send_file(source) == await pair.results.get()


async def test_modes_are_those_of_new_files(pair: Pair, source: Path, target: Path) -> None:
    plain = target.with_name("plain")
    plain.touch()
    source.chmod(0o600)
    await transfer(pair, source, target)
    assert target.stat().st_mode == plain.stat().st_mode
    source.chmod(0o6755)
    await transfer(pair, source, target.with_name("program"))
    mode = plain.stat().st_mode
    assert target.with_name("program").stat().st_mode == mode | (mode & 0o444) >> 2


async def test_an_interrupted_transfer_goes_on(pair: Pair, content: bytes, source: Path, target: Path) -> None:
    await interrupted(pair, source, target, 2_500_000)
    partial = target.with_name(partial_name(target.name))
    assert left(target) == {partial.name, f"{partial.name}.json"}
    assert [path.stat().st_mode & 0o777 for path in target.parent.iterdir()] == [0o600, 0o600]
    progress: list[tuple[int, int | None]] = []
    sent, received = await transfer(pair, source, target, progress=lambda *told: progress.append(told))
    assert sent == received
    assert sent.resumed_at == 2_500_000
    assert target.read_bytes() == content
    assert left(target) == {target.name}
    assert progress[0] == (2_500_000, len(content))
    assert progress[-1] == (len(content), len(content))


async def test_resume_can_be_declined(pair: Pair, content: bytes, source: Path, target: Path) -> None:
    await interrupted(pair, source, target, 2_500_000)
    sent, _ = await transfer(pair, source, target, resume=False)
    assert sent.resumed_at == 0
    assert target.read_bytes() == content


@pytest.mark.parametrize("change", ["bytes", "time", "size"])
async def test_a_file_changed_between_tries_begins_anew(
    pair: Pair, content: bytes, source: Path, target: Path, change: str
) -> None:
    await interrupted(pair, source, target, 2_500_000)
    status = source.stat()
    new = {"bytes": bytes(1000) + content[1000:], "time": content, "size": content + b"more"}[change]
    source.write_bytes(new)
    mtime = status.st_mtime_ns + (10**9 if change == "time" else 0)
    os.utime(source, ns=(mtime, mtime))
    sent, _ = await transfer(pair, source, target)
    assert sent.resumed_at == 0
    assert target.read_bytes() == new


async def test_broken_bytes_of_a_partial_file_are_sent_again(
    pair: Pair, content: bytes, source: Path, target: Path
) -> None:
    await interrupted(pair, source, target, 3_500_000)
    partial = target.with_name(partial_name(target.name))
    with partial.open("r+b") as file:
        file.seek(2_200_000)
        file.write(b"torn by a power cut")
    sent, _ = await transfer(pair, source, target)
    assert sent.resumed_at == 2 * 1024 * 1024  # the last mark before
    assert target.read_bytes() == content


@pytest.mark.parametrize(
    "state", [b"", b"{", b"[]", b'{"v":2}', b'{"v":1,"name":"other","size":5,"mtime":1,"mode":420}', b"\xff" * 9000]
)
async def test_a_broken_state_begins_anew(pair: Pair, content: bytes, source: Path, target: Path, state: bytes) -> None:
    await interrupted(pair, source, target, 2_500_000)
    target.with_name(f"{partial_name(target.name)}.json").write_bytes(state)
    sent, _ = await transfer(pair, source, target)
    assert sent.resumed_at == 0
    assert target.read_bytes() == content
    assert left(target) == {target.name}


async def test_the_state_has_a_version(pair: Pair, source: Path, target: Path) -> None:
    await interrupted(pair, source, target, 2_500_000)
    state = json.loads(target.with_name(f"{partial_name(target.name)}.json").read_text())
    status = source.stat()
    assert state["v"] == 1
    assert (state["size"], state["mtime"]) == (status.st_size, status.st_mtime_ns)


async def test_what_exists_stays_unless_it_may_be_replaced(
    pair: Pair, content: bytes, source: Path, target: Path
) -> None:
    target.write_text("mine")
    sent, received = await transfer(pair, source, target)
    assert (sent.code, sent.remote, received.code, received.remote) == ("exists", True, "exists", False)
    assert target.read_text() == "mine"
    sent, received = await transfer(pair, source, target, exists="replace")
    assert sent == received
    assert target.read_bytes() == content


async def test_what_appears_meanwhile_is_not_overwritten(pair: Pair, source: Path, target: Path) -> None:
    def told(done: int, _total: int | None) -> None:
        if done:
            target.write_text("mine")

    sent, received = await transfer(pair, source, target, progress=told)
    assert (sent.code, received.code) == ("exists", "exists")
    assert target.read_text() == "mine"


async def test_a_link_in_place_of_the_destination_is_replaced_and_not_followed(
    pair: Pair, content: bytes, source: Path, target: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    target.symlink_to(outside)
    await transfer(pair, source, target, exists="replace")
    assert outside.read_text() == "mine"
    assert not target.is_symlink()
    assert target.read_bytes() == content


async def test_a_link_in_place_of_the_partial_file_is_not_followed(
    pair: Pair, source: Path, target: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    target.with_name(partial_name(target.name)).symlink_to(outside)
    sent, received = await transfer(pair, source, target)
    assert (sent.code, received.code) == ("not_a_file", "not_a_file")
    assert outside.read_text() == "mine"


async def test_a_hard_link_in_place_of_the_partial_file_is_not_written_to(
    pair: Pair, content: bytes, source: Path, target: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    target.with_name(partial_name(target.name)).hardlink_to(outside)
    await transfer(pair, source, target)
    assert outside.read_text() == "mine"
    assert target.read_bytes() == content


async def test_two_transfers_do_not_write_to_one_file(pair: Pair, source: Path, target: Path) -> None:
    with Folder(target.parent) as folder:
        partial = Partial(folder, target.name, resume=True)
        try:
            sent, received = await transfer(pair, source, target)
        finally:
            partial.close()
    assert (sent.code, received.code) == ("busy", "busy")
    assert left(target) == set()


async def test_a_long_name_has_a_partial_file_too(pair: Pair, content: bytes, source: Path, target: Path) -> None:
    target = target.with_name("ü" * 127)
    await interrupted(pair, source, target, 2_500_000)
    sent, _ = await transfer(pair, source, target)
    assert sent.resumed_at == 2_500_000
    assert target.read_bytes() == content


async def test_a_source_that_is_not_there_is_named_here_and_not_there(pair: Pair, source: Path, target: Path) -> None:
    sent, received = await transfer(pair, source.with_name("missing"), target)
    assert (sent.code, sent.remote) == ("not_found", False)
    assert "missing" in str(sent)
    assert (received.code, received.remote) == ("not_found", True)
    assert "missing" not in str(received)
    assert left(target) == set()


async def test_folders_and_fifos_are_no_files(pair: Pair, source: Path, target: Path) -> None:
    sent, _ = await transfer(pair, source.parent, target)
    assert sent.code == "not_a_file"
    fifo = source.with_name("fifo")
    os.mkfifo(fifo)
    sent, _ = await transfer(pair, fifo, target)
    assert sent.code == "not_a_file"
    fifo.rename(target)
    sent, received = await transfer(pair, source, target, exists="replace")
    assert (sent.code, received.code) == ("not_a_file", "not_a_file")


async def test_a_file_that_changes_while_it_is_sent_is_told(pair: Pair, source: Path, target: Path) -> None:
    async def send(stream: Stream, change: Any) -> Any:
        try:
            return await stream.send_file(source, progress=change)
        except FileTransferError as error:
            return error

    def grow(_done: int, _total: int | None) -> None:
        with source.open("ab") as file:
            file.write(b"more")

    stream = await pair.open(lambda stream: stream.receive_file(target))
    sent = await send(stream, grow)
    received = await pair.results.get()
    assert (sent.code, received.code, received.remote) == ("changed", "changed", True)

    def shrink(_done: int, _total: int | None) -> None:
        os.truncate(source, 1_000_000)

    stream = await pair.open(lambda stream: stream.receive_file(target))
    sent = await send(stream, shrink)
    received = await pair.results.get()
    assert (sent.code, received.code) == ("changed", "changed")
    assert not target.exists()


async def test_a_missing_folder_is_told(pair: Pair, source: Path, target: Path) -> None:
    sent, received = await transfer(pair, source, target.parent / "nowhere" / "x")
    assert (sent.code, received.code, sent.remote) == ("not_found", "not_found", True)


async def test_progress_is_told_at_both_ends(pair: Pair, content: bytes, source: Path, target: Path) -> None:
    here: list[tuple[int, int | None]] = []
    there: list[tuple[int, int | None]] = []
    stream = await pair.open(lambda stream: stream.receive_file(target, progress=lambda *told: there.append(told)))
    await stream.send_file(source, progress=lambda *told: here.append(told))
    await pair.results.get()
    for told in (here, there):
        assert told == sorted(told)
        assert told[0] == (0, len(content))
        assert told[-1] == (len(content), len(content))


async def test_what_was_opened_for_somebody_who_has_left_is_closed() -> None:
    class Opened:
        closed = False

        def close(self) -> None:
            self.closed = True

    begun, go_on, opened = threading.Event(), threading.Event(), Opened()

    def open_slowly() -> Opened:
        begun.set()
        go_on.wait(30)
        return opened

    opening = asyncio.create_task(opened_in_worker(open_slowly))
    await asyncio.to_thread(begun.wait, 30)
    opening.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert opened.closed
