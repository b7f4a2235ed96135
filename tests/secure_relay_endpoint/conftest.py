from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from sideband._native import IdentityKeyPair
from sideband.secure_relay.client_endpoint import ClientEndpoint
from sideband.secure_relay.daemon_endpoint import DaemonEndpoint
from sideband.secure_relay.limits import DaemonLimits

DAEMON_ID = "d_edge"


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Wire:
    """A daemon and its clients, with nothing between them but the test."""

    clock: Clock
    identity: IdentityKeyPair
    daemon: DaemonEndpoint
    clients: dict[int, ClientEndpoint] = field(default_factory=dict)

    def client(self, session_id: int = 1) -> ClientEndpoint:
        """Begins a session and finishes its outer handshake."""
        client = self.clients[session_id] = ClientEndpoint(DAEMON_ID, session_id, clock=self.clock)
        self.daemon.receive(client.start())
        (accept,) = self.daemon.take_frames()
        client.receive(accept)
        client.establish()
        return client

    def confirmed_client(self, session_id: int = 1) -> ClientEndpoint:
        """Begins a session whose inner handshake counts as done."""
        client = self.client(session_id)
        self.daemon.confirm(session_id)
        return client


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_wire(clock: Clock) -> Callable[..., Wire]:
    def make(**limits: float) -> Wire:
        identity = IdentityKeyPair.generate()
        daemon = DaemonEndpoint(DAEMON_ID, identity, clock=clock, limits=DaemonLimits(**limits))  # type: ignore[arg-type]
        daemon.on_reconnected()
        return Wire(clock, identity, daemon)

    return make


@pytest.fixture
def wire(make_wire: Callable[..., Wire]) -> Wire:
    return make_wire()
