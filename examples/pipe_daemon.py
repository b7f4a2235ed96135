"""Offers a command as a live byte pipe: python examples/pipe_daemon.py COMMAND [WORD]...

Each stream named `pipe` runs it once: what comes is its standard input, what it prints goes back at once.
For example: pipe_daemon.py tail -f /var/log/messages, or pipe_daemon.py tr a-z A-Z
"""

import asyncio
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE
from contextlib import suppress
from typing import cast

import environment

from sideband import Peer, Stream, cloud


async def feed(stream: Stream, command: StreamWriter) -> None:
    """Hand on what comes. While the command does not read on, the other side cannot write on."""
    with suppress(ConnectionError):  # the command has ended, or reads no more
        async for chunk in stream:
            command.write(bytes(chunk))
            await command.drain()
    command.close()


async def carry(command: StreamReader, stream: Stream) -> None:
    """Send what the command prints, as it prints it."""
    while data := await command.read(65_536):
        await stream.write(data)


async def main(command: list[str]) -> None:
    async def pipe(stream: Stream) -> None:
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        feeding = asyncio.create_task(feed(stream, cast(StreamWriter, process.stdin)))
        try:
            await carry(cast(StreamReader, process.stdout), stream)
        finally:
            feeding.cancel()
            with suppress(ProcessLookupError):
                process.kill()
            await asyncio.gather(feeding, process.wait(), return_exceptions=True)

    def on_connection(peer: Peer) -> None:
        peer.stream_handler("pipe", pipe)

    async with await cloud.listen(**environment.daemon(), on_connection=on_connection) as server:
        print("piping as", server.daemon_id, "key", server.fingerprint, flush=True)
        print("code", (await server.create_quick_connect()).code, "lets one guest use it", flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("usage: pipe_daemon.py COMMAND [WORD]...")
    with suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1:]))
