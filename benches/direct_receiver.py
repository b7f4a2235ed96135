"""The receiving process of the direct suite: `python -m benches.direct_receiver KIND [CERTIFICATE]`.

Prints where it listens, and then for each stream that came whole its bytes and the processor seconds that it took here.
"""

import asyncio
import ssl
import sys
import time
from typing import Any

from sideband import direct
from sideband.identity import MemoryIdentityKeyStore, NoiseKeyPair
from sideband.peer import Peer

STUDIO, LAPTOP = bytes(range(1, 33)), bytes(range(2, 34))
CHUNK = 256 * 1024


async def plain(certificate: str | None) -> None:
    """Count the bytes of each connection."""
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(certificate)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(8), "big")
        before, left = time.process_time(), size
        while left:
            left -= len(await reader.read(CHUNK))
        writer.write(b"!")
        await writer.drain()
        print(size, time.process_time() - before, flush=True)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, limit=4 * CHUNK)
    print(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


async def ours(scheme: str) -> None:
    """Count the bytes of each stream."""

    async def take(stream: Any) -> None:
        before, size = time.process_time(), 0
        async for chunk in stream:
            size += len(chunk)
        print(size, time.process_time() - before, flush=True)

    def on_connection(peer: Peer) -> None:
        peer.stream_handler("take", take)

    key, guest = NoiseKeyPair.from_private_bytes(STUDIO), NoiseKeyPair.from_private_bytes(LAPTOP)
    pins = MemoryIdentityKeyStore({"laptop": guest.public_key})
    server = await direct.listen(
        f"{scheme}://127.0.0.1:0", on_connection, name="studio", key=key, identity_key_store=pins
    )
    print(server.address, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    kind, *more = sys.argv[1:]
    asyncio.run(plain(more[0] if more else None) if kind in ("plain", "tls") else ours(kind))
