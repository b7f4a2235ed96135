"""Counts primes with every worker that is online: python examples/functions_client.py [STOP]

The range is cut into parts, and each worker takes the next one when it has done the last. A part whose worker is lost
goes to another: counting twice does no harm.
"""

import asyncio
import sys
from collections import Counter
from contextlib import suppress

import environment
from functions_api import Primes

from sideband import RetryPolicy, RpcPeerError, SidebandError, cloud

PARTS_PER_WORKER = 8
AT_ONCE = 2


class Job:
    def __init__(self, stop: int, parts: int) -> None:
        step = max(1, -(-stop // parts))
        self.todo = [(start, min(start + step, stop)) for start in range(0, stop, step)]
        self.total = 0
        self.done_by: Counter[str] = Counter()

    async def work(self, daemon_id: str) -> None:
        """Let one worker take part after part until nothing is left, or the worker is lost."""
        try:
            retry = RetryPolicy(mode="never")
            async with cloud.connect(daemon_id=daemon_id, get_access_token=environment.token, retry=retry) as peer:
                primes = peer.rpc.client(Primes, timeout=60)  # type: ignore[type-abstract]  # a Protocol is what it takes
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(AT_ONCE):
                        tasks.create_task(self._take_parts(daemon_id, primes))
        except* RpcPeerError:
            raise  # the worker is there and refuses; another one would too
        except* SidebandError as errors:
            print(f"{daemon_id} is lost, others take over: {reason(errors)}", file=sys.stderr)

    async def _take_parts(self, daemon_id: str, primes: Primes) -> None:
        while self.todo:
            part = self.todo.pop()
            try:
                found = await primes.count(*part)
            except BaseException:
                self.todo.append(part)
                raise
            self.total += found
            self.done_by[daemon_id] += 1


def reason(error: BaseException) -> BaseException:
    """Return the first of the errors of a task group."""
    return reason(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


async def main(stop: int) -> None:
    job = Job(stop, PARTS_PER_WORKER * max(1, len(await environment.online_daemons())))
    while job.todo:
        before = len(job.todo)
        async with asyncio.TaskGroup() as tasks:
            for daemon_id in await environment.online_daemons():
                tasks.create_task(job.work(daemon_id))
        if len(job.todo) == before:
            raise SystemExit("no worker is online; start functions_daemon.py")
    for daemon_id, parts in sorted(job.done_by.items()):
        print(f"{daemon_id} did {parts} parts")
    print(f"{job.total} primes below {stop}")


if __name__ == "__main__":
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 10_000_000))
    except* SidebandError as errors:
        raise SystemExit(f"failed: {reason(errors)}") from None
