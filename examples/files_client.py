"""Sends files to files_daemon.py: python examples/files_client.py FILE...

What was interrupted, by Ctrl-C or by a cut, goes on where it was when the same file is sent again.
"""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

import environment

from sideband import SidebandError, cloud


async def main(files: list[Path]) -> None:
    async with cloud.connect(**environment.client()) as peer:
        for path in files:
            stream = await peer.open_stream("file", {"name": path.name})
            # It returns when the other side has the whole file on its disk, with the same digest.
            done = await stream.send_file(path, progress=show if sys.stderr.isatty() else None)
            kept = f", of which {done.resumed_at:,} were there" if done.resumed_at else ""
            print(f"sent {path.name} {done.size:,} bytes{kept}, BLAKE3 {done.digest.hex()}", flush=True)


def show(done: int, total: int | None) -> None:
    """Called as bytes travel, at most ten times a second."""
    print(f"\r{done:,} of {total or 0:,} bytes", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("usage: files_client.py FILE...")
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(main([Path(name) for name in sys.argv[1:]]))
    except SidebandError as error:
        raise SystemExit(f"cannot send: {error}") from None
