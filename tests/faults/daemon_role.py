"""A daemon that logs by number every call it runs, every event it takes, and everything it sends."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path
from typing import Any

from sideband.cli.demo.api import call
from sideband.identity import FileIdentity
from sideband.peer import ConnectionParams, ConnectionPolicy, Peer, PeerOptions, RelayServer, RetryPolicy, RpcPolicy
from sideband.peer.listening import listen
from sideband.peer.relay_negotiators import relay_daemon_negotiator
from sideband.transport import WebSocketTransport
from tests.faults.role import Role, padding, run_role

CALL_SECONDS = 3600.0
"""No call of these tests ends by its own timeout."""
WORK_SECONDS = 0.02
"""What a call takes, so that some are always under way and the machine has time for other things."""


class Daemon:
    def __init__(self, role: Role) -> None:
        self.role = role
        self.release = asyncio.Event()
        self.peers: list[Peer] = []

    async def params(self) -> ConnectionParams:
        config = self.role.config
        told = await call(config["url"], "daemon.renewToken", config["api_key"], {"resume": True})
        return ConnectionParams(headers={"Authorization": f"Bearer {told['presenceToken']}"})

    async def start(self) -> RelayServer:
        config = self.role.config
        identity = await asyncio.to_thread(FileIdentity, Path(config["identity"]))
        server = await listen(
            config["relay"],
            self.accept,
            negotiator=relay_daemon_negotiator(config["daemon_id"], identity, get_connection_params=self.params),
            transport=WebSocketTransport(proxy="", heartbeat_seconds=config["keepalive"], close_timeout_seconds=1.0),
            options=PeerOptions(
                peer_id="daemon",
                connection=ConnectionPolicy(on_disconnect="pause"),
                retry=RetryPolicy(mode="on-error", initial=0.1, max=1.0),
                rpc=RpcPolicy(default_timeout=CALL_SECONDS),
            ),
        )
        assert isinstance(server, RelayServer)
        return server

    def accept(self, peer: Peer) -> None:
        role, metadata = self.role, peer.remote_metadata
        who = {"client": metadata["faults:client"], "session": metadata["faults:session"]}
        ticks, asks = count(), count()
        self.peers.append(peer)
        role.log("accepted", **who)
        peer.on("state_change", lambda state, _previous: role.log("state", **who, state=str(state)))

        async def work(number: int, pad: bytes) -> dict[str, Any]:
            role.log("ran", **who, call=number)
            await asyncio.sleep(WORK_SECONDS)
            tick = next(ticks)
            role.log("ticked", **who, tick=tick)
            peer.events.emit("tick", {"session": who["session"], "tick": tick, "pad": padding(tick)})
            if number % 4 == 0:
                await ask()
            return {"value": 2 * number, "pad": pad[::-1]}

        async def hold(number: int, pad: bytes) -> dict[str, Any]:
            role.log("ran", **who, call=number)
            await self.release.wait()
            return {"value": 2 * number, "pad": pad[::-1]}

        async def ask() -> None:
            number = next(asks)
            role.log("asked", **who, ask=number)
            value, code = None, "handler cancelled"
            try:
                result = await peer.rpc.try_call("ask", {"session": who["session"], "ask": number})
                value = result.value
                code = None if result.error is None else str(getattr(result.error, "code", result.error))
            finally:
                role.log("told", **who, ask=number, value=value, error=code)

        def marked(mark: dict[str, Any]) -> None:
            whole = mark["pad"] == padding(mark["number"])
            role.log("marked", **who, mark=mark["number"], whole=whole)

        peer.events.on("mark", marked)
        peer.rpc.handle("work", work)
        peer.rpc.handle("hold", hold)
        peer.rpc.handle("settle", lambda: "settled")


async def main(role: Role) -> None:
    daemon = Daemon(role)
    server = await daemon.start()
    try:
        role.tell("ready")
        while True:
            order = await role.orders.get()
            if order["order"] == "release":
                daemon.release.set()
            elif order["order"] == "counters":
                role.tell("counters", sessions=counters(server))
            elif order["order"] == "close":
                await server.close()
                role.tell("closed")
    finally:
        await server.close()


def counters(server: RelayServer) -> dict[str, list[int]]:
    """By session id: messages sealed, and the highest number opened."""
    # Nothing public tells keys or counters, and a test that says "the same ones" has to see them.
    held = server._wire._sessions
    return {f"{sid:016x}": [one.session.send_sequence, one.session.highest_received] for sid, one in held.items()}


if __name__ == "__main__":
    run_role(main)
