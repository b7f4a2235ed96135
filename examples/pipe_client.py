"""Uses the command of pipe_daemon.py: ... | python examples/pipe_client.py | ...

Standard input has to be a pipe or a terminal. It ends when the command does.
"""

import asyncio
import sys
from contextlib import suppress

import environment

from sideband import SidebandError, Stream, cloud


async def send(stream: Stream) -> None:
    """Send standard input, and tell its end."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while data := await reader.read(65_536):
            await stream.write(data)
        await stream.end(wait=False)
    finally:
        transport.close()


async def main() -> None:
    async with cloud.connect(**environment.client()) as peer:
        stream = await peer.open_stream("pipe")
        sending = asyncio.create_task(send(stream))
        async for chunk in stream:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        sending.cancel()
        # Where the command has ended, nothing more is wanted from here.
        await asyncio.gather(sending, return_exceptions=True)


if __name__ == "__main__":
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(main())
    except SidebandError as error:
        raise SystemExit(f"cannot pipe: {error}") from None
