"""The connections of a listener, each with the task that its handler runs in."""

from __future__ import annotations

import asyncio
import logging

from sideband.errors import SidebandError
from sideband.transport.base import Connection, ConnectionHandler

__all__ = ["ServedConnections"]

_log = logging.getLogger("sideband.transport")


class ServedConnections:
    """Runs a listener's handler for each of its connections, and closes these.

    Args:
        handler: what to run.
    """

    def __init__(self, handler: ConnectionHandler) -> None:
        self._handler = handler
        self._tasks: dict[asyncio.Task[None], Connection] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Those whose handlers have not returned, oldest first."""
        return tuple(self._tasks.values())

    def begin(self, connection: Connection) -> None:
        """Run the handler, and close the connection when it returns."""
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._tasks[task] = connection
        task.add_done_callback(self._tasks.pop)

    async def close(self) -> None:
        """Close all with 1001, and wait for their handlers."""
        tasks = dict(self._tasks)
        await asyncio.gather(*(connection.close(1001, "going away") for connection in tasks.values()))
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self, connection: Connection) -> None:
        try:
            await self._handler(connection)
        except SidebandError as error:
            # Whoever connects may send anything: that is no news for an operator.
            _log.debug("a connection ended: %s", error)
        except Exception:  # noqa: BLE001  (the listener outlives a handler that fails; the failure is logged)
            _log.exception("a connection handler failed")
        finally:
            await connection.close()
