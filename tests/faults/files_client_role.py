"""A client that gets and puts files by order, and tells every step of it."""

from __future__ import annotations

import asyncio
import resource
import signal
from typing import Any

from sideband import cloud
from sideband.errors import FileTransferError, PeerError
from sideband.identity import MemoryIdentityKeyStore
from sideband.peer import Peer, RetryPolicy
from sideband.peer.files import progress as progress_of_files
from sideband.peer.files.messages import NOTHING, read_offer
from sideband.sharing import get_file, get_folder, put_file, put_folder
from sideband.sharing.server import GET_STREAM
from tests.faults.role import Role, peak_bytes, run_role

STEPS = 200
"""Of progress that is told."""


async def main(role: Role) -> None:
    config = role.config
    progress_of_files.INTERVAL_SECONDS = 0.0  # type: ignore[misc]  # every step counts here, not the time it takes
    if config["file_limit"]:
        # As a disk that is full, or a quota: writing beyond fails.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (config["file_limit"],) * 2)
    async with cloud.connect(
        daemon_id=config["daemon_id"],
        get_access_token=lambda: config["user_token"],
        api_url=config["url"],
        identity_key_store=MemoryIdentityKeyStore(),
        retry=RetryPolicy(mode="on-error", initial=0.1, max=1.0),
    ) as peer:
        role.tell("ready")
        peer.on("state_change", lambda state, _previous: role.tell("state", state=str(state)))
        async with asyncio.TaskGroup() as tasks:
            while True:
                order = await role.orders.get()
                tasks.create_task(work(role, peer, order))


async def work(role: Role, peer: Peer, order: dict[str, Any]) -> None:
    what, number = order["order"], order["number"]
    step = -1

    def told(done: int, total: int | None) -> None:
        nonlocal step
        now = STEPS if not total else done * STEPS // total
        if now != step:
            step = now
            role.tell("progress", number=number, step=now)

    try:
        if what == "get":
            done: Any = await get_file(peer, order["path"], order["file"], progress=told)
        elif what == "put":
            done = await put_file(peer, order["file"], order["path"], progress=told)
        elif what == "get folder":
            done = await get_folder(peer, order["path"], order["file"], progress=told)
        elif what == "put folder":
            done = await put_folder(peer, order["file"], order["path"], progress=told)
        else:
            await drip(role, peer, order["path"], number)
            return
    except (FileTransferError, PeerError) as error:
        role.tell("failed", number=number, code=error.code, message=str(error))
        return
    told_of = {"size": done.size}
    if hasattr(done, "digest"):
        told_of |= {"digest": done.digest.hex(), "resumed_at": done.resumed_at}
    else:
        told_of |= {"files": done.files, "present": done.present, "failed": len(done.failed)}
    role.tell("done", number=number, peak=peak_bytes(), **told_of)


async def drip(role: Role, peer: Peer, path: str, number: int) -> None:
    """Read a file at some 100 KB/s, and never to its end."""
    stream = await peer.open_stream(GET_STREAM, {"path": path})
    stream.withhold()
    await stream.write(NOTHING.encode())
    await read_offer(stream.read)
    read = 0
    while True:
        read += len(await stream.read(10_000))
        role.tell("dripped", number=number, read=read)
        await asyncio.sleep(0.1)  # this is the load: a slow reader


if __name__ == "__main__":
    run_role(main)
