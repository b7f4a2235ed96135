"""The demo's daemon: registers its key, connects to the relay, and sends back what its client sends."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from pathlib import Path

from sideband.cli.demo.api import call
from sideband.cli.demo.child import Parent, run_child
from sideband.cli.demo.exchange import echo
from sideband.errors import SbrpError
from sideband.identity import FileIdentity
from sideband.peer.relay_daemon import RelayDaemon
from sideband.secure_relay.daemon_endpoint import DaemonEndpoint
from sideband.secure_relay.daemon_events import DaemonEvent, SessionData, SessionEnded, SessionOpened
from sideband.transport import ConnectOptions, WebSocketTransport

__all__ = ["main"]


async def main(parent: Parent) -> None:
    """Serve one client until told to stop."""
    config = parent.config
    identity = await asyncio.to_thread(FileIdentity, Path(config["folder"]) / "daemon" / "identity.json")
    key = base64.b64encode(identity.public_key).decode()
    registered = await call(config["url"], "daemon.register", config["api_key"], {"identityPublicKey": key})
    options = ConnectOptions(headers={"Authorization": f"Bearer {registered['presenceToken']}"})
    connection = await WebSocketTransport(proxy="").connect(registered["relayUrl"], options)
    async with connection, asyncio.TaskGroup() as tasks:
        echoes = _Echoes(tasks, registered["daemonId"], identity)
        serving = tasks.create_task(echoes.daemon.serve(connection))
        parent.tell("ready", fingerprint=identity.fingerprint)
        await serving


class _Echoes:
    def __init__(self, tasks: asyncio.TaskGroup, daemon_id: str, identity: FileIdentity) -> None:
        endpoint = DaemonEndpoint(daemon_id, identity.key_pair, clock=time.monotonic)
        self.daemon = RelayDaemon(endpoint, self._take)
        self._tasks = tasks
        self._inboxes: dict[int, asyncio.Queue[list[bytes]]] = {}

    def _take(self, event: DaemonEvent) -> None:
        if isinstance(event, SessionOpened):
            self._inboxes[event.session_id] = asyncio.Queue()
            self._tasks.create_task(self._serve(event.session_id))
        elif isinstance(event, SessionData):
            self.daemon.endpoint.confirm(event.session_id)
            self._inboxes[event.session_id].put_nowait(event.plaintexts)
        elif isinstance(event, SessionEnded):
            self._inboxes.pop(event.session_id).put_nowait([])

    async def _serve(self, session_id: int) -> None:
        session = _Session(self.daemon, session_id, self._inboxes[session_id])
        try:
            await echo(session)
        except* SbrpError:
            # The client left or was cut off: its end of the demo tells why.
            self.daemon.end(session_id)


class _Session:
    def __init__(self, daemon: RelayDaemon, session_id: int, inbox: asyncio.Queue[list[bytes]]) -> None:
        self._daemon = daemon
        self._session_id = session_id
        self._inbox = inbox

    async def send(self, plaintexts: Sequence[bytes | memoryview]) -> None:
        await self._daemon.send(self._session_id, plaintexts)

    async def receive(self) -> list[bytes]:
        plaintexts = await self._inbox.get()
        if not plaintexts:
            raise SbrpError("session_ended", "the client left")
        return plaintexts


if __name__ == "__main__":
    run_child(main)
