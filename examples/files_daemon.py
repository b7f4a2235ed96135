"""Takes in files: python examples/files_daemon.py FOLDER

Each stream named `file` brings one. Until it is whole it has another name; what was interrupted goes on when it is sent
again, and a file that is there already stays as it is.
"""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

import environment

from sideband import FileTransferError, Peer, PeerError, Stream, cloud

REFUSED = 1400
"""This program's own code for a name that it does not take."""


def check(name: object) -> str:
    """Return the name of a file if it is one: what the other side says could also lead out of the folder."""
    if not isinstance(name, str) or name != Path(name).name or name.startswith(".") or not name.isprintable():
        raise ValueError("a file has a single name, which is visible")
    return name


async def main(folder: Path) -> None:
    async def take(stream: Stream) -> None:
        try:
            path = folder / check(stream.metadata.get("name"))
        except ValueError as error:
            stream.reset(REFUSED, str(error))
            return
        try:
            done = await stream.receive_file(path)
        except (FileTransferError, PeerError) as error:
            # What has come stays in a hidden file beside it.
            print("not received", path.name, error, flush=True)
        else:
            print("received", path.name, f"{done.size:,} bytes", done.digest.hex(), flush=True)

    def on_connection(peer: Peer) -> None:
        peer.stream_handler("file", take)

    async with await cloud.listen(**environment.daemon(), on_connection=on_connection) as server:
        print("taking files as", server.daemon_id, "key", server.fingerprint, flush=True)
        print("code", (await server.create_quick_connect()).code, "lets one guest send some", flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        raise SystemExit("usage: files_daemon.py FOLDER")
    with suppress(KeyboardInterrupt):
        asyncio.run(main(Path(sys.argv[1])))
