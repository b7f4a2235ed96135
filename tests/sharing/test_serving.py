"""What a client of a shared folder can do, and what it cannot."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from sideband.errors import FileTransferError, PeerError, RpcPeerError
from sideband.peer import PeerOptions
from sideband.peer.files import RESET_CODES
from sideband.peer.files.messages import NOTHING, read_offer
from sideband.sharing import SharedTransfer, SharingLimits, get_file, list_folder, put_file, share
from sideband.sharing.server import GET_STREAM, LIST_METHOD, PUT_STREAM, READ_METHOD
from tests.peer.test_streams_plain import connected
from tests.sharing.conftest import Sharing
from tests.support.manual_clock import ManualClock
from tests.support.relay_harness import until

OUT = ["/etc/passwd", "../outside/secret", "sub/../../outside/secret", "out", "outside/secret", ".hidden", "a\0b"]


async def failed(work: Any) -> FileTransferError:
    with pytest.raises(FileTransferError) as caught:
        await work
    return caught.value


async def test_a_listing_tells_what_is_there(sharing: Sharing, shared: Path) -> None:
    os.mkfifo(shared / "fifo")
    (shared / "link").symlink_to("a.txt")
    (shared / "line\nbreak").touch()
    (shared / os.fsdecode(b"not\xffutf8")).touch()
    (shared / ".a.txt.sideband-part").touch()
    (shared / "b.txt").chmod(0o640)
    os.utime(shared / "b.txt", ns=(0, 1_700_000_000_123_999_999))
    async with sharing() as peer:
        entries = await list_folder(peer)
        assert [(entry.name, entry.kind) for entry in entries] == [
            ("a.txt", "file"),
            ("b.txt", "file"),
            ("fifo", "other"),
            ("link", "link"),
            ("sub", "folder"),
        ]
        second = entries[1]
        assert (second.size, second.mtime, second.mode) == (10, 1_700_000_000_123, 0o640)
        assert [entry.name for entry in await list_folder(peer, "sub/")] == ["c.txt", "deep"]
    async with sharing(allow_hidden=True) as peer:
        assert ".hidden" in [entry.name for entry in await list_folder(peer)]
        assert not any("sideband-part" in entry.name for entry in await list_folder(peer))


async def test_a_listing_comes_page_by_page(sharing: Sharing, shared: Path) -> None:
    limits = SharingLimits(page_entries=7, folder_entries=50)
    many = shared / "many"
    many.mkdir()
    names = [f"{number:03}" for number in range(50)]
    for name in names:
        (many / name).touch()
    async with sharing(limits=limits) as peer:
        assert [entry.name for entry in await list_folder(peer, "many")] == names
        page = await peer.rpc.call(LIST_METHOD, {"path": "many", "limit": 1000})
        assert len(page["entries"]) == 7
        assert page["next"] == "006"
        (many / "one more").touch()
        assert (await failed(list_folder(peer, "many"))).code == "too_large"


async def test_parts_of_files_are_read(sharing: Sharing, shared: Path) -> None:
    async with sharing(limits=SharingLimits(read_bytes=4)) as peer:
        answer = await peer.rpc.call(READ_METHOD, {"path": "b.txt", "offset": 2})
        assert answer == {
            "data": b"cond",
            "encoding": "bytes",
            "size": 10,
            "mtime": (shared / "b.txt").stat().st_mtime_ns // 1_000_000,
        }
        assert (await peer.rpc.call(READ_METHOD, {"path": "b.txt", "offset": 9, "length": 4}))["data"] == b"e"
        assert (await peer.rpc.call(READ_METHOD, {"path": "b.txt", "offset": 99}))["data"] == b""


@pytest.mark.parametrize("path", OUT, ids=ascii)
async def test_nothing_outside_is_reached(sharing: Sharing, shared: Path, target: Path, path: str) -> None:
    (shared / "out").symlink_to("../outside/secret")
    (shared / "outside").symlink_to("../outside")
    source = target / "source"
    source.write_text("mine")
    before = sorted(shared.parent.rglob("*"))
    async with sharing(writable=True) as peer:
        for method in (LIST_METHOD, READ_METHOD):
            with pytest.raises(RpcPeerError) as refused:
                await peer.rpc.call(method, {"path": path})
            assert refused.value.data["code"] in ("invalid_name", "permission_denied", "not_found", "not_a_file")
            assert str(shared.parent) not in str(refused.value)
        error = await failed(get_file(peer, path, target / "got"))
        assert error.remote
        assert str(shared.parent) not in str(error).replace(str(target), "")
        if path not in ("out",):  # a link in place of the destination is replaced, not followed
            error = await failed(put_file(peer, source, path, exists="replace", parents=True))
            assert error.remote
    assert (shared.parent / "outside" / "secret").read_text() == "secret"
    assert sorted(shared.parent.rglob("*")) == before


async def test_what_is_no_file_is_not_read(sharing: Sharing, shared: Path, target: Path) -> None:
    os.mkfifo(shared / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(shared / "socket"))
        async with sharing() as peer:
            for path in ("fifo", "socket", "sub", ""):
                assert (await failed(get_file(peer, path, target / "got"))).code == "not_a_file"
            assert (await failed(get_file(peer, "missing", target / "got"))).code == "not_found"
            assert (await failed(list_folder(peer, "a.txt"))).code == "not_found"
    assert list(target.iterdir()) == []


async def test_files_go_both_ways(sharing: Sharing, shared: Path, target: Path, finished: list[SharedTransfer]) -> None:
    async with sharing(writable=True) as peer:
        got = await get_file(peer, "sub/deep/d.txt", target / "d.txt")
        assert (target / "d.txt").read_text() == "fourth"
        put = await put_file(peer, target / "d.txt", "new/folder/e.txt", parents=True)
        assert put == got
        assert (shared / "new" / "folder" / "e.txt").read_text() == "fourth"
        assert (await failed(put_file(peer, target / "d.txt", "other/e.txt"))).code == "not_found"
        assert (await failed(put_file(peer, target / "d.txt", "a.txt"))).code == "exists"
        await put_file(peer, target / "d.txt", "a.txt", exists="replace")
        assert (shared / "a.txt").read_text() == "fourth"
    told = [(one.direction, one.path, one.transfer is not None, getattr(one.error, "code", "")) for one in finished]
    assert told == [
        ("get", "sub/deep/d.txt", True, ""),
        ("put", "new/folder/e.txt", True, ""),
        ("put", "other/e.txt", False, "not_found"),
        ("put", "a.txt", False, "exists"),
        ("put", "a.txt", True, ""),
    ]


async def test_nothing_is_written_unless_that_is_allowed(sharing: Sharing, shared: Path) -> None:
    before = sorted(shared.rglob("*"))
    async with sharing() as peer:
        error = await failed(put_file(peer, shared / "a.txt", "new.txt"))
    assert (error.code, error.remote) == ("read_only", True)
    assert sorted(shared.rglob("*")) == before


async def test_a_put_that_ends_goes_on(sharing: Sharing, shared: Path, target: Path) -> None:
    source = target / "big"
    source.write_bytes(os.urandom(3_000_000))

    def interrupt(done: int, _total: int | None) -> None:
        if done >= 1_000_000:
            raise KeyError

    async with sharing(writable=True) as peer:
        with pytest.raises(KeyError):
            await put_file(peer, source, "big", progress=interrupt)
        done = await put_file(peer, source, "big")
        assert (shared / "big").read_bytes() == source.read_bytes()
        assert done.size == 3_000_000


async def test_transfers_are_limited(sharing: Sharing, target: Path, finished: list[SharedTransfer]) -> None:
    async with sharing(limits=SharingLimits(transfers_per_peer=2)) as peer:
        held = [await peer.open_stream(GET_STREAM, {"path": "a.txt"}) for _ in range(2)]
        assert (await failed(get_file(peer, "a.txt", target / "a"))).code == "busy"
        for stream in held:
            stream.reset()
        await until(lambda: len(finished) == 2)
        await get_file(peer, "a.txt", target / "a")


async def test_a_client_that_never_says_what_it_holds_loses_its_place(
    sharing: Sharing, target: Path, finished: list[SharedTransfer]
) -> None:
    clock = ManualClock()
    limits = SharingLimits(transfers_per_peer=1, held_seconds=30)
    async with sharing(server=PeerOptions(peer_id="server", clock=clock), limits=limits) as peer:
        silent = await peer.open_stream(GET_STREAM, {"path": "a.txt"})
        await until(lambda: 30 in clock.waiting())
        await clock.advance(29.9)
        assert (await failed(get_file(peer, "a.txt", target / "a"))).code == "busy"
        assert not silent.closed
        await clock.advance(0.1)
        with pytest.raises(PeerError) as caught:
            await silent.read()
        assert caught.value.details["code"] == RESET_CODES["protocol"]
        await until(lambda: finished)
        assert isinstance(finished[0].error, FileTransferError)
        assert "within 30 s" in str(finished[0].error)
        await get_file(peer, "a.txt", target / "a")


async def test_who_has_said_what_it_holds_may_take_its_time(sharing: Sharing) -> None:
    clock = ManualClock()
    options = PeerOptions(peer_id="server", clock=clock)
    async with sharing(server=options, limits=SharingLimits(held_seconds=30)) as peer:
        slow = await peer.open_stream(GET_STREAM, {"path": "a.txt"})
        await until(lambda: 30 in clock.waiting())
        await slow.write(NOTHING.encode())
        assert (await read_offer(slow.read)).size == 5
        assert 30 not in clock.waiting()


@pytest.mark.parametrize(
    "params", [[], 5, {"path": 5}, {"path": None}, {"after": 1}, {"limit": 0}, {"limit": "1"}, {"limit": True}]
)
async def test_listings_for_wrong_params_are_refused(sharing: Sharing, params: Any) -> None:
    async with sharing() as peer:
        with pytest.raises(RpcPeerError):
            await peer.rpc.call(LIST_METHOD, params)
        assert (await peer.rpc.call(LIST_METHOD, "sub"))["entries"]


@pytest.mark.parametrize("metadata", [{}, {"path": 5}, {"path": ["a"]}, {"path": "a.txt", "replace": "yes"}])
async def test_streams_with_wrong_metadata_are_refused(sharing: Sharing, metadata: dict[str, Any]) -> None:
    async with sharing(writable=True) as peer:
        stream = await peer.open_stream(PUT_STREAM, metadata)
        with pytest.raises(PeerError) as refused:
            await stream.read()
        assert refused.value.details["code"] in RESET_CODES.values()


async def test_who_shares_nothing_says_so(target: Path) -> None:
    async with connected(lambda peer: None) as (peer, _):
        for work in (list_folder(peer), get_file(peer, "a", target / "a"), put_file(peer, __file__, "a")):
            assert "shares no files" in str(await failed(work))


async def test_a_single_peer_is_served(shared: Path) -> None:
    shares = []
    async with connected(lambda peer: shares.append(share(peer, shared))) as (peer, _):
        assert await list_folder(peer)
    shares[0].close()
