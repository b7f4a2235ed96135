"""Shows what changes in the folder of watch_daemon.py: python examples/watch_client.py [PATTERN]

PATTERN is `file.>` unless given: every event whose name begins with `file.`; `file.removed` shows only that.
"""

import asyncio
import sys
from contextlib import suppress

import environment

from sideband import SidebandError, cloud


async def main(pattern: str) -> None:
    async with cloud.connect(**environment.client()) as peer:
        # Before the list is asked for, so that nothing falls between the two; an event of that time may come twice.
        with peer.events.subscribe(pattern) as events:
            files = await peer.rpc.call("list")
            for path, size in sorted(files.items()):
                print(f"{size:>12,}  {path}", flush=True)
            print(f"{len(files)} files; waiting for changes", flush=True)
            async for event in events:
                if event.dropped:
                    print(f"{event.dropped} events were lost: they came faster than they were shown", flush=True)
                size = f", {event.data['size']:,} bytes" if "size" in event.data else ""
                print(f"{event.name.removeprefix('file.')} {event.data['path']}{size}", flush=True)
        if peer.error is not None:
            raise peer.error


if __name__ == "__main__":
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(main(*sys.argv[1:2] or ["file.>"]))
    except SidebandError as error:
        raise SystemExit(f"cannot watch: {error}") from None
