"""The word of what was consumed can be lost with a cut; a sender that holds all it may would then wait for ever."""

from __future__ import annotations

import pytest

from sideband.protocol.streams.limits import StreamLimits
from tests.support.stream_network import StreamNetwork, read_all

SIZE = 256 * 1024
LIMITS = StreamLimits(window=SIZE, max_window=SIZE, stream_bytes=SIZE)
"""The window is as large as what a sender may hold: so it is for a stream whose window has grown."""


@pytest.mark.parametrize("how", ["paused", "lost"])
def test_a_sender_goes_on_though_the_last_credit_was_lost(how: str) -> None:
    network = StreamNetwork(limits=LIMITS)
    ours, theirs = network.opened()
    assert ours.write(bytes(SIZE)) == SIZE
    network.client.write(1 << 20)
    network.daemon.read()
    assert len(read_all(theirs)) == SIZE
    assert network.daemon.write()  # credit, which never arrives
    if how == "paused":
        network.cut()
        network.resume()
    else:
        network.renew()
    network.settle()
    assert ours.confirmed == SIZE
    assert ours.write(bytes(SIZE)) == SIZE
    ours.end()
    network.settle()
    assert len(read_all(theirs)) == SIZE
    network.settle()
    assert ours.delivered
