"""A worker, which counts primes for its clients: python examples/functions_daemon.py

Start one on each machine, each with the API key of a daemon of its own.
"""

import asyncio
from contextlib import suppress
from math import isqrt

import environment

from sideband import Peer, RpcPeerError, cloud

MAX_STOP = 100_000_000
OUT_OF_RANGE = 2100


def count_primes(start: int, stop: int) -> int:
    """Return how many primes there are in a range, by sieving with the primes up to its root."""
    start = max(start, 2)
    if stop <= start:
        return 0
    root = isqrt(stop)
    small = bytearray([1]) * (root + 1)
    sieve = bytearray([1]) * (stop - start)
    for prime in range(2, root + 1):
        if small[prime]:
            small[prime * prime :: prime] = bytes(len(range(prime * prime, root + 1, prime)))
            first = max(prime * prime, -(-start // prime) * prime) - start
            sieve[first::prime] = bytes(len(range(first, stop - start, prime)))
    return sieve.count(1)


def on_connection(peer: Peer) -> None:
    @peer.rpc.handle("count")
    async def count(start: int, stop: int) -> int:
        """Count the primes of a range."""
        if not 0 <= start <= stop <= MAX_STOP:  # what a client sends is checked before it costs anything
            raise RpcPeerError(OUT_OF_RANGE, f"expected 0 <= start <= stop <= {MAX_STOP}")
        print("counts from", start, flush=True)
        return await asyncio.to_thread(count_primes, start, stop)  # in the event loop it would hold up everything else


async def main() -> None:
    async with await cloud.listen(**environment.daemon(), on_connection=on_connection) as server:
        print("worker", server.daemon_id, "key", server.fingerprint, flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
