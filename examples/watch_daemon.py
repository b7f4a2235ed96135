"""Tells what changes in a folder: python examples/watch_daemon.py FOLDER

Clients call `list`, and are told by the events `file.created`, `file.changed` and `file.removed`. The folder is looked
through twice a second, which needs nothing but the standard library and works on every file system.
"""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import environment

from sideband import Peer, cloud

SECONDS = 0.5
Files = dict[str, tuple[int, int]]
"""Of each file below the folder: its size in bytes, and when it was last modified, in nanoseconds."""


def look(folder: Path) -> Files:
    """Return the regular files below a folder by their relative paths; links are not followed."""
    found: Files = {}
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with suppress(FileNotFoundError):  # it went away meanwhile
                if path.is_file() and not path.is_symlink():
                    status = path.stat()
                    found[path.relative_to(folder).as_posix()] = status.st_size, status.st_mtime_ns
    return found


def changes(before: Files, after: Files) -> list[tuple[str, dict[str, Any]]]:
    """Return the events that lead from one look to the next, by path."""
    events: list[tuple[str, dict[str, Any]]] = []
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            events.append(("file.removed", {"path": path}))
        elif path not in before:
            events.append(("file.created", {"path": path, "size": after[path][0]}))
        elif before[path] != after[path]:
            events.append(("file.changed", {"path": path, "size": after[path][0]}))
    return events


async def main(folder: Path) -> None:
    files = await asyncio.to_thread(look, folder)

    def on_connection(peer: Peer) -> None:
        @peer.rpc.handle("list")
        def list_files() -> dict[str, int]:
            """Return the size in bytes of each file."""
            return {path: size for path, (size, _) in files.items()}

    async with await cloud.listen(**environment.daemon(), on_connection=on_connection) as server:
        print("watching", folder, "as", server.daemon_id, "key", server.fingerprint, flush=True)
        print("code", (await server.create_quick_connect()).code, "lets one guest look on", flush=True)
        while True:
            await asyncio.sleep(SECONDS)
            before, files = files, await asyncio.to_thread(look, folder)
            for event, data in changes(before, files):
                for peer in server.connections:
                    peer.events.emit(event, data)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        raise SystemExit("usage: watch_daemon.py FOLDER")
    with suppress(KeyboardInterrupt):
        asyncio.run(main(Path(sys.argv[1])))
