"""Files through a network that is cut, processes that are killed, and disks that are full: whole, or an exact error."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.files_world import FilesWorld, digest_of, make_file, names

MIB = 1024 * 1024
MEMORY = 150 * MIB
"""What each process may take, however large the file is."""

SOAK = [pytest.mark.soak, pytest.mark.timeout(900)]
CUTS = pytest.mark.parametrize(("size", "cuts"), [(48 * MIB, 4), pytest.param(2048 * MIB, 20, marks=SOAK)])
BOTH_WAYS = pytest.mark.parametrize("what", ["get", "put"])
# One way is enough where time counts.
GET_FIRST = pytest.mark.parametrize("what", ["get", pytest.param("put", marks=pytest.mark.servers)])
PUT_FIRST = pytest.mark.parametrize("what", [pytest.param("get", marks=pytest.mark.servers), "put"])
STEPS = 200


def place(world: FilesWorld, what: str) -> tuple[Path, Path]:
    """Where a file is, and where it goes."""
    here, there = world.target / "file", world.shared / "file"
    return (there, here) if what == "get" else (here, there)


async def memory(world: FilesWorld) -> int:
    world.daemon.order("memory")
    told = await world.daemon.expect("memory")
    return int(told["peak"])


@BOTH_WAYS
@CUTS
async def test_the_daemon_is_cut_off_again_and_again(tmp_path: Path, what: str, size: int, cuts: int) -> None:
    async with FilesWorld(tmp_path) as world:
        source, target = place(world, what)
        digest = make_file(source, size)
        client = await world.start_client()
        number = client.order(what, "file", world.target / "file")
        for cut in range(1, cuts + 1):
            await client.reach(number, cut * STEPS // (cuts + 1))
            world.proxy.cut()
        done = await client.result(number, 600)
        assert (done["event"], done["digest"], done["size"]) == ("done", digest, size)
        assert digest_of(target) == digest
        assert names(target.parent) == {"file"}
        paused = [one for one in client.process.news if one.get("state") == "paused"]
        assert paused
        assert done["peak"] < MEMORY
        assert await memory(world) < MEMORY


@PUT_FIRST
@pytest.mark.parametrize(
    ("size", "restarts"),
    [(48 * MIB, 1), pytest.param(2048 * MIB, 5, marks=SOAK)],
)
async def test_the_relay_is_restarted(tmp_path: Path, what: str, size: int, restarts: int) -> None:
    async with FilesWorld(tmp_path) as world:
        source, target = place(world, what)
        digest = make_file(source, size)
        client = await world.start_client()
        number = client.order(what, "file", world.target / "file")
        for restart in range(1, restarts + 1):
            await client.reach(number, restart * STEPS // (restarts + 1))
            await world.server.kill()
            await world.start_server()
        done = await client.result(number, 600)
        assert (done["event"], done.get("digest")) == ("done", digest), done
        assert digest_of(target) == digest
        assert names(target.parent) == {"file"}
        assert done["peak"] < MEMORY


@GET_FIRST
@pytest.mark.parametrize("size", [48 * MIB, pytest.param(2048 * MIB, marks=SOAK)])
async def test_a_client_that_is_killed_goes_on_where_it_was(tmp_path: Path, what: str, size: int) -> None:
    async with FilesWorld(tmp_path) as world:
        source, target = place(world, what)
        digest = make_file(source, size)
        for step in (STEPS // 4, STEPS // 2):
            client = await world.start_client()
            number = client.order(what, "file", world.target / "file")
            await client.reach(number, step)
            await client.process.kill()
        client = await world.start_client()
        done = await client.result(client.order(what, "file", world.target / "file"), 600)
        assert (done["event"], done.get("digest")) == ("done", digest), done
        # Of what was told as progress, the last blocks may not have been written.
        assert done["resumed_at"] >= size // 2 - 24 * MIB
        assert done["resumed_at"] > 0
        assert digest_of(target) == digest
        assert names(target.parent) == {"file"}


async def test_a_daemon_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    async with FilesWorld(tmp_path) as world:
        digest = make_file(world.shared / "file", 48 * MIB)
        client = await world.start_client()
        number = client.order("get", "file", world.target / "file")
        await client.reach(number, STEPS // 2)
        await world.daemon.kill()
        await world.start_daemon()
        done = await client.result(number)
        assert (done["event"], done.get("digest")) == ("done", digest), done
        assert done["resumed_at"] > 0
        assert digest_of(world.target / "file") == digest


async def test_a_file_that_changes_between_tries_is_sent_anew(tmp_path: Path) -> None:
    async with FilesWorld(tmp_path) as world:
        make_file(world.shared / "file", 48 * MIB)
        client = await world.start_client()
        await client.reach(client.order("get", "file", world.target / "file"), STEPS // 2)
        await client.process.kill()
        digest = make_file(world.shared / "file", 40 * MIB)
        client = await world.start_client()
        done = await client.result(client.order("get", "file", world.target / "file"))
        assert (done["digest"], done["resumed_at"]) == (digest, 0)
        assert digest_of(world.target / "file") == digest


async def test_a_partial_file_that_was_damaged_is_mended(tmp_path: Path) -> None:
    async with FilesWorld(tmp_path) as world:
        digest = make_file(world.shared / "file", 48 * MIB)
        client = await world.start_client()
        await client.reach(client.order("get", "file", world.target / "file"), STEPS // 2)
        await client.process.kill()
        partial = world.target / ".file.sideband-part"
        with partial.open("r+b") as file:
            file.seek(5 * MIB)
            file.write(bytes(100))
        client = await world.start_client()
        done = await client.result(client.order("get", "file", world.target / "file"))
        assert done["digest"] == digest
        assert 0 < done["resumed_at"] <= 5 * MIB
        assert digest_of(world.target / "file") == digest


async def test_a_limit_of_the_disk_keeps_what_has_come(tmp_path: Path) -> None:
    async with FilesWorld(tmp_path) as world:
        digest = make_file(world.shared / "file", 24 * MIB)
        client = await world.start_client(file_limit=10 * MIB)
        failed = await client.result(client.order("get", "file", world.target / "file"))
        assert failed["code"] == "too_large"
        assert (world.target / ".file.sideband-part").stat().st_size == 10 * MIB
        client = await world.start_client()
        done = await client.result(client.order("get", "file", world.target / "file"))
        assert (done["digest"], done["resumed_at"]) == (digest, 10 * MIB)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.servers
@BOTH_WAYS
async def test_a_disk_that_is_full_keeps_what_has_come(tmp_path: Path, small_disk: Path, what: str) -> None:
    async with FilesWorld(tmp_path) as world:
        source, target = place(world, what)
        shutil.rmtree(target.parent)
        target.parent.symlink_to(small_disk)
        if what == "put":
            await world.daemon.terminate()
            await world.start_daemon()
        other = source.with_name("other")
        digests = {path.name: make_file(path, 20 * MIB) for path in (source, other)}
        client = await world.start_client()
        # Each would fit alone. Whether that is seen before anything travels depends on which is quicker.
        orders = {name: client.order(what, name, world.target / name) for name in digests}
        results = {name: await client.result(number) for name, number in orders.items()}
        failed = [name for name, one in results.items() if one["event"] == "failed"]
        assert failed
        assert {results[name]["code"] for name in failed} == {"no_space"}
        assert "free some" in results[failed[0]]["message"] or "are free" in results[failed[0]]["message"]
        for path in small_disk.iterdir():
            if failed[0] not in path.name:
                path.unlink()
        done = await client.result(client.order(what, failed[0], world.target / failed[0]))
        assert done["digest"] == digests[failed[0]]
        assert digest_of(target.with_name(failed[0])) == digests[failed[0]]


@pytest.mark.parametrize("size", [48 * MIB, pytest.param(1024 * MIB, marks=SOAK)])
async def test_a_slow_reader_leaves_a_fast_one_alone(tmp_path: Path, size: int) -> None:
    async with FilesWorld(tmp_path) as world:
        digest = make_file(world.shared / "file", size)
        client = await world.start_client()
        slow = client.order("drip", "file")
        await client.process.expect("dripped")
        done = await client.result(client.order("get", "file", world.target / "file"), 600)
        assert done["digest"] == digest
        read = [one["read"] for one in client.process.news if one["event"] == "dripped" and one["number"] == slow]
        assert read[-1] < size // 2
        before = len(read)
        await client.process.until(
            lambda news: sum(one["event"] == "dripped" for one in news) > before
        )  # and it goes on itself
        assert done["peak"] < MEMORY
        assert await memory(world) < MEMORY


@PUT_FIRST
async def test_a_folder_survives_cuts_and_restarts(tmp_path: Path, what: str) -> None:
    async with FilesWorld(tmp_path) as world:
        here, there = world.target / "tree", world.shared / "tree"
        source, target = (there, here) if what == "get" else (here, there)
        for number in range(100):
            path = source / str(number % 9) / f"{number}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            make_file(path, number * 7919)
        client = await world.start_client()
        order = client.order(f"{what} folder", "tree", here)
        await client.reach(order, 40)
        world.proxy.cut()
        await client.reach(order, 100)
        await world.server.kill()
        await world.start_server()
        done = await client.result(order)
        assert (done["event"], done.get("failed")) == ("done", 0), done
        assert done["files"] == 100
        assert {path.relative_to(source): digest_of(path) for path in source.rglob("*.bin")} == {
            path.relative_to(target): digest_of(path) for path in target.rglob("*") if path.is_file()
        }
