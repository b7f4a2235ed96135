"""A crowd of clients, each with calls and events under way, all logged by number."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

from typing_extensions import override

from sideband.cli.demo.api import call
from sideband.identity import IdentityKeyStore, IdentityTrust, MemoryIdentityKeyStore
from sideband.peer import (
    ConnectionParams,
    ConnectionPolicy,
    EventPolicy,
    Link,
    Negotiator,
    PeerOptions,
    RetryPolicy,
    RpcPolicy,
    create_peer,
)
from sideband.peer.relay_link import RelayLink
from sideband.peer.relay_negotiators import relay_client_negotiator
from sideband.peer.relay_token import session_id_of
from sideband.transport import Connection, WebSocketTransport
from tests.faults.role import Role, padding, run_role

CALL_SECONDS = 3600.0
"""No call of these tests ends by its own timeout."""
PROGRESS = 5
"""A client tells of every so many answers."""


class Watched(Negotiator):
    """The negotiator of a relay client, whose sessions can be looked at."""

    def __init__(self, role: Role, number: int, store: IdentityKeyStore) -> None:
        self.session = 0
        self._role = role
        self._number = number
        self._sid = 0
        self._link: RelayLink | None = None
        self._inner = relay_client_negotiator(
            role.config["daemon_id"], trust=IdentityTrust(store, "accept-new"), get_connection_params=self._params
        )

    async def _params(self) -> ConnectionParams:
        config = self._role.config
        told = await call(config["url"], "relay.createSession", config["user_token"], {"daemonId": config["daemon_id"]})
        self.session += 1
        self._sid = session_id_of(told["token"])
        return ConnectionParams(
            endpoint=config["relay"],
            headers={"Authorization": f"Bearer {told['token']}"},
            metadata={"faults:client": self._number, "faults:session": self.session},
        )

    def counters(self) -> dict[str, Any]:
        """Tell which session this is: its number here, its id, messages sealed, the highest number opened."""
        # Nothing public tells keys or counters, and a test that says "the same ones" has to see them.
        held = None if self._link is None else self._link._client.endpoint._session
        sent, received = (0, 0) if held is None else (held.send_sequence, held.highest_received)
        return {"session": self.session, "sid": f"{self._sid:016x}", "sent": sent, "received": received}

    @override
    async def get_connection_params(self) -> ConnectionParams:
        return await self._inner.get_connection_params()

    @override
    async def negotiate(self, connection: Connection) -> Link:
        link = await self._inner.negotiate(connection)
        assert isinstance(link, RelayLink)
        self._link = link
        return link

    @override
    def classify_error(self, error: BaseException) -> Any:
        return self._inner.classify_error(error)


class Client:
    def __init__(self, role: Role, number: int, store: IdentityKeyStore) -> None:
        config = role.config
        self.role = role
        self.number = number
        self.finishing = False
        self.answered = 0
        self.calls = count()
        self.marks = count()
        self.watched = Watched(role, number, store)
        self.peer = create_peer(
            negotiator=self.watched,
            transport=WebSocketTransport(proxy="", heartbeat_seconds=config["keepalive"], close_timeout_seconds=1.0),
            options=PeerOptions(
                peer_id=f"client {number}",
                connection=ConnectionPolicy(on_disconnect="pause"),
                retry=RetryPolicy(mode="on-error", initial=0.1, max=1.0),
                rpc=RpcPolicy(default_timeout=CALL_SECONDS, disconnect_buffer_limit=4 * 1024 * 1024),
                events=EventPolicy(max_buffered_events=1024),
            ),
        )
        self.peer.on("state_change", self.changed)
        self.peer.events.on("tick", self.ticked)
        self.peer.rpc.handle("ask", self.ask)

    def changed(self, state: object, _previous: object) -> None:
        error = self.peer.error
        self.role.tell(
            "state",
            client=self.number,
            state=str(state),
            answered=self.answered,
            error=None if error is None else f"{type(error).__name__} {error}",
            **self.watched.counters(),
        )

    def ticked(self, event: dict[str, Any]) -> None:
        tick = event["tick"]
        whole = event["pad"] == padding(tick)
        self.role.log("tick", client=self.number, session=event["session"], tick=tick, whole=whole)

    def ask(self, params: dict[str, int]) -> int:
        self.role.log("ask", client=self.number, **params)
        return 3 * params["ask"]

    async def run(self) -> None:
        await self.peer.when_ready()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(self.call("hold"))
            for _ in range(self.role.config["workers"]):
                tasks.create_task(self.work())
        settled = await self.peer.rpc.try_call("settle")
        self.role.tell(
            "finished",
            client=self.number,
            settled=settled.value,
            error=None if settled.error is None else str(settled.error),
            **self.watched.counters(),
        )

    async def work(self) -> None:
        while not self.finishing and not self.peer.closed:
            await self.call("work")
            if not self.peer.closed:
                mark = next(self.marks)
                self.role.log("emitted", client=self.number, mark=mark)
                self.peer.events.emit("mark", {"number": mark, "pad": padding(mark)})

    async def call(self, method: str) -> None:
        number = next(self.calls)
        self.role.log("called", client=self.number, call=number)
        pad = padding(number)
        result = await self.peer.rpc.try_call(method, {"number": number, "pad": pad})
        code = None if result.error is None else str(getattr(result.error, "code", result.error))
        value = result.value["value"] if result.ok and result.value["pad"] == pad[::-1] else None
        self.role.log("answered", client=self.number, call=number, value=value, error=code)
        self.answered += 1
        if self.answered % PROGRESS == 0:
            self.role.tell("progress", client=self.number, answered=self.answered)


async def main(role: Role) -> None:
    store = MemoryIdentityKeyStore()
    clients = [Client(role, number, store) for number in range(role.config["clients"])]
    try:
        async with asyncio.TaskGroup() as tasks:
            for client in clients:
                client.peer.start()
            while True:
                order = await role.orders.get()
                if order["order"] == "load":
                    for client in clients:
                        tasks.create_task(client.run())
                elif order["order"] == "tally":
                    role.tell("tally", number=order["number"], answered=sum(client.answered for client in clients))
                elif order["order"] == "finish":
                    for client in clients:
                        client.finishing = True
    finally:
        await asyncio.gather(*(client.peer.disconnect() for client in clients))


if __name__ == "__main__":
    run_role(main)
