"""The demo's client: fetches a session, pins the daemon's key, sends the payload and takes it back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from sideband.cli.demo.api import call
from sideband.cli.demo.child import Parent, run_child
from sideband.cli.demo.exchange import exchange
from sideband.cli.demo.payload import restore
from sideband.identity import FileIdentityKeyStore, IdentityTrust
from sideband.peer.relay_client import RelayClient
from sideband.peer.relay_token import session_id_of
from sideband.secure_relay.client_events import DataReceived
from sideband.transport import ConnectOptions, WebSocketTransport

__all__ = ["main"]

PROGRESS_SECONDS = 0.1


async def main(parent: Parent) -> None:
    """Make one exchange, tell how it went, and wait to be stopped."""
    config = parent.config
    payload = restore(config["payload"])
    trust = IdentityTrust(FileIdentityKeyStore(Path(config["folder"]) / "client" / "pins"), "accept-new")
    session = await call(config["url"], "relay.createSession", config["user_token"], {"daemonId": config["daemon_id"]})
    options = ConnectOptions(headers={"Authorization": f"Bearer {session['token']}"})
    async with await WebSocketTransport(proxy="").connect(session["relayUrl"], options) as connection:
        client = await RelayClient.negotiate(
            connection, daemon_id=config["daemon_id"], session_id=session_id_of(session["token"]), trust=trust
        )
        established = client.established
        parent.tell(
            "connected",
            fingerprint=established.fingerprint,
            session_id=f"{client.endpoint.session_id:016x}",
            handshake_ms=round(established.handshake_seconds * 1000, 3),
            trust=client.trust.verdict.value,
        )
        transfer = await exchange(
            _Session(client), payload, bytes.fromhex(config["marker"]), progress=_at_most_often(parent)
        )
        await client.close()
    parent.tell("transferred", match=transfer.match, **asdict(transfer))
    await asyncio.Event().wait()


class _Session:
    def __init__(self, client: RelayClient) -> None:
        self._client = client

    async def send(self, plaintexts: Sequence[bytes | memoryview]) -> None:
        await self._client.send(plaintexts)

    async def receive(self) -> list[bytes]:
        received: list[bytes] = []
        while not received:
            for event in await self._client.receive():
                if isinstance(event, DataReceived):
                    received += event.plaintexts
        return received


def _at_most_often(parent: Parent) -> Callable[[int, int], None]:
    last = 0.0

    def progress(sent: int, returned: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_SECONDS:
            last = now
            parent.tell("progress", sent=sent, returned=returned)

    return progress


if __name__ == "__main__":
    run_child(main)
