"""A chat room on a machine that nobody can reach from outside: python examples/chat_daemon.py

Clients call `join` and `say`, and are told by the events `chat.joined`, `chat.said` and `chat.left`.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

import environment

from sideband import Peer, RpcPeerError, cloud

NAME_TAKEN = 2100
NOT_HERE = 2101


class Room:
    def __init__(self) -> None:
        self.members: dict[Peer, str] = {}
        self.said: deque[dict[str, str]] = deque(maxlen=20)

    def welcome(self, peer: Peer) -> None:
        peer.rpc.handle("join", lambda name: self.join(peer, name))
        peer.rpc.handle("say", lambda text: self.say(peer, text))
        peer.on("disconnected", lambda _error: self.leave(peer))

    def join(self, peer: Peer, name: str) -> list[dict[str, str]]:
        """Take a name; return what was said last."""
        if name in self.members.values():
            raise RpcPeerError(NAME_TAKEN, f"somebody is called {name} already")
        self.tell("chat.joined", name)
        print(name, "is", peer.identity and peer.identity.subject, flush=True)
        self.members[peer] = name
        return list(self.said)

    def say(self, peer: Peer, text: str) -> None:
        """Say something to everybody, oneself included."""
        if peer not in self.members:
            raise RpcPeerError(NOT_HERE, "join first")
        line = {"name": self.members[peer], "text": text}
        self.said.append(line)
        self.tell("chat.said", line)

    def leave(self, peer: Peer) -> None:
        name = self.members.pop(peer, None)
        if name is not None:
            self.tell("chat.left", name)

    def tell(self, event: str, data: Any) -> None:
        print(event, data, flush=True)
        for member in self.members:
            member.events.emit(event, data)  # never waits: who is slow misses the oldest events, nobody else waits


async def main() -> None:
    room = Room()
    async with await cloud.listen(**environment.daemon(), on_connection=room.welcome) as server:
        print("room", server.daemon_id, "key", server.fingerprint, flush=True)
        print("code", (await server.create_quick_connect()).code, "lets one guest in", flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
