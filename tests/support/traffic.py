"""Calls and events under way, numbered so that loss and doubles show."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from sideband.errors import PeerError
from sideband.peer import Peer
from sideband.peer.rpc import CallResult


@dataclass
class Ledger:
    """What the daemon saw, by client: each number of a call and of an event, and how often."""

    calls: Counter[tuple[str, int]] = field(default_factory=Counter)
    events: dict[str, list[int]] = field(default_factory=dict)

    def serve(self, peer: Peer) -> None:
        name = peer.remote_id or ""

        async def work(number: int) -> int:
            self.calls[name, number] += 1
            await asyncio.sleep(0.01)
            return number

        peer.rpc.handle("work", work)
        peer.events.on("n", self.events.setdefault(name, []).append)
        peer.events.on("echo", lambda number: peer.events.emit("back", number))


class Traffic:
    """One client's calls and events, until it is told to stop."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.results: dict[int, CallResult[int]] = {}
        self.emitted = 0
        self.echoed: list[int] = []
        self.stopping = False
        self.seen: list[str] = []
        peer.events.on("back", self.echoed.append)
        peer.on("state_change", lambda state, _previous: self.seen.append(str(state)))

    async def run(self) -> None:
        """Make calls, a few at a time, and emit events while the session is active."""
        await asyncio.gather(*(self._calls(lane) for lane in range(3)), self._events())

    async def _calls(self, lane: int) -> None:
        number = lane
        while not self.stopping and not self.peer.closed:
            self.results[number] = await self.peer.rpc.try_call("work", number)
            number += 3

    async def _events(self) -> None:
        while not self.stopping:
            if self.peer.ready:
                self.peer.events.emit("n", self.emitted)
                self.peer.events.emit("echo", self.emitted)
                self.emitted += 1
            await asyncio.sleep(0.01)


def assert_exactly_once(ledger: Ledger, clients: list[Traffic]) -> None:
    """Every call was answered and ran once, every event arrived once and in order, both ways."""
    assert max(ledger.calls.values()) == 1
    for client in clients:
        for number, result in client.results.items():
            assert result.ok, (client.peer, number, result.error)
            assert result.value == number
            assert ledger.calls[client.peer.id, number] == 1
        assert ledger.events[client.peer.id] == list(range(client.emitted))
        assert client.echoed == list(range(client.emitted))


def assert_defined(ledger: Ledger, clients: list[Traffic]) -> None:
    """Nothing ran or arrived twice; every call ended, and those that failed did so with a defined error."""
    assert max(ledger.calls.values()) == 1
    for client in clients:
        for number, result in client.results.items():
            if not result.ok:
                assert isinstance(result.error, PeerError), result.error
                assert result.error.code == "not_connected"
            else:
                assert result.value == number
        events = ledger.events[client.peer.id]
        assert events == sorted(set(events))
        assert client.echoed == sorted(set(client.echoed))
