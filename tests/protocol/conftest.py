"""A clock that stands still, and two connections joined without a network."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sideband.protocol.connection import DEFAULT_CAPS, SbpConnection
from sideband.protocol.events import Event
from sideband.protocol.fragments import FragmentBudget
from sideband.protocol.handshake import HandshakePayload


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Joined:
    """Two connections; what each reported is kept."""

    client: SbpConnection
    daemon: SbpConnection
    clock: Clock
    budget: FragmentBudget
    client_events: list[Event] = field(default_factory=list)
    daemon_events: list[Event] = field(default_factory=list)

    def to_daemon(self, frames: list[bytes]) -> list[Event]:
        found = [event for frame in frames for event in self.daemon.receive(frame)]
        self.daemon_events += found
        return found

    def to_client(self, frames: list[bytes]) -> list[Event]:
        found = [event for frame in frames for event in self.client.receive(frame)]
        self.client_events += found
        return found

    def settle(self) -> tuple[list[Event], list[Event]]:
        """Carry everything both ways until nothing is left; return what the client and what the daemon reported."""
        client: list[Event] = []
        daemon: list[Event] = []
        while self.client.wants_write or self.daemon.wants_write:
            ups, downs = self.client.take(1 << 18), self.daemon.take(1 << 18)
            if not ups and not downs:
                break
            daemon += self.to_daemon(ups)
            client += self.to_client(downs)
        return client, daemon

    def cut(self) -> None:
        self.client.pause()
        self.daemon.pause()

    def resume(self) -> tuple[list[Event], list[Event]]:
        """Both come back, the daemon first, and what follows is carried."""
        daemon = self.daemon.resumed()
        client = self.client.resumed()
        more_client, more_daemon = self.settle()
        return client + more_client, daemon + more_daemon


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def join(clock: Clock) -> Callable[..., Joined]:
    """Build a pair; keyword arguments go to both sides, `client` and `daemon` are dicts for one of them."""

    def build(
        *, caps: tuple[str, ...] = DEFAULT_CAPS, client: dict[str, Any] | None = None, daemon: Any = None, **both: Any
    ) -> Joined:
        source = random.Random(7)
        budget = both.pop("fragment_budget", None) or FragmentBudget()
        ends = []
        for name, own in (("client", client or {}), ("daemon", daemon or {})):
            options: dict[str, Any] = {
                "local": HandshakePayload(name, own.pop("caps", caps)),
                "opener": name == "client",
                "max_frame_payload": 65_508,
                "resumable": True,
                "clock": clock,
                "random": source.randbytes,
                "fragment_budget": budget,
            }
            ends.append(SbpConnection(**(options | both | own)))
        joined = Joined(*ends, clock, budget)
        for end in ends:
            end.start()
        joined.settle()
        joined.client_events.clear()
        joined.daemon_events.clear()
        return joined

    return build
